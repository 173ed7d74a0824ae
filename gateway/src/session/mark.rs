//! Read and delivered marks: gathered per room over the whole node, answered when they are stored.

use std::rc::Rc;

use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::{RoomId, Seq},
    protocol::server::ServerFrame,
};

use super::{Client, refuse, send};
use crate::{asked::Asked, worker::Worker};

pub(super) async fn mark(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    asked: Asked,
    seq: Seq,
    delivered: bool,
) {
    let refused = |refusal: &Refusal| refuse(worker, client, &asked, Some(room), refusal);
    let Some(identity) = client.identity() else { return };
    match send::role_in(worker, client, &identity, room).await {
        // Whoever acts in any room by their scope has no mark where they are no member.
        Ok(role) if role.is_empty() => {
            return refused(&Refusal::new(
                ErrorCode::Forbidden,
                "only a member of the room has a mark in it",
            ));
        }
        Ok(_) => {}
        Err(refusal) => return refused(&refusal),
    }
    let Some(place) = client.take_answer_place() else { return refused(&send::too_many_unanswered()) };
    let (worker, client, room) = (worker.clone(), client.clone(), room.clone());
    // Marks never move back, so nothing behind this one in the lane need wait for it.
    tokio::task::spawn_local(async move {
        let _place = place;
        match worker.node.receipts.mark(&room, &identity.user, seq, delivered).await {
            Ok(_stands) => {
                if let Some(reference) = asked.reference() {
                    client.reply(&ServerFrame::Ok { reference: Some(reference) });
                }
            }
            Err(refusal) => refuse(&worker, &client, &asked, Some(&room), &refusal),
        }
    });
}
