//! `typing:start` and `typing:stop`, which are never stored. The node combines the typing of all its connections, so a
//! command is answered later, when its change is published.

use tidings_shared::{error::Refusal, ids::RoomId};

use super::{ConnectionHandle, access, answer};
use crate::{request_context::RequestContext, worker::TypingState};

pub(super) async fn run(caller: &ConnectionHandle, room: &RoomId, request: RequestContext, started: bool) {
    let submitted = async {
        let identity = access::current_identity(caller)?;
        let min_role = access::min_role(caller, &identity, room).await?;
        let slot = caller.client.take_answer_slot()?;
        let state = TypingState { started, name: identity.name.clone(), min_role };
        let published = caller.worker.node.typing.submit(room, &identity.user, state)?;
        let stopping = || Err(Refusal::unavailable("the node is stopping"));
        Ok((slot, async move { published.await.unwrap_or_else(|_| stopping()) }))
    };
    answer::answer_later(caller, room, request, submitted.await);
}
