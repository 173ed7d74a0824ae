//! `ping`: always answered. A ping that exceeds the limit counts as an exceeded limit.

use std::num::NonZeroU32;

use tidings_shared::{
    auth::Identity,
    protocol::server::{ServerFrame, rfc3339},
};

use super::{Effect, Environment, RequestContext};
use crate::limits::Limit;

pub(super) fn apply(identity: &Identity, env: &Environment<'_>, request: &RequestContext) -> Vec<Effect> {
    let mut effects = Effect::reply(&ServerFrame::Pong {
        reference: request.reference(),
        server_time: &rfc3339(env.now_ms),
    });
    if (env.allow)(Limit::Commands, &identity.user, NonZeroU32::MIN).is_err() {
        effects.push(Effect::LimitExceeded);
    }
    effects
}
