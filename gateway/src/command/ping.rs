//! `ping`: is anybody there. Answered however often it comes, but who asks too often runs against their limit.

use std::num::NonZeroU32;

use tidings_shared::{
    auth::Identity,
    protocol::server::{ServerFrame, rfc3339},
};

use super::{Asked, Context, Effect};
use crate::limits::Limit;

pub(super) fn apply(identity: &Identity, context: &Context<'_>, asked: &Asked) -> Vec<Effect> {
    let mut effects = Effect::reply(&ServerFrame::Pong {
        reference: asked.reference(),
        server_time: &rfc3339(context.now_ms),
    });
    if (context.allow)(Limit::Commands, &identity.user, NonZeroU32::MIN).is_err() {
        effects.push(Effect::Overstepped);
    }
    effects
}
