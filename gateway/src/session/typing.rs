//! `typing:start` and `typing:stop`: combined with those of other connections of the node, and answered after they
//! were published.

use std::rc::Rc;

use tidings_shared::{error::Refusal, ids::RoomId, protocol::server::ServerFrame};

use super::{Client, access, refuse};
use crate::request_context::RequestContext;
use crate::worker::{TypingState, Worker};

pub(super) async fn typing(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    request: RequestContext,
    started: bool,
) {
    let send_refusal = |refusal: &Refusal| refuse(worker, client, &request, Some(room), refusal);
    let Some(identity) = client.identity() else { return };
    let min_role = match access::min_role(worker, client, &identity, room).await {
        Ok(min_role) => min_role,
        Err(refusal) => return send_refusal(&refusal),
    };
    let Some(slot) = client.take_answer_slot() else { return send_refusal(&access::too_many_unanswered()) };
    let state = TypingState { started, name: identity.name.clone(), min_role };
    let published = match worker.node.typing.submit(room, &identity.user, state) {
        Ok(published) => published,
        Err(refusal) => return send_refusal(&refusal),
    };
    let (worker, client, room) = (worker.clone(), client.clone(), room.clone());
    // Later jobs of the lane need not wait for this one.
    tokio::task::spawn_local(async move {
        let _slot = slot;
        let stopping = || Err(Refusal::unavailable("the node is stopping"));
        match published.await.unwrap_or_else(|_| stopping()) {
            Ok(()) => {
                if let Some(reference) = request.reference() {
                    client.reply(&ServerFrame::Ok { reference: Some(reference) });
                }
            }
            Err(refusal) => refuse(&worker, &client, &request, Some(&room), &refusal),
        }
    });
}
