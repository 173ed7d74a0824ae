//! Answers commands with refusals, and closes connections that exceed limits too often.

use tidings_shared::{
    clock::unix_ms,
    error::{ErrorCode, Refusal},
    ids::RoomId,
    protocol::{CloseCode, server::ServerFrame},
};

use super::Worker;
use crate::{client::Client, request_context::RequestContext};

impl Worker {
    /// Sends a refusal to a connection.
    pub fn refuse(
        &self,
        client: &Client,
        request: &RequestContext,
        room: Option<&RoomId>,
        refusal: &Refusal,
    ) {
        self.node.counters.error(refusal.code);
        if client.identity().is_none() {
            self.node.metrics.auths.with_label_values(&[refusal.code.as_str()]).inc();
        }
        request.record_refusal(refusal);
        if request.is_send {
            self.node.counters.send_refused(refusal.code);
        }
        client.reply(&ServerFrame::Error { reference: request.reference(), room, refusal });
        if refusal.code == ErrorCode::RateLimited {
            self.count_exceeded_limit(client);
        }
    }

    /// Counts that a connection exceeded a limit, and closes a connection that does so too often.
    pub fn count_exceeded_limit(&self, client: &Client) {
        if client.exceeds_abuse_limit(unix_ms(), self.node.abuse_per_minute) {
            client.close(CloseCode::Abuse, "rate limits were exceeded too often");
        }
    }
}
