//! `message:edit`, `message:delete`, `reaction:add`, `reaction:remove`: append a checked change to the room's log.

use tidings_shared::{ids::RoomId, message::change::Change};

use super::{Effect, RequestContext};

pub(super) fn apply(request: RequestContext, room: RoomId, change: Box<Change>) -> Vec<Effect> {
    vec![Effect::Change { request, room, change }]
}
