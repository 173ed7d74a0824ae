//! `room:leave`: ends subscriptions of this connection. Memberships do not change.

use tidings_shared::ids::RoomId;

use super::{Effect, RequestContext};

pub(super) fn apply(request: RequestContext, rooms: Vec<RoomId>) -> Vec<Effect> {
    vec![Effect::Leave { request, rooms }]
}
