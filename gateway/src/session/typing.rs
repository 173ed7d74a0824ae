//! `typing:start` and `typing:stop`: combined with those of other connections of the node, and answered after they
//! were published.

use std::rc::Rc;

use tidings_shared::{error::Refusal, ids::RoomId};

use super::access;
use crate::{
    client::{Client, SlotGuard},
    worker::{TypingState, Worker},
};

pub(super) async fn typing(
    worker: &Worker,
    client: &Rc<Client>,
    room: &RoomId,
    started: bool,
) -> Result<(SlotGuard, impl Future<Output = Result<(), Refusal>> + use<>), Refusal> {
    let identity = access::identity(client)?;
    let min_role = access::min_role(worker, client, &identity, room).await?;
    let slot = client.take_answer_slot()?;
    let state = TypingState { started, name: identity.name.clone(), min_role };
    let published = worker.node.typing.submit(room, &identity.user, state)?;
    let stopping = || Err(Refusal::unavailable("the node is stopping"));
    Ok((slot, async move { published.await.unwrap_or_else(|_| stopping()) }))
}
