//! Appends a message to the log, and answers once.

use std::{rc::Rc, time::Instant};

use tidings_shared::{
    auth::Identity,
    error::{ErrorCode, Refusal},
    ids::{ClientId, Epoch, RoomId},
    log::{Accepted, AppendError, MinRole, RoomHead},
    message::{AckStage, Draft},
    role::{self, Permission},
    sabotage::{self, Sabotage},
    telemetry::SpanKind,
};

use super::{Client, refuse};
use crate::{limits::Limit, request_context::RequestContext, worker::Worker};

/// The role of a member; empty for an admin who is not a member. Refuses other users without revealing that a private
/// room exists. The append checks the sender again and decides.
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
        // An admin acts in any existing room; the log checks that the room exists.
        None if identity.admin => Ok("".into()),
        None => recently_added_role(worker, identity, room).await.map(Into::into),
    }
}

/// The role of a user who was added to the room just now and is not in the caches yet. Refuses all other users: for
/// them a public room exists, a private room does not.
pub(super) async fn recently_added_role(
    worker: &Worker,
    identity: &Identity,
    room: &RoomId,
) -> Result<String, Refusal> {
    // A check of a room that does not exist costs a read in PostgreSQL, so it counts against the send limit.
    if let Err(retry_after_ms) = worker.node.allow(Limit::Messages, &identity.user) {
        return Err(Limit::Messages.refusal(retry_after_ms));
    }
    let mut read = worker.node.bus.log.read(room, None, Epoch(0), None, &[identity.user.as_str()]).await?;
    match read.marks.pop().flatten().and_then(|mark| mark.role) {
        Some(role) => Ok(role),
        None => Err(refuse_non_member(&read.head)),
    }
}

/// The refusal for a user who is not a member.
pub(super) fn refuse_non_member(head: &RoomHead) -> Refusal {
    if head.kind == "public" {
        return Refusal::new(ErrorCode::Forbidden, "only members of the room may do this");
    }
    Refusal::not_found("room")
}

/// The refusal for a connection with too many commands that wait for storage.
pub(super) fn too_many_unanswered() -> Refusal {
    Refusal::overloaded("too many commands of this connection wait for their answers; repeat this one later")
}

/// Appends a message; then the lane continues. The answer is sent at the stage that the client asked for.
pub(super) async fn send(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    mut request: RequestContext,
    draft: Draft,
) {
    let Some(identity) = client.identity() else { return };
    let started = Instant::now();
    let Some(slot) = client.take_answer_slot() else {
        request.is_send = false;
        worker.node.counters.too_many();
        return refuse(worker, client, &request, Some(room), &too_many_unanswered());
    };
    let metrics = &worker.node.metrics;
    worker.node.typing.message_sent(room, &identity.user);
    let accepted = match append(worker, client, &identity, room, &draft).await {
        Ok(accepted) => accepted,
        Err(refusal) => return refuse(worker, client, &request, Some(room), &refusal),
    };
    metrics.append_seconds.observe(started.elapsed().as_secs_f64());
    if request.trace().is_some() {
        tracing::debug!(seq = accepted.seq.0, duplicate = accepted.duplicate, "it stands in the log");
    }
    if accepted.answers(draft.ack) {
        worker.node.counters.send_accepted(accepted.duplicate);
        return acknowledge(client, &request, room, &draft, &accepted, AckStage::Accepted);
    }
    let (worker, client, room) = (worker.clone(), client.clone(), room.clone());
    let wait_span = request.child_span("stored answer", SpanKind::Internal);
    tokio::task::spawn_local(async move {
        let (_slot, _wait_span) = (slot, wait_span);
        match worker.node.bus.log.wait_for_stage(&room, draft.ack, accepted).await {
            Ok((accepted, stage)) => {
                if !accepted.duplicate {
                    worker.node.metrics.stored_seconds.observe(started.elapsed().as_secs_f64());
                }
                worker.node.counters.send_accepted(accepted.duplicate);
                acknowledge(&client, &request, &room, &draft, &accepted, stage);
            }
            Err(refusal) => refuse(&worker, &client, &request, Some(&room), &refusal),
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
        entry.min_role = MinRole::Anyone;
    }
    if sabotage::is_active(Sabotage::Once) && !entry.first_attempt {
        entry.client_id = ClientId::parse(&format!("again-{}", entry.id.as_deref().unwrap_or_default())).ok();
    }
    Ok(worker.node.bus.log.append(&entry).await?)
}

fn acknowledge(
    client: &Client,
    request: &RequestContext,
    room: &RoomId,
    draft: &Draft,
    accepted: &Accepted,
    stage: AckStage,
) {
    let ack = draft.ack(room, accepted, stage);
    client.reply(&ack.frame(request.reference()));
}
