//! `signal`: an opaque payload from one member to all other members of a room, or to one of them. It is not stored.

use std::rc::Rc;

use serde_json::value::RawValue;
use tidings_shared::{
    error::Refusal,
    ids::{RoomId, UserId},
    log::LiveEntry,
    protocol::server::ServerFrame,
};

use super::{Client, access, refuse};
use crate::{request_context::RequestContext, worker::Worker};

pub(super) async fn signal(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    request: RequestContext,
    to: Option<UserId>,
    data: &RawValue,
) {
    match publish(worker, client, room, to.as_ref(), data).await {
        Ok(()) => {
            worker.node.metrics.live.with_label_values(&["signal"]).inc();
            if let Some(reference) = request.reference() {
                client.reply(&ServerFrame::Ok { reference: Some(reference) });
            }
        }
        Err(refusal) => refuse(worker, client, &request, Some(room), &refusal),
    }
}

async fn publish(
    worker: &Worker,
    client: &Client,
    room: &RoomId,
    to: Option<&UserId>,
    data: &RawValue,
) -> Result<(), Refusal> {
    let identity = client.identity().ok_or_else(|| Refusal::unavailable("the connection is gone"))?;
    let min_role = access::min_role(worker, client, &identity, room).await?;
    if let Some(to) = to
        && !worker.node.bus.is_member(to, room).await?
    {
        return Err(Refusal::not_found("member").with_field("to"));
    }
    let sender = &identity.user;
    let json = ServerFrame::Signal { room, from: sender, data }.to_json();
    let entry = LiveEntry { room, kind: "signal", sender, to, min_role, json };
    // One entry has one outcome.
    worker.node.bus.log.publish_live(&[entry]).await.pop().unwrap_or(Ok(()))
}
