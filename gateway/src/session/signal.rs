//! `signal`: an opaque payload from one member to all other members of a room, or to one of them. It is not stored.

use serde_json::value::RawValue;
use tidings_shared::{
    error::Refusal,
    ids::{RoomId, UserId},
    log::LiveEntry,
    protocol::server::ServerFrame,
};

use super::access;
use crate::{client::Client, worker::Worker};

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
    // One entry has one outcome.
    worker.node.bus.log.publish_live(&[entry]).await.pop().unwrap_or(Ok(()))?;
    worker.node.metrics.live.with_label_values(&["signal"]).inc();
    Ok(())
}
