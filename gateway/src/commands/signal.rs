//! `signal`: an opaque payload from one member to all other members of a room, or to one of them, which is never stored.

use serde_json::value::RawValue;
use tidings_shared::{
    error::Refusal,
    ids::{RoomId, UserId},
    log::LiveEntry,
    protocol::server::ServerFrame,
};

use super::{ConnectionHandle, access};

pub(super) async fn publish(
    caller: &ConnectionHandle,
    room: &RoomId,
    to: Option<UserId>,
    data: &RawValue,
) -> Result<(), Refusal> {
    let node = &caller.worker.node;
    let identity = access::current_identity(caller)?;
    let min_role = access::min_role(caller, &identity, room).await?;
    if let Some(to) = &to
        && !node.bus.is_member(to, room).await?
    {
        return Err(Refusal::not_found("member").with_field("to"));
    }
    node.take_room_bytes(room, data.get().len())?;
    let sender = &identity.user;
    let json = ServerFrame::Signal { room, from: sender, data }.to_json();
    let entry = LiveEntry { room, kind: "signal", sender, to: to.as_ref(), min_role, json };
    // `publish_live` returns one outcome per entry.
    node.bus.log.publish_live(&[entry]).await.pop().unwrap_or(Ok(()))?;
    node.metrics.live.with_label_values(&["signal"]).inc();
    Ok(())
}
