//! `room:join`: subscribes the connection to one room, to several, or to all rooms of the user.

use tidings_shared::protocol::JoinTarget;

use super::{Effect, RequestContext};

pub(super) fn apply(request: RequestContext, target: JoinTarget, presence: bool) -> Vec<Effect> {
    vec![Effect::Join { request, target, presence }]
}
