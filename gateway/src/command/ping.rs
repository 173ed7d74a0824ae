//! `ping`: is anybody there.

use tidings_shared::protocol::server::{ServerFrame, rfc3339};

use super::{Context, Effect};

pub(super) fn apply(context: &Context<'_>, reference: Option<&str>) -> Vec<Effect> {
    Effect::reply(&ServerFrame::Pong { reference, server_time: &rfc3339(context.now_ms) })
}
