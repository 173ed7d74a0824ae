//! `message:read` and `message:delivered`: all up to a position was read, or has arrived.

use tidings_shared::ids::{RoomId, Seq};

use super::{Asked, Effect};

pub(super) fn apply(asked: Asked, room: RoomId, seq: Seq, delivered: bool) -> Vec<Effect> {
    vec![Effect::Mark { asked, room, seq, delivered }]
}
