//! `typing:start`, `typing:stop`, `signal`, `presence:set`, `presence:get`: commands that are neither stored nor
//! replayed.

use super::{Effect, LiveCommand, RequestContext};

pub(super) fn apply(request: RequestContext, live: LiveCommand) -> Vec<Effect> {
    vec![Effect::Live { request, live }]
}
