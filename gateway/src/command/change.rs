//! `message:edit`, `message:delete`, `reaction:add`, `reaction:remove`: a checked change goes to the room's log.

use tidings_shared::{ids::RoomId, message::change::Change};

use super::{Asked, Effect};

pub(super) fn apply(asked: Asked, room: RoomId, change: Box<Change>) -> Vec<Effect> {
    vec![Effect::Change { asked, room, change }]
}
