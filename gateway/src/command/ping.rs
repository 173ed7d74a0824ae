//! `ping`: is anybody there.

use tidings_shared::protocol::server::ServerFrame;

use super::{Context, Effect};

pub(super) fn apply(context: &Context<'_>, reference: Option<&str>) -> Vec<Effect> {
    Effect::reply(&ServerFrame::Pong { reference, server_time: context.server_time })
}
