//! `typing:start` and `typing:stop`: gathered with what others of the node do, answered when it has gone out.

use std::rc::Rc;

use tidings_shared::{error::Refusal, ids::RoomId, protocol::server::ServerFrame};

use super::{Client, live, refuse, send};
use crate::asked::Asked;
use crate::worker::{Typist, Worker};

pub(super) async fn typing(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    asked: Asked,
    started: bool,
) {
    let refused = |refusal: &Refusal| refuse(worker, client, &asked, Some(room), refusal);
    let Some(identity) = client.identity() else { return };
    let minimum = match live::least_rank(worker, client, &identity, room).await {
        Ok(minimum) => minimum,
        Err(refusal) => return refused(&refusal),
    };
    let Some(place) = client.take_answer_place() else { return refused(&send::too_many_unanswered()) };
    let typist = Typist { started, name: identity.name.clone(), minimum };
    let sent = match worker.node.typing.say(room, &identity.user, typist) {
        Ok(sent) => sent,
        Err(refusal) => return refused(&refusal),
    };
    let (worker, client, room) = (worker.clone(), client.clone(), room.clone());
    // A message behind this one in the lane need not wait for it.
    tokio::task::spawn_local(async move {
        let _place = place;
        let stopping = || Err(Refusal::unavailable("the node is stopping"));
        match sent.await.unwrap_or_else(|_| stopping()) {
            Ok(()) => {
                if let Some(reference) = asked.reference() {
                    client.reply(&ServerFrame::Ok { reference: Some(reference) });
                }
            }
            Err(refusal) => refuse(&worker, &client, &asked, Some(&room), &refusal),
        }
    });
}
