//! Publishes typing and signals, which are never stored. The node combines the typing of all its connections, so a
//! typing command is answered later, when its change is published.

use serde_json::value::RawValue;
use tidings_shared::{
    error::Refusal,
    ids::{RoomId, UserId},
    log::LiveEntry,
    protocol::server::ServerFrame,
};

use super::{ChatSession, access};
use crate::{client::SlotGuard, worker::TypingState};

/// Accepts `typing:start` or `typing:stop`, and returns the future of its outcome.
pub(super) async fn submit_typing(
    session: &ChatSession,
    room: &RoomId,
    started: bool,
) -> Result<(SlotGuard, impl Future<Output = Result<(), Refusal>> + use<>), Refusal> {
    let identity = access::current_identity(session)?;
    let min_role = access::min_role(session, &identity, room).await?;
    let slot = session.client.take_answer_slot()?;
    let state = TypingState { started, name: identity.name.clone(), min_role };
    let published = session.worker.node.typing.submit(room, &identity.user, state)?;
    let stopping = || Err(Refusal::unavailable("the node is stopping"));
    Ok((slot, async move { published.await.unwrap_or_else(|_| stopping()) }))
}

/// Publishes an opaque payload from one member to all other members of a room, or to one of them, without storing it.
pub(super) async fn publish_signal(
    session: &ChatSession,
    room: &RoomId,
    to: Option<UserId>,
    data: &RawValue,
) -> Result<(), Refusal> {
    let identity = access::current_identity(session)?;
    let min_role = access::min_role(session, &identity, room).await?;
    if let Some(to) = &to
        && !session.worker.node.bus.is_member(to, room).await?
    {
        return Err(Refusal::not_found("member").with_field("to"));
    }
    session.worker.node.take_room_bytes(room, data.get().len())?;
    let sender = &identity.user;
    let json = ServerFrame::Signal { room, from: sender, data }.to_json();
    let entry = LiveEntry { room, kind: "signal", sender, to: to.as_ref(), min_role, json };
    // `publish_live` returns one outcome per entry.
    session.worker.node.bus.log.publish_live(&[entry]).await.pop().unwrap_or(Ok(()))?;
    session.worker.node.metrics.live.with_label_values(&["signal"]).inc();
    Ok(())
}
