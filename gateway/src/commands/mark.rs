//! `message:read` and `message:delivered`. The node combines the marks of all its connections, so a mark is answered
//! later, when it is stored. Marks never move back, so later commands of the lane need not wait for it.

use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::{RoomId, Seq},
};

use super::{ConnectionHandle, access, answer};
use crate::request_context::RequestContext;

pub(super) async fn run(
    caller: &ConnectionHandle,
    room: &RoomId,
    request: RequestContext,
    seq: Seq,
    delivered: bool,
) {
    let submitted = async {
        let identity = access::current_identity(caller)?;
        // An admin can act in any room, but only a member can have a mark.
        if access::role_in(caller, &identity, room).await?.is_empty() {
            return Err(Refusal::new(ErrorCode::Forbidden, "only a member of the room has a mark in it"));
        }
        let slot = caller.client.take_answer_slot()?;
        let (receipts, room) = (caller.worker.node.receipts.clone(), room.clone());
        let stored = async move { receipts.mark(&room, &identity.user, seq, delivered).await.map(drop) };
        Ok((slot, stored))
    };
    answer::answer_later(caller, room, request, submitted.await);
}
