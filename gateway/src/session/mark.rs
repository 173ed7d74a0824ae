//! Handles read and delivered marks. The marks of all connections of the node are combined, so the answer comes later,
//! when the mark is stored.

use std::rc::Rc;

use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::{RoomId, Seq},
};

use super::access;
use crate::{
    client::{Client, SlotGuard},
    worker::Worker,
};

/// Accepts a read or delivered mark, and returns the future of its outcome. Marks never move back, so later jobs of the
/// lane need not wait for the outcome.
pub(super) async fn mark(
    worker: &Worker,
    client: &Rc<Client>,
    room: &RoomId,
    seq: Seq,
    delivered: bool,
) -> Result<(SlotGuard, impl Future<Output = Result<(), Refusal>> + use<>), Refusal> {
    let identity = access::identity(client)?;
    // An admin can act in any room, but only a member can have a mark.
    if access::role_in(worker, client, &identity, room).await?.is_empty() {
        return Err(Refusal::new(ErrorCode::Forbidden, "only a member of the room has a mark in it"));
    }
    let slot = client.take_answer_slot()?;
    let (receipts, room) = (worker.node.receipts.clone(), room.clone());
    Ok((slot, async move { receipts.mark(&room, &identity.user, seq, delivered).await.map(drop) }))
}
