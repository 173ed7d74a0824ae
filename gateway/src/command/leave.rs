//! `room:leave`: hear no more of rooms on this connection; membership is not touched.

use tidings_shared::ids::RoomId;

use super::Effect;

pub(super) fn apply(reference: Option<String>, rooms: Vec<RoomId>) -> Vec<Effect> {
    vec![Effect::Leave { reference, rooms }]
}
