//! The drain of the node for one connection. The client is told once when to leave, and is served until then. A
//! connection that stays longer is closed when all its commands are answered.

use std::time::Duration;

use tidings_shared::protocol::{CloseCode, server::ServerFrame};
use tokio::time::Instant;

use super::Client;

/// The close reason when the node shuts down.
pub(crate) const CLOSE_REASON_STOPPING: &str = "the node is stopping";

/// How far the drain of the node has come for this connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum DrainState {
    #[default]
    Serving,
    /// The connection should leave at this time.
    LeaveAt(Instant),
    /// The connection should have left already.
    Overdue,
}

impl Client {
    /// Tells the client to leave after the time `leave_after`. An unauthenticated client is told when it has got
    /// `connected`.
    pub(crate) fn begin_drain(&self, leave_after: Duration) {
        self.drain_state.set(DrainState::LeaveAt(Instant::now() + leave_after));
        if self.known_user().is_some() {
            self.send_draining();
        }
    }

    /// Tells the client when to leave, if the node is draining.
    pub(crate) fn send_draining(&self) {
        let remaining = match self.drain_state.get() {
            DrainState::Serving => return,
            DrainState::LeaveAt(at) => at.saturating_duration_since(Instant::now()),
            DrainState::Overdue => Duration::ZERO,
        };
        let reconnect_after_ms = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
        self.reply(&ServerFrame::Draining { reconnect_after_ms });
    }

    /// Stops reading from a connection that did not leave in time, and closes it when its commands are answered.
    pub(crate) fn close_when_answered(&self) {
        self.drain_state.set(DrainState::Overdue);
        self.connection.pause_reading();
        self.close_if_overdue();
    }

    /// Closes an overdue connection if all its commands are answered. Must be called after each answer.
    pub(crate) fn close_if_overdue(&self) {
        if self.drain_state.get() == DrainState::Overdue && self.has_answered_all() {
            self.close(CloseCode::ServiceRestart, CLOSE_REASON_STOPPING);
        }
    }
}
