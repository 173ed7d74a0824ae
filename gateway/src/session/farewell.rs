//! The end of the node for one connection: it is told once when to leave, goes on being served until then, and is
//! closed when it overstays, as soon as all that it asked is answered.

use std::time::Duration;

use tidings_shared::protocol::{CloseCode, server::ServerFrame};
use tokio::time::Instant;

use super::Client;

/// Why a connection is closed at the end of its node.
pub(crate) const STOPPING: &str = "the node is stopping";

/// How far the end of the node has come for a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Farewell {
    #[default]
    None,
    /// It should leave at this time.
    LeavesAt(Instant),
    /// It should have left.
    Overstays,
}

impl Client {
    /// The node drains: it should leave after this time. Who nobody knows yet is told behind `connected`.
    pub(super) fn drain(&self, leave_after: Duration) {
        self.farewell.set(Farewell::LeavesAt(Instant::now() + leave_after));
        if self.known_user().is_some() {
            self.tell_draining();
        }
    }

    /// Tells when to leave, if the node drains.
    pub(super) fn tell_draining(&self) {
        let left = match self.farewell.get() {
            Farewell::None => return,
            Farewell::LeavesAt(at) => at.saturating_duration_since(Instant::now()),
            Farewell::Overstays => Duration::ZERO,
        };
        let reconnect_after_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        self.reply(&ServerFrame::Draining { reconnect_after_ms });
    }

    /// It should have left by now: nothing more is read, and it is closed once all is answered.
    pub(super) fn overstayed(&self) {
        self.farewell.set(Farewell::Overstays);
        self.connection.pause_reading();
        self.go_once_answered();
    }

    /// To be called after each answer.
    pub(super) fn go_once_answered(&self) {
        if self.farewell.get() == Farewell::Overstays && self.is_answered() {
            self.connection.close(CloseCode::ServiceRestart.code(), STOPPING);
        }
    }
}
