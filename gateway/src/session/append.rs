//! Appends messages, and changes of messages, to the room's log.

use std::{collections::VecDeque, rc::Rc, time::Instant};

use tidings_shared::{
    error::Refusal,
    ids::RoomId,
    log::{Accepted, AppendError},
    message::{
        AckStage, Draft,
        change::{Actor, Change},
    },
    telemetry::{SpanKind, in_trace},
};

use super::{ChatSession, access};
use crate::{
    command::AppendCommand,
    request_context::RequestContext,
    worker::{Unanswered, Worker},
};

/// Appends messages in their order with as few calls as possible. The lane continues when this function returns.
pub(super) async fn send(session: &ChatSession, room: &RoomId, sends: Vec<(RequestContext, Box<Draft>)>) {
    let worker = &session.worker;
    let Some(identity) = session.client.identity() else { return };
    let started = Instant::now();
    worker.node.typing.cancel_unpublished(room, &identity.user);
    let role = access::role_in(session, &identity, room).await;
    let (mut pending, mut entries) = (VecDeque::with_capacity(sends.len()), Vec::with_capacity(sends.len()));
    for (request, draft) in sends {
        let entry = role.as_ref().map_err(Clone::clone).and_then(|role| {
            let min_role = draft.permit(&Actor { user: &identity.user, role, admin: identity.admin })?;
            let (name, picture) = (identity.name.as_deref(), identity.picture.as_deref());
            Ok(draft.entry(room, &identity.user, name, picture, min_role))
        });
        let command = AppendCommand::Send(draft);
        let Some(next) = begin(session, room, request, command, started) else { continue };
        match entry {
            Ok(entry) => {
                pending.push_back(next);
                entries.push(entry);
            }
            Err(refusal) => session.refuse(&next.request, Some(room), &refusal),
        }
    }
    let trace = pending.front().and_then(|first| first.request.trace());
    let mut answered = |answer: Result<Accepted, AppendError>| {
        if let Some(next) = pending.pop_front() {
            finish(worker, next, answer.map_err(Into::into));
        }
    };
    match (trace, entries.as_mut_slice()) {
        // The traced future is boxed, so that the untraced future stays small.
        (Some(trace), [entry]) => {
            answered(in_trace(trace, Box::pin(log_appended(worker.node.bus.append(entry)))).await);
        }
        _ => worker.node.bus.append_messages(&worker.batcher, &mut entries, answered).await,
    }
}

/// Appends a change of a message. The lane continues when this function returns.
pub(super) async fn change(
    session: &ChatSession,
    room: &RoomId,
    request: RequestContext,
    change: Box<Change>,
) {
    let Some(identity) = session.client.identity() else { return };
    let (trace, started) = (request.trace(), Instant::now());
    let command = AppendCommand::Change(change);
    let Some(pending) = begin(session, room, request, command, started) else { return };
    let AppendCommand::Change(change) = &pending.command else { return };
    let append = async {
        let role = access::role_in(session, &identity, room).await?;
        let actor = Actor { user: &identity.user, role: &role, admin: identity.admin };
        session.worker.node.bus.log.change(room, &actor, change).await
    };
    let answer = match trace {
        None => append.await,
        // The traced future is boxed, so that the untraced future stays small.
        Some(trace) => in_trace(trace, Box::pin(log_appended(append))).await,
    };
    finish(&session.worker, pending, answer);
}

/// Logs a debug line within the trace when the event was appended.
async fn log_appended<E>(append: impl Future<Output = Result<Accepted, E>>) -> Result<Accepted, E> {
    let answer = append.await;
    if let Ok(accepted) = &answer {
        tracing::debug!(seq = accepted.seq.0, duplicate = accepted.duplicate, "the event is in the log");
    }
    answer
}

/// Takes a slot for the answer of a command. Returns `None` if no slot is free; the command is then refused.
fn begin(
    session: &ChatSession,
    room: &RoomId,
    mut request: RequestContext,
    command: AppendCommand,
    started: Instant,
) -> Option<Unanswered> {
    let (client, room) = (session.client.clone(), room.clone());
    match client.take_answer_slot() {
        Ok(slot) => Some(Unanswered { client, room, request, command, slot, started }),
        Err(refusal) => {
            // `too_many` counts this refusal. Clearing `is_send` keeps `refuse` from counting it again by its code.
            if std::mem::take(&mut request.is_send) {
                session.worker.node.counters.too_many.inc();
            }
            session.refuse(&request, Some(&room), &refusal);
            None
        }
    }
}

/// Answers a command, at once or when its event reaches the ack stage that the client asked for.
fn finish(worker: &Rc<Worker>, pending: Unanswered, answer: Result<Accepted, Refusal>) {
    let accepted = match answer {
        Ok(accepted) => accepted,
        Err(refusal) => {
            return worker.refuse(&pending.client, &pending.request, Some(&pending.room), &refusal);
        }
    };
    worker.node.metrics.append_seconds.observe(pending.started.elapsed().as_secs_f64());
    let stage = pending.stage();
    if accepted.may_ack_at_once(stage) {
        return pending.acknowledge(worker, &accepted, AckStage::Accepted);
    }
    if stage == AckStage::Stored {
        return worker.stored_answers.add_waiting(worker, pending, accepted);
    }
    // A duplicate whose sender wants only `accepted` waits a moment for the outcome of the first event.
    let (worker, wait_span) =
        (worker.clone(), pending.request.child_span("stored answer", SpanKind::Internal));
    tokio::task::spawn_local(async move {
        let _wait_span = wait_span;
        match worker.node.bus.log.wait_for_stage(&pending.room, stage, accepted).await {
            Ok((accepted, stage)) => pending.acknowledge(&worker, &accepted, stage),
            Err(refusal) => worker.refuse(&pending.client, &pending.request, Some(&pending.room), &refusal),
        }
    });
}
