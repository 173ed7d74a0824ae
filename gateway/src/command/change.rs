//! `message:edit`, `message:delete`, `reaction:add`, `reaction:remove`: a checked change within the user's allowance
//! goes to the room's log.

use tidings_shared::{auth::Identity, ids::RoomId, message::change::Change};

use super::{Context, Effect, send};

pub(super) fn apply(
    identity: &Identity,
    context: &Context<'_>,
    reference: Option<String>,
    room: RoomId,
    change: Box<Change>,
) -> Vec<Effect> {
    match send::within_allowance(identity, context) {
        Ok(()) => vec![Effect::Change { reference, room, change }],
        Err(refusal) => vec![Effect::refuse(reference, Some(room), refusal)],
    }
}
