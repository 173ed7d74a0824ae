//! `message:send`: a checked message goes to the room's log.

use tidings_shared::{ids::RoomId, message::Draft};

use super::{Asked, Effect};

pub(super) fn apply(asked: Asked, room: RoomId, draft: Box<Draft>) -> Vec<Effect> {
    vec![Effect::Append { asked, room, draft }]
}
