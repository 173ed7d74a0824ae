//! `ping` is always answered. A ping above the rate limit also counts as an exceeded limit.

use std::num::NonZeroU32;

use tidings_shared::protocol::server::{ServerFrame, rfc3339};

use super::{Effect, Environment, RequestContext, State, check_rate};
use crate::limits::Limit;

pub(super) fn apply(state: &State, env: &Environment<'_>, request: &RequestContext) -> Vec<Effect> {
    let mut effects = Effect::reply(&ServerFrame::Pong {
        reference: request.reference(),
        server_time: &rfc3339(env.now_ms),
    });
    if check_rate(env, state, Limit::Commands, NonZeroU32::MIN).is_err() {
        effects.push(Effect::LimitExceeded);
    }
    effects
}
