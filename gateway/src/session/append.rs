//! Appends a message, or a change of a message, to the room's log, and answers the command once.

use std::{rc::Rc, time::Instant};

use tidings_shared::{
    auth::Identity,
    error::Refusal,
    ids::RoomId,
    log::Accepted,
    message::{AckStage, change::Actor},
    protocol::server::Ack,
    telemetry::{SpanKind, in_trace},
};

use super::access;
use crate::{client::Client, command::AppendCommand, request_context::RequestContext, worker::Worker};

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

    async fn run(
        &self,
        worker: &Worker,
        client: &Client,
        identity: &Identity,
        room: &RoomId,
    ) -> Result<Accepted, Refusal> {
        let role = access::role_in(worker, client, identity, room).await?;
        let actor = Actor { user: &identity.user, role: &role, admin: identity.admin };
        let draft = match self {
            Self::Send(draft) => draft,
            Self::Change(change) => return worker.node.bus.log.change(room, &actor, change).await,
        };
        let min_role = draft.permit(&actor)?;
        let (name, picture) = (identity.name.as_deref(), identity.picture.as_deref());
        let mut entry = draft.entry(room, &identity.user, name, picture, min_role);
        Ok(worker.node.bus.append(&mut entry).await?)
    }
}

/// Runs the command, in its trace if it is traced. The lane continues when this returns.
pub(super) async fn start(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    request: RequestContext,
    command: AppendCommand,
) {
    match request.trace() {
        None => append(worker, client, room, request, command).await,
        // Boxed so that the untraced future stays small.
        Some(trace) => in_trace(trace, Box::pin(append(worker, client, room, request, command))).await,
    }
}

/// Appends the event. The answer is sent at the stage that the client asked for.
async fn append(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    mut request: RequestContext,
    command: AppendCommand,
) {
    let Some(identity) = client.identity() else { return };
    let started = Instant::now();
    let slot = match client.take_answer_slot() {
        Ok(slot) => slot,
        Err(refusal) => {
            // This send is counted as `too_many` only: without `is_send`, the code of the refusal is not counted.
            if std::mem::take(&mut request.is_send) {
                worker.node.counters.too_many();
            }
            return worker.refuse(client, &request, Some(room), &refusal);
        }
    };
    if matches!(command, AppendCommand::Send(_)) {
        worker.node.typing.message_sent(room, &identity.user);
    }
    let accepted = match command.run(worker, client, &identity, room).await {
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
