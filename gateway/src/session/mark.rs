//! Read and delivered marks: gathered per room by the worker, answered when they are stored.

use std::rc::Rc;

use tidings_shared::{
    error::Refusal,
    ids::{RoomId, Seq},
    protocol::server::ServerFrame,
};

use super::{Client, refuse, send};
use crate::worker::Worker;

pub(super) async fn mark(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    reference: Option<String>,
    seq: Seq,
    delivered: bool,
) {
    let Some(identity) = client.identity() else { return };
    if let Err(refusal) = send::role_in(worker, client, &identity, room).await {
        return refuse(worker, client, reference.as_deref(), Some(room), &refusal);
    }
    let Some(place) = client.take_answer_place() else {
        return refuse(worker, client, reference.as_deref(), Some(room), &send::too_many_unanswered());
    };
    let stored = worker.mark(room, &identity.user, seq, delivered);
    let (worker, client, room) = (worker.clone(), client.clone(), room.clone());
    // Marks never move back, so nothing behind this one in the lane need wait for it.
    tokio::task::spawn_local(async move {
        let _place = place;
        let gone = || Err(Refusal::unavailable("the mark is not known to be stored; repeat it"));
        match stored.await.unwrap_or_else(|_| gone()) {
            Ok(head) => {
                if !delivered {
                    worker.node.bus.advance_read(&identity.user, &room, seq.min(head)).await;
                }
                if let Some(reference) = reference.as_deref() {
                    client.reply(&ServerFrame::Ok { reference: Some(reference) });
                }
            }
            Err(refusal) => refuse(&worker, &client, reference.as_deref(), Some(&room), &refusal),
        }
    });
}
