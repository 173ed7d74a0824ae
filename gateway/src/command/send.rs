//! `message:send`: a checked message goes to the room's log.

use tidings_shared::{ids::RoomId, message::Draft};

use super::Effect;

pub(super) fn apply(reference: Option<String>, room: RoomId, draft: Box<Draft>) -> Vec<Effect> {
    vec![Effect::Append { reference, room, draft }]
}
