//! Read and delivered marks: combined per room over the whole node, and answered when they are stored.

use std::rc::Rc;

use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::{RoomId, Seq},
    protocol::server::ServerFrame,
};

use super::{Client, access, refuse};
use crate::{request_context::RequestContext, worker::Worker};

pub(super) async fn mark(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    request: RequestContext,
    seq: Seq,
    delivered: bool,
) {
    let send_refusal = |refusal: &Refusal| refuse(worker, client, &request, Some(room), refusal);
    let Some(identity) = client.identity() else { return };
    match access::role_in(worker, client, &identity, room).await {
        // An admin can act in any room, but a mark needs a membership.
        Ok(role) if role.is_empty() => {
            return send_refusal(&Refusal::new(
                ErrorCode::Forbidden,
                "only a member of the room has a mark in it",
            ));
        }
        Ok(_) => {}
        Err(refusal) => return send_refusal(&refusal),
    }
    let Some(slot) = client.take_answer_slot() else { return send_refusal(&access::too_many_unanswered()) };
    let (worker, client, room) = (worker.clone(), client.clone(), room.clone());
    // Marks never move back, so later jobs of the lane need not wait for this one.
    tokio::task::spawn_local(async move {
        let _slot = slot;
        match worker.node.receipts.mark(&room, &identity.user, seq, delivered).await {
            Ok(_) => {
                if let Some(reference) = request.reference() {
                    client.reply(&ServerFrame::Ok { reference: Some(reference) });
                }
            }
            Err(refusal) => refuse(&worker, &client, &request, Some(&room), &refusal),
        }
    });
}
