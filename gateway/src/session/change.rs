//! Appends a change of a message to the log, and answers once.

use std::{rc::Rc, time::Instant};

use tidings_shared::{
    error::Refusal,
    ids::RoomId,
    log::Accepted,
    message::{
        AckStage,
        change::{Actor, Change},
    },
    telemetry::SpanKind,
};

use super::{Client, refuse, send};
use crate::{request_context::RequestContext, worker::Worker};

/// Appends a change; then the lane continues. The answer is sent at the stage that the client asked for.
pub(super) async fn change(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    request: RequestContext,
    change: Change,
) {
    let Some(slot) = client.take_answer_slot() else {
        return refuse(worker, client, &request, Some(room), &send::too_many_unanswered());
    };
    let started = Instant::now();
    let accepted = match append(worker, client, room, &change).await {
        Ok(accepted) => accepted,
        Err(refusal) => return refuse(worker, client, &request, Some(room), &refusal),
    };
    worker.node.metrics.append_seconds.observe(started.elapsed().as_secs_f64());
    if request.trace().is_some() {
        tracing::debug!(seq = accepted.seq.0, duplicate = accepted.duplicate, "it stands in the log");
    }
    if accepted.answers(change.ack) {
        return acknowledge(client, &request, room, &change, &accepted, AckStage::Accepted);
    }
    let (worker, client, room) = (worker.clone(), client.clone(), room.clone());
    let wait_span = request.child_span("stored answer", SpanKind::Internal);
    tokio::task::spawn_local(async move {
        let (_slot, _wait_span) = (slot, wait_span);
        match worker.node.bus.log.wait_for_stage(&room, change.ack, accepted).await {
            Ok((accepted, stage)) => {
                if !accepted.duplicate {
                    worker.node.metrics.stored_seconds.observe(started.elapsed().as_secs_f64());
                }
                acknowledge(&client, &request, &room, &change, &accepted, stage);
            }
            Err(refusal) => refuse(&worker, &client, &request, Some(&room), &refusal),
        }
    });
}

async fn append(
    worker: &Worker,
    client: &Client,
    room: &RoomId,
    change: &Change,
) -> Result<Accepted, Refusal> {
    let connection_closed = || Refusal::unavailable("the connection is gone");
    let identity = client.identity().ok_or_else(connection_closed)?;
    let role = send::role_in(worker, client, &identity, room).await?;
    let actor = Actor { user: &identity.user, role: &role, admin: identity.admin };
    worker.node.bus.log.change(room, &actor, change).await
}

fn acknowledge(
    client: &Client,
    request: &RequestContext,
    room: &RoomId,
    change: &Change,
    accepted: &Accepted,
    stage: AckStage,
) {
    let ack = change.ack(room, accepted, stage);
    client.reply(&ack.frame(request.reference()));
}
