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
    worker::{PendingAnswer, Worker},
};

/// Appends messages in their order with as few calls as possible. The lane continues when this function returns.
pub(super) async fn append_sends(
    session: &ChatSession,
    room: &RoomId,
    sends: Vec<(RequestContext, Box<Draft>)>,
) {
    let worker = &session.worker;
    let Some(identity) = session.client.identity() else { return };
    let started = Instant::now();
    worker.node.typing.cancel_unpublished(room, &identity.user);
    let role = access::role_in(session, &identity, room).await;
    let (mut pending, mut entries) = (VecDeque::with_capacity(sends.len()), Vec::with_capacity(sends.len()));
    for (request, draft) in sends {
        let mut entry = role.as_ref().map_err(Clone::clone).and_then(|role| {
            let actor = Actor { user: &identity.user, role, admin: identity.admin };
            let min_role = draft.permit(&actor)?;
            worker.node.take_room_bytes(room, draft.bytes())?;
            let (name, picture) = (identity.name.as_deref(), identity.picture.as_deref());
            let mut entry = draft.entry(room, &identity.user, name, picture, min_role);
            entry.obeys_slow_mode = actor.obeys_slow_mode();
            Ok(entry)
        });
        if let Ok(message) = &mut entry
            && !draft.mentions.is_empty()
        {
            // Boxed, because few messages mention users.
            let checked = Box::pin(worker.node.bus.log.check_mentions(message, &draft.mentions)).await;
            // The check may wait for persistence, so the role is read again.
            let still_permitted = access::role_in(session, &identity, room).await.and_then(|role| {
                draft.permit(&Actor { user: &identity.user, role: &role, admin: identity.admin })
            });
            entry = checked.and(still_permitted).and(entry);
        }
        let command = AppendCommand::Send(draft);
        let Some(next) = begin_command(session, room, request, command, started) else { continue };
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
            finish_command(worker, next, answer.map_err(Into::into));
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
pub(super) async fn append_change(
    session: &ChatSession,
    room: &RoomId,
    request: RequestContext,
    change: Box<Change>,
) {
    let Some(identity) = session.client.identity() else { return };
    let (trace, started) = (request.trace(), Instant::now());
    let command = AppendCommand::Change(change);
    let Some(pending) = begin_command(session, room, request, command, started) else { return };
    let AppendCommand::Change(change) = &pending.command else { return };
    let append = async {
        let role = access::role_in(session, &identity, room).await?;
        let actor = Actor { user: &identity.user, role: &role, admin: identity.admin };
        change.permit(&actor)?;
        session.worker.node.take_room_bytes(room, change.bytes())?;
        session.worker.node.bus.log.change(room, &actor, change).await
    };
    let answer = match trace {
        None => append.await,
        // The traced future is boxed, so that the untraced future stays small.
        Some(trace) => in_trace(trace, Box::pin(log_appended(append))).await,
    };
    finish_command(&session.worker, pending, answer);
}

/// Logs a debug line within the trace when the event was appended.
async fn log_appended<E>(append: impl Future<Output = Result<Accepted, E>>) -> Result<Accepted, E> {
    let answer = append.await;
    if let Ok(accepted) = &answer {
        tracing::debug!(seq = accepted.seq.0, duplicate = accepted.duplicate, "the event is in the log");
    }
    answer
}

/// Takes a slot for the answer of a command. If no slot is free, refuses the command and returns `None`.
fn begin_command(
    session: &ChatSession,
    room: &RoomId,
    mut request: RequestContext,
    command: AppendCommand,
    started: Instant,
) -> Option<PendingAnswer> {
    let (client, room) = (session.client.clone(), room.clone());
    match client.take_answer_slot() {
        Ok(slot) => Some(PendingAnswer { client, room, request, command, slot, started }),
        Err(refusal) => {
            // The counter `too_many` counts this refusal. `is_send` is cleared, so that `refuse` does not count the
            // send again under the error code.
            if std::mem::take(&mut request.is_send) {
                session.worker.node.counters.too_many.inc();
            }
            session.refuse(&request, Some(&room), &refusal);
            None
        }
    }
}

/// Answers a command, at once or when its event reaches the ack stage that the client requested.
fn finish_command(worker: &Rc<Worker>, pending: PendingAnswer, answer: Result<Accepted, Refusal>) {
    let accepted = match answer {
        Ok(accepted) => accepted,
        Err(refusal) => {
            return worker.refuse(&pending.client, &pending.request, Some(&pending.room), &refusal);
        }
    };
    worker.node.metrics.append_seconds.observe(pending.started.elapsed().as_secs_f64());
    let stage = pending.requested_stage();
    if accepted.may_ack_at_once(stage) {
        return pending.acknowledge(worker, &accepted, AckStage::Accepted);
    }
    if stage == AckStage::Stored {
        return worker.stored_answers.add_waiting(worker, pending, accepted);
    }
    // A duplicate whose sender wants only `accepted` waits up to 250 ms for the outcome of the first event.
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
