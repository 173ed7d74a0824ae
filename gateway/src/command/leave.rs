//! `room:leave`: hear no more of rooms on this connection; membership is not touched.

use tidings_shared::ids::RoomId;

use super::{Asked, Effect};

pub(super) fn apply(asked: Asked, rooms: Vec<RoomId>) -> Vec<Effect> {
    vec![Effect::Leave { asked, rooms }]
}
