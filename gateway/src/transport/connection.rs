//! The handle to an open connection, for sessions and their tasks. The handle uses only the connection's link, so it
//! may be used anywhere on the worker's thread, also within another connection's session.

mod sending;

use std::{rc::Rc, time::Duration};

use super::{
    kind::TransportKind,
    worker::{Link, Phase},
};

/// A handle to one WebSocket or Engine.IO session, cheap to clone. After the connection has closed, its methods do
/// nothing. The text of a frame for an Engine.IO session must begin with the packet type `4`.
#[derive(Clone)]
pub struct Connection(pub(super) Rc<Link>);

impl Connection {
    /// Bytes that are queued and not yet written to the socket.
    pub fn queued_bytes(&self) -> usize {
        self.0.outbox.borrow().bytes()
    }

    /// Sends the queued frames, then a close frame. `on_closed` gets `code`. Only the first close counts.
    pub fn close(&self, code: u16, reason: &str) {
        self.0.close(code, reason);
    }

    /// Stops reading, so that TCP slows the peer down. A paused connection is not closed for silence.
    pub fn pause_reading(&self) {
        self.0.paused.set(true);
    }

    /// Reads again after `pause_reading`, and restarts the time after which a silent peer is closed.
    pub fn resume_reading(&self) {
        if self.0.paused.replace(false) {
            self.0.last_received.set(self.0.worker.current_tick());
            self.0.wake();
        }
    }

    /// Requests a call of the session's `on_drained` when fewer than `low_water_bytes` are queued, which may be at
    /// once. Within `on_drained`, request another call only after sending something, because an outbox that is still
    /// low would cause that call at once.
    pub fn notify_drained(&self) {
        self.0.drain_wanted.set(true);
        self.0.wake();
    }

    /// Requests one call of `on_deadline` after this time, in place of an earlier request; `None` cancels the request.
    pub fn set_deadline(&self, after: Option<Duration>) {
        self.0.set_deadline(after);
    }

    /// Whether the connection has closed or is closing.
    pub fn is_closed(&self) -> bool {
        self.0.phase.get() != Phase::Open
    }

    /// How long ago the last bytes came from the peer, or the end of its stream, with the accuracy of a tick.
    pub fn silence(&self) -> Duration {
        let worker = &self.0.worker;
        worker.limits.tick * worker.current_tick().saturating_sub(self.0.last_received.get())
    }

    /// The present transport. An Engine.IO session may move from polling to a WebSocket.
    pub fn transport(&self) -> TransportKind {
        self.0.kind.get()
    }

    /// Whether the connection is an Engine.IO session.
    pub fn is_engine(&self) -> bool {
        self.0.kind.get().is_engine()
    }

    /// The id of the connection, which is unique among all earlier and later connections of this worker.
    pub fn id(&self) -> u64 {
        self.0.id
    }
}
