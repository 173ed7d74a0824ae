//! `ping`, which is also answered above its rate limit.

use std::num::NonZeroU32;

use tidings_shared::{
    clock::unix_ms,
    protocol::server::{ServerFrame, rfc3339},
};

use super::ConnectionHandle;
use crate::{limits::Limit, request_context::RequestContext};

pub(super) fn run(ConnectionHandle { worker, client }: &ConnectionHandle, request: &RequestContext) {
    let server_time = rfc3339(unix_ms());
    client.reply(&ServerFrame::Pong { reference: request.reference(), server_time: &server_time });
    let Some(user) = client.known_user() else { return };
    if worker.node.take_tokens(Limit::Commands, user, NonZeroU32::MIN).is_err() {
        worker.count_exceeded_limit(client);
    }
}
