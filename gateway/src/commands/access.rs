//! The role of a user in a room, and the refusals that commands for a room have in common.

use std::{num::NonZeroU32, rc::Rc};

use tidings_shared::{
    auth::Identity,
    error::{ErrorCode, Refusal},
    ids::{Epoch, RoomId},
    log::{RoomHead, keys::Partition},
    message::change::Actor,
    role::{MinRole, Permission},
};

use super::ConnectionHandle;
use crate::{
    limits::Limit,
    worker::{Worker, refill},
};

/// Returns the identity of a connection's user. A connection that runs commands has an identity, unless it has closed.
pub(super) fn current_identity(caller: &ConnectionHandle) -> Result<Rc<Identity>, Refusal> {
    caller.client.identity().ok_or_else(|| Refusal::unavailable("the connection is gone"))
}

/// The role of a user; empty if the user is an admin and not a member. Refuses other users without revealing that a
/// private room exists. The role may be outdated, so the append checks the sender again.
pub(super) async fn role_in(
    caller: &ConnectionHandle,
    identity: &Identity,
    room: &RoomId,
) -> Result<Rc<str>, Refusal> {
    if let Some(role) = role_in_hub(caller, room) {
        return Ok(role);
    }
    wait_for_refill(caller, room).await;
    if let Some(role) = role_in_hub(caller, room) {
        return Ok(role);
    }
    let worker = &caller.worker;
    match worker.node.bus.membership_snapshot(&identity.user, room).await?.membership {
        Some(membership) => Ok(membership.role.into()),
        // An admin acts in any existing room; the log checks that the room exists.
        None if identity.admin => Ok("".into()),
        None => recently_added_role(worker, identity, room).await.map(Into::into),
    }
}

/// The role of a user in a joined room, if the hub knows it in the present epoch.
fn role_in_hub(ConnectionHandle { worker, client }: &ConnectionHandle, room: &RoomId) -> Option<Rc<str>> {
    let epoch = worker.node.bus.log.current_session(Partition::of(room))?.epoch;
    worker.hub.borrow().room(room).role(client.subscription(room)?, epoch)
}

/// Waits for the refill of a joined room whose hints may have been missed. A refill reads the roles from Redis. Without
/// this wait, a restart of Redis would load the memberships of all senders from PostgreSQL.
async fn wait_for_refill(ConnectionHandle { worker, client }: &ConnectionHandle, room: &RoomId) {
    let bus = &worker.node.bus;
    // While Redis is away, the session fails soon, and the command with it.
    if client.subscription(room).is_none() || bus.log.session(Partition::of(room)).await.is_err() {
        return;
    }
    if !bus.is_offline(room) && !worker.hub.borrow().room(room).is_refilling() {
        return;
    }
    refill::wait_for_refill(worker, room).await;
}

/// Returns the role of a user who was just added to the room, so that the caches do not hold the membership yet.
/// Refuses other users with `forbidden` for a public room, and with `not_found` for a private room, to hide that it
/// exists.
pub(super) async fn recently_added_role(
    worker: &Worker,
    identity: &Identity,
    room: &RoomId,
) -> Result<String, Refusal> {
    // The check counts against the send limit, because the check of a nonexistent room costs a read in PostgreSQL.
    worker.node.take_tokens_or_refuse(Limit::Messages, &identity.user, NonZeroU32::MIN)?;
    let mut read = worker.node.bus.log.read(room, None, Epoch(0), None, &[identity.user.as_str()]).await?;
    match read.marks.pop().flatten().and_then(|mark| mark.role) {
        Some(role) => Ok(role),
        None => Err(non_member_refusal(&read.head)),
    }
}

/// The refusal of a user who is not a member: `forbidden` for a public room; `not_found` for a private room, to hide
/// that it exists.
pub(super) fn non_member_refusal(head: &RoomHead) -> Refusal {
    if head.kind == "public" {
        return Refusal::new(ErrorCode::Forbidden, "only members of the room may do this");
    }
    Refusal::not_found("room")
}

/// The minimum role that the user must still have when the record is published. Refuses a user without permission.
pub(super) async fn min_role(
    caller: &ConnectionHandle,
    identity: &Identity,
    room: &RoomId,
) -> Result<MinRole, Refusal> {
    let role = role_in(caller, identity, room).await?;
    Actor { user: &identity.user, role: &role, admin: identity.admin }.permit(Permission::Send)
}
