//! A change of a message: its way into the log, and its one answer.

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
use crate::{asked::Asked, worker::Worker};

/// Appends a change; the lane goes on when that is done. The answer comes at the stage that was asked for.
pub(super) async fn change(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    asked: Asked,
    change: Change,
) {
    let Some(place) = client.take_answer_place() else {
        return refuse(worker, client, &asked, Some(room), &send::too_many_unanswered());
    };
    let started = Instant::now();
    let accepted = match append(worker, client, room, &change).await {
        Ok(accepted) => accepted,
        Err(refusal) => return refuse(worker, client, &asked, Some(room), &refusal),
    };
    worker.node.metrics.append_seconds.observe(started.elapsed().as_secs_f64());
    if asked.trace().is_some() {
        tracing::debug!(seq = accepted.seq.0, duplicate = accepted.duplicate, "it stands in the log");
    }
    if accepted.answers(change.ack) {
        return acknowledge(client, &asked, room, &change, &accepted, AckStage::Accepted);
    }
    let (worker, client, room) = (worker.clone(), client.clone(), room.clone());
    let waits = asked.part("stored answer", SpanKind::Internal);
    tokio::task::spawn_local(async move {
        let (_place, _waits) = (place, waits);
        match worker.node.bus.log.reach(&room, change.ack, accepted).await {
            Ok((accepted, stage)) => {
                if !accepted.duplicate {
                    worker.node.metrics.stored_seconds.observe(started.elapsed().as_secs_f64());
                }
                acknowledge(&client, &asked, &room, &change, &accepted, stage);
            }
            Err(refusal) => refuse(&worker, &client, &asked, Some(&room), &refusal),
        }
    });
}

async fn append(
    worker: &Worker,
    client: &Client,
    room: &RoomId,
    change: &Change,
) -> Result<Accepted, Refusal> {
    let gone = || Refusal::unavailable("the connection is gone");
    let identity = client.identity().ok_or_else(gone)?;
    let role = send::role_in(worker, client, &identity, room).await?;
    let actor = Actor { user: &identity.user, role: &role, admin: identity.admin };
    worker.node.bus.log.change(room, &actor, change).await
}

fn acknowledge(
    client: &Client,
    asked: &Asked,
    room: &RoomId,
    change: &Change,
    accepted: &Accepted,
    stage: AckStage,
) {
    let ack = change.ack(room, accepted, stage);
    client.reply(&ack.frame(asked.reference()));
}
