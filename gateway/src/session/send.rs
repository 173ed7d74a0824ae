//! A message's way into the log, and its one answer.

use std::{rc::Rc, time::Instant};

use tidings_shared::{
    auth::Identity,
    error::{ErrorCode, Refusal},
    ids::{ClientId, Epoch, RoomId},
    log::{Accepted, AppendError, Minimum, RoomHead},
    message::{AckStage, Draft},
    role::{self, Permission},
    sabotage::{self, Sabotage},
    telemetry::SpanKind,
};

use super::{Client, refuse};
use crate::{asked::Asked, limits::Limit, worker::Worker};

/// The role of a member, none for whoever acts in any room by their scope; strangers are refused in a way that does
/// not tell them of private rooms. What the log says of the sender when it appends is the last word.
pub(super) async fn role_in(
    worker: &Worker,
    client: &Client,
    identity: &Identity,
    room: &RoomId,
) -> Result<Rc<str>, Refusal> {
    let epoch = worker.node.bus.log.current_session().map(|session| session.epoch);
    let joined = client.joined(room).zip(epoch);
    if let Some(role) = joined.and_then(|(joined, epoch)| worker.hub.borrow().role(room, joined, epoch)) {
        return Ok(role);
    }
    match worker.node.bus.membership(&identity.user, room).await? {
        Some(membership) => Ok(membership.role.into()),
        // Acts in any room that there is; the log says whether there is one.
        None if identity.admin => Ok("".into()),
        None => newcomer(worker, identity, room).await.map(Into::into),
    }
}

/// The role of someone who is not a member as far as the caches know, when they were added just now. All others are
/// refused: public rooms exist for everyone, others for nobody.
pub(super) async fn newcomer(worker: &Worker, identity: &Identity, room: &RoomId) -> Result<String, Refusal> {
    // Asking for rooms that are not there costs PostgreSQL a read each: it is rationed like sending.
    if let Err(retry_after_ms) = worker.node.allow(Limit::Messages, &identity.user) {
        return Err(Limit::Messages.refusal(retry_after_ms));
    }
    let mut read = worker.node.bus.log.read(room, None, Epoch(0), None, &[identity.user.as_str()]).await?;
    match read.marks.pop().flatten().and_then(|mark| mark.role) {
        Some(role) => Ok(role),
        None => Err(refused(&read.head)),
    }
}

/// What someone who is not a member is told of a room.
pub(super) fn refused(head: &RoomHead) -> Refusal {
    if head.kind == "public" {
        return Refusal::new(ErrorCode::Forbidden, "only members may do this; join the room's members first");
    }
    Refusal::not_found("room")
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
    mut asked: Asked,
    draft: Draft,
) {
    let Some(identity) = client.identity() else { return };
    let started = Instant::now();
    let Some(place) = client.take_answer_place() else {
        asked.sends = false;
        worker.node.hot.too_many();
        return refuse(worker, client, &asked, Some(room), &too_many_unanswered());
    };
    let metrics = &worker.node.metrics;
    worker.node.typing.has_sent(room, &identity.user);
    let accepted = match append(worker, client, &identity, room, &draft).await {
        Ok(accepted) => accepted,
        Err(refusal) => return refuse(worker, client, &asked, Some(room), &refusal),
    };
    metrics.append_seconds.observe(started.elapsed().as_secs_f64());
    if asked.trace().is_some() {
        tracing::debug!(seq = accepted.seq.0, duplicate = accepted.duplicate, "it stands in the log");
    }
    if accepted.answers(draft.ack) {
        worker.node.hot.sent(accepted.duplicate);
        return acknowledge(client, &asked, room, &draft, &accepted, AckStage::Accepted);
    }
    let (worker, client, room) = (worker.clone(), client.clone(), room.clone());
    let waits = asked.part("stored answer", SpanKind::Internal);
    tokio::task::spawn_local(async move {
        let (_place, _waits) = (place, waits);
        match worker.node.bus.log.reach(&room, draft.ack, accepted).await {
            Ok((accepted, stage)) => {
                if !accepted.duplicate {
                    worker.node.metrics.stored_seconds.observe(started.elapsed().as_secs_f64());
                }
                worker.node.hot.sent(accepted.duplicate);
                acknowledge(&client, &asked, &room, &draft, &accepted, stage);
            }
            Err(refusal) => refuse(&worker, &client, &asked, Some(&room), &refusal),
        }
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
    if sabotage::is(Sabotage::Once) && !entry.first_attempt {
        entry.client_id = ClientId::parse(&format!("again-{}", entry.id.as_deref().unwrap_or_default())).ok();
    }
    Ok(worker.node.bus.log.append(&entry).await?)
}

fn acknowledge(
    client: &Client,
    asked: &Asked,
    room: &RoomId,
    draft: &Draft,
    accepted: &Accepted,
    stage: AckStage,
) {
    let ack = draft.ack(room, accepted, stage);
    client.reply(&ack.frame(asked.reference()));
}
