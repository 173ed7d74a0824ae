//! A change of a message: its way into the log, and its one answer.

use std::{rc::Rc, time::Instant};

use tidings_shared::{
    error::Refusal,
    ids::RoomId,
    log::{Accepted, AppendError, stored::Stored},
    message::{
        AckStage,
        change::{Actor, Change},
    },
    protocol::server::ServerFrame,
};

use super::{Client, refuse, send};
use crate::worker::Worker;

/// Appends a change; the lane goes on when that is done. The answer comes at the stage that was asked for.
pub(super) async fn change(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    reference: Option<String>,
    change: Change,
) {
    let Some(place) = client.take_answer_place() else {
        return refuse(worker, client, reference.as_deref(), Some(room), &send::too_many_unanswered());
    };
    let started = Instant::now();
    let accepted = match append(worker, client, room, &change).await {
        Ok(accepted) => accepted,
        Err(refusal) => return refuse(worker, client, reference.as_deref(), Some(room), &refusal),
    };
    worker.node.metrics.append_seconds.observe(started.elapsed().as_secs_f64());
    if change.ack == AckStage::Accepted {
        return acknowledge(client, reference.as_deref(), room, &change, &accepted);
    }
    let (worker, client, room) = (worker.clone(), client.clone(), room.clone());
    tokio::task::spawn_local(async move {
        let _place = place;
        let refusal = match worker.node.bus.log.wait_stored(&room, &accepted).await {
            Stored::Here => {
                worker.node.metrics.stored_seconds.observe(started.elapsed().as_secs_f64());
                return acknowledge(&client, reference.as_deref(), &room, &change, &accepted);
            }
            // A change has no first elsewhere: what became void was not written.
            Stored::First { .. } | Stored::Rejected => AppendError::Rejected.into(),
            Stored::Unavailable => {
                Refusal::unavailable("not known to be stored; repeat with the same client_id")
            }
        };
        refuse(&worker, &client, reference.as_deref(), Some(&room), &refusal);
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

/// Answers at the stage that was asked for.
fn acknowledge(
    client: &Client,
    reference: Option<&str>,
    room: &RoomId,
    change: &Change,
    accepted: &Accepted,
) {
    let ack = change.ack(room, accepted, change.ack);
    client.reply(&ServerFrame::Ack { reference, ack: &ack });
}
