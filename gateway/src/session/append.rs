//! Appends messages, and changes of messages, to the room's log, and answers each once.

use std::{rc::Rc, time::Instant};

use tidings_shared::{
    auth::Identity,
    error::Refusal,
    ids::RoomId,
    log::{Accepted, Entry},
    message::{
        AckStage, Draft,
        change::{Actor, Change},
    },
    protocol::server::Ack,
    telemetry::{SpanKind, in_trace},
};

use super::access;
use crate::{
    client::{Client, SlotGuard},
    command::AppendCommand,
    request_context::RequestContext,
    worker::Worker,
};

impl AppendCommand {
    fn stage(&self) -> AckStage {
        match self {
            Self::Send(draft) => draft.ack,
            Self::Change(change) => change.ack,
        }
    }

    fn answer(&self, room: &RoomId, accepted: &Accepted, stage: AckStage) -> Ack {
        match self {
            Self::Send(draft) => draft.ack(room, accepted, stage),
            Self::Change(change) => change.ack(room, accepted, stage),
        }
    }
}

/// A command that is being appended.
struct Pending {
    request: RequestContext,
    command: AppendCommand,
    slot: SlotGuard,
    started: Instant,
}

/// Appends messages in their order with as few calls as possible. Then the lane continues.
pub(super) async fn send(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    sends: Vec<(RequestContext, Box<Draft>)>,
) {
    let Some(identity) = client.identity() else { return };
    worker.node.typing.message_sent(room, &identity.user);
    let role = access::role_in(worker, client, &identity, room).await;
    let (mut pending, mut entries) = (Vec::with_capacity(sends.len()), Vec::with_capacity(sends.len()));
    for (request, draft) in sends {
        let entry = role.as_ref().map_err(Clone::clone).and_then(|role| {
            let actor = Actor { user: &identity.user, role, admin: identity.admin };
            entry(&draft, room, &identity, &actor)
        });
        let Some(next) = begin(worker, client, room, request, AppendCommand::Send(draft)) else { continue };
        match entry {
            Ok(entry) => {
                pending.push(next);
                entries.push(entry);
            }
            Err(refusal) => worker.refuse(client, &next.request, Some(room), &refusal),
        }
    }
    let trace = pending.first().and_then(|first| first.request.trace());
    let answers = match (trace, entries.as_mut_slice()) {
        // Boxed so that the untraced future stays small.
        (Some(trace), [entry]) => vec![in_trace(trace, Box::pin(worker.node.bus.append(entry))).await],
        _ => worker.node.bus.append_messages(&worker.flights, &mut entries).await,
    };
    for (pending, answer) in pending.into_iter().zip(answers) {
        finish(worker, client, room, pending, answer.map_err(Into::into));
    }
}

fn entry<'a>(
    draft: &Draft,
    room: &'a RoomId,
    identity: &'a Identity,
    actor: &Actor<'_>,
) -> Result<Entry<'a>, Refusal> {
    let min_role = draft.permit(actor)?;
    let (name, picture) = (identity.name.as_deref(), identity.picture.as_deref());
    Ok(draft.entry(room, &identity.user, name, picture, min_role))
}

/// Appends a change of a message. Then the lane continues.
pub(super) async fn change(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    request: RequestContext,
    change: Box<Change>,
) {
    let Some(identity) = client.identity() else { return };
    let trace = request.trace();
    let Some(pending) = begin(worker, client, room, request, AppendCommand::Change(change)) else { return };
    let AppendCommand::Change(change) = &pending.command else { return };
    let append = async {
        let role = access::role_in(worker, client, &identity, room).await?;
        let actor = Actor { user: &identity.user, role: &role, admin: identity.admin };
        worker.node.bus.log.change(room, &actor, change).await
    };
    let answer = match trace {
        None => append.await,
        Some(trace) => in_trace(trace, Box::pin(append)).await,
    };
    finish(worker, client, room, pending, answer);
}

/// Takes a slot for the answer of a command; `None`: it was refused.
fn begin(
    worker: &Worker,
    client: &Rc<Client>,
    room: &RoomId,
    mut request: RequestContext,
    command: AppendCommand,
) -> Option<Pending> {
    match client.take_answer_slot() {
        Ok(slot) => Some(Pending { request, command, slot, started: Instant::now() }),
        Err(refusal) => {
            // This send is counted as `too_many` only: without `is_send`, the code of the refusal is not counted.
            if std::mem::take(&mut request.is_send) {
                worker.node.counters.too_many();
            }
            worker.refuse(client, &request, Some(room), &refusal);
            None
        }
    }
}

/// Answers at the stage that the client asked for.
fn finish(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    pending: Pending,
    answer: Result<Accepted, Refusal>,
) {
    let Pending { request, command, slot, started } = pending;
    let accepted = match answer {
        Ok(accepted) => accepted,
        Err(refusal) => return worker.refuse(client, &request, Some(room), &refusal),
    };
    worker.node.metrics.append_seconds.observe(started.elapsed().as_secs_f64());
    if request.trace().is_some() {
        tracing::debug!(seq = accepted.seq.0, duplicate = accepted.duplicate, "it stands in the log");
    }
    if accepted.answers(command.stage()) {
        return acknowledge(worker, client, &request, room, &command, &accepted, AckStage::Accepted);
    }
    let (worker, client, room) = (worker.clone(), client.clone(), room.clone());
    let wait_span = request.child_span("stored answer", SpanKind::Internal);
    tokio::task::spawn_local(async move {
        let (_slot, _wait_span) = (slot, wait_span);
        match worker.node.bus.log.wait_for_stage(&room, command.stage(), accepted).await {
            Ok((accepted, stage)) => {
                if !accepted.duplicate {
                    worker.node.metrics.stored_seconds.observe(started.elapsed().as_secs_f64());
                }
                acknowledge(&worker, &client, &request, &room, &command, &accepted, stage);
            }
            Err(refusal) => worker.refuse(&client, &request, Some(&room), &refusal),
        }
    });
}

fn acknowledge(
    worker: &Worker,
    client: &Client,
    request: &RequestContext,
    room: &RoomId,
    command: &AppendCommand,
    accepted: &Accepted,
    stage: AckStage,
) {
    if matches!(command, AppendCommand::Send(_)) {
        worker.node.counters.send_accepted(accepted.duplicate);
    }
    client.reply(&command.answer(room, accepted, stage).frame(request.reference()));
}
