//! `message:read` and `message:delivered`: all messages up to a position were read, or delivered.

use tidings_shared::ids::{RoomId, Seq};

use super::{Effect, RequestContext};

pub(super) fn apply(request: RequestContext, room: RoomId, seq: Seq, delivered: bool) -> Vec<Effect> {
    vec![Effect::Mark { request, room, seq, delivered }]
}
