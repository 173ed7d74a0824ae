//! `message:read`: all up to a position was read.

use tidings_shared::ids::{RoomId, Seq};

use super::Effect;

pub(super) fn apply(reference: Option<String>, room: RoomId, seq: Seq) -> Vec<Effect> {
    vec![Effect::Mark { reference, room, seq }]
}
