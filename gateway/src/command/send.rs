//! `message:send`: appends a checked message to the room's log.

use tidings_shared::{ids::RoomId, message::Draft};

use super::{Effect, RequestContext};

pub(super) fn apply(request: RequestContext, room: RoomId, draft: Box<Draft>) -> Vec<Effect> {
    vec![Effect::Append { request, room, draft }]
}
