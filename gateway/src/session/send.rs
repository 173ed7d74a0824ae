//! A message's way into the log, and its one answer.

use std::{rc::Rc, time::Instant};

use tidings_shared::{
    auth::Identity,
    error::{ErrorCode, Refusal},
    ids::{Epoch, RoomId},
    log::{Accepted, AppendError, Minimum, stored::Stored},
    message::{AckStage, Draft},
    protocol::server::ServerFrame,
    role::{self, Permission},
};

use super::{Client, refuse};
use crate::worker::Worker;

/// The role of a member, none for whoever acts in any room by their scope; strangers are refused in a way that does not tell them of private rooms.
pub(super) async fn role_in(
    worker: &Worker,
    client: &Client,
    identity: &Identity,
    room: &RoomId,
) -> Result<Rc<str>, Refusal> {
    if let Some(role) = client.joined(room).and_then(|joined| worker.hub.borrow().role(room, joined)) {
        return Ok(role);
    }
    match worker.node.bus.membership(&identity.user, room).await? {
        Some(membership) => Ok(membership.role.into()),
        // Acts in any room that there is; the log says whether there is one.
        None if identity.admin => Ok("".into()),
        None => Err(stranger(worker, identity, room).await),
    }
}

/// What someone who is not a member is told: public rooms exist for everyone, others for nobody.
pub(super) async fn stranger(worker: &Worker, identity: &Identity, room: &RoomId) -> Refusal {
    // Asking for rooms that are not there costs PostgreSQL a read each: it is rationed like sending.
    if let Err(retry_after_ms) = worker.node.allow_message(&identity.user) {
        return Refusal {
            retry_after_ms: Some(retry_after_ms),
            ..Refusal::new(ErrorCode::RateLimited, "too many rooms that are not yours; ask again later")
        };
    }
    match worker.node.bus.log.read(room, None, Epoch(0), None, &[]).await {
        Ok(read) if read.head.kind == "public" => {
            Refusal::new(ErrorCode::Forbidden, "only members may do this; join the room's members first")
        }
        Ok(_) => Refusal::not_found("room"),
        Err(error) => error.into(),
    }
}

/// What a connection is told that has too many commands waiting for storage.
pub(super) fn too_many_unanswered() -> Refusal {
    Refusal::overloaded("too many commands of this connection wait for their answers; repeat this one")
}

/// Appends a message; the lane goes on when that is done. The answer comes at the stage that was asked for.
pub(super) async fn send(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    reference: Option<String>,
    draft: Draft,
) {
    let Some(identity) = client.identity() else { return };
    let started = Instant::now();
    let Some(place) = client.take_answer_place() else {
        return refuse(worker, client, reference.as_deref(), Some(room), &too_many_unanswered());
    };
    let metrics = &worker.node.metrics;
    let accepted = match append(worker, client, &identity, room, &draft).await {
        Ok(accepted) => accepted,
        Err(refusal) => return refuse(worker, client, reference.as_deref(), Some(room), &refusal),
    };
    metrics.append_seconds.observe(started.elapsed().as_secs_f64());
    if draft.ack == AckStage::Accepted {
        let stage = if accepted.ingest.is_none() { AckStage::Stored } else { AckStage::Accepted };
        return acknowledge(client, reference.as_deref(), room, &draft, &accepted, stage);
    }
    let (worker, client, room) = (worker.clone(), client.clone(), room.clone());
    tokio::task::spawn_local(async move {
        let _place = place;
        match worker.node.bus.log.wait_stored(&room, &accepted).await {
            Stored::Here => {}
            Stored::First { seq, id, at_ms } => {
                let first = Accepted { seq, id, at_ms, duplicate: true, ..accepted };
                return acknowledge(&client, reference.as_deref(), &room, &draft, &first, AckStage::Stored);
            }
            Stored::Rejected => {
                let refusal = AppendError::Rejected.into();
                return refuse(&worker, &client, reference.as_deref(), Some(&room), &refusal);
            }
            Stored::Unavailable => {
                let refusal = Refusal::unavailable("not known to be stored; repeat with the same client_id");
                return refuse(&worker, &client, reference.as_deref(), Some(&room), &refusal);
            }
        }
        worker.node.metrics.stored_seconds.observe(started.elapsed().as_secs_f64());
        acknowledge(&client, reference.as_deref(), &room, &draft, &accepted, AckStage::Stored);
    });
}

async fn append(
    worker: &Worker,
    client: &Client,
    identity: &Identity,
    room: &RoomId,
    draft: &Draft,
) -> Result<Accepted, Refusal> {
    let role = role_in(worker, client, identity, room).await?;
    if !identity.admin && !role::allows(&role, Permission::Send) {
        return Err(AppendError::RoleTooLow.into());
    }
    let (name, picture) = (identity.name.as_deref(), identity.picture.as_deref());
    let mut entry = draft.entry(room, &identity.user, name, picture);
    if identity.admin {
        entry.minimum = Minimum::Anyone;
    }
    Ok(worker.node.bus.log.append(&entry).await?)
}

fn acknowledge(
    client: &Client,
    reference: Option<&str>,
    room: &RoomId,
    draft: &Draft,
    accepted: &Accepted,
    stage: AckStage,
) {
    let ack = draft.ack(room, accepted, stage);
    client.reply(&ServerFrame::Ack { reference, ack: &ack });
}
