//! Handles marks, typing and signals. Marks and typing of all connections of the node are combined, so their answers
//! come later: for a mark when it is stored, for typing when it was published.

use std::rc::Rc;

use serde_json::value::RawValue;
use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::{RoomId, Seq, UserId},
    log::LiveEntry,
    protocol::server::ServerFrame,
};

use super::access;
use crate::{
    client::{Client, SlotGuard},
    worker::{TypingState, Worker},
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

/// Accepts `typing:start` or `typing:stop`, and returns the future of its outcome.
pub(super) async fn typing(
    worker: &Worker,
    client: &Rc<Client>,
    room: &RoomId,
    started: bool,
) -> Result<(SlotGuard, impl Future<Output = Result<(), Refusal>> + use<>), Refusal> {
    let identity = access::identity(client)?;
    let min_role = access::min_role(worker, client, &identity, room).await?;
    let slot = client.take_answer_slot()?;
    let state = TypingState { started, name: identity.name.clone(), min_role };
    let published = worker.node.typing.submit(room, &identity.user, state)?;
    let stopping = || Err(Refusal::unavailable("the node is stopping"));
    Ok((slot, async move { published.await.unwrap_or_else(|_| stopping()) }))
}

/// Publishes an opaque payload from one member to all other members of a room, or to one of them, without storing it.
pub(super) async fn signal(
    worker: &Worker,
    client: &Client,
    room: &RoomId,
    to: Option<UserId>,
    data: &RawValue,
) -> Result<(), Refusal> {
    let identity = access::identity(client)?;
    let min_role = access::min_role(worker, client, &identity, room).await?;
    if let Some(to) = &to
        && !worker.node.bus.is_member(to, room).await?
    {
        return Err(Refusal::not_found("member").with_field("to"));
    }
    let sender = &identity.user;
    let json = ServerFrame::Signal { room, from: sender, data }.to_json();
    let entry = LiveEntry { room, kind: "signal", sender, to: to.as_ref(), min_role, json };
    // `publish_live` returns one outcome per entry.
    worker.node.bus.log.publish_live(&[entry]).await.pop().unwrap_or(Ok(()))?;
    worker.node.metrics.live.with_label_values(&["signal"]).inc();
    Ok(())
}
