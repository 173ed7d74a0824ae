//! `message:read` and `message:delivered`: all up to a position was read, or has arrived.

use tidings_shared::ids::{RoomId, Seq};

use super::Effect;

pub(super) fn apply(reference: Option<String>, room: RoomId, seq: Seq, delivered: bool) -> Vec<Effect> {
    vec![Effect::Mark { reference, room, seq, delivered }]
}
