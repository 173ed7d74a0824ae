//! The handle to an open WebSocket: what sessions and those they share it with may do.
//! It touches the link only, so it may be used from anywhere on the worker's thread, also from within another
//! connection's session.

use std::{fmt, rc::Rc, time::Duration};

use super::{
    frame::Frame,
    link::{Link, Phase},
};

/// A handle to one WebSocket, cheap to clone. It stays usable when the connection is gone: nothing happens then.
#[derive(Clone)]
pub struct Connection(pub(super) Rc<Link>);

impl Connection {
    /// Queues a frame and wakes the connection. Over `outbox_bytes` the queue is dropped and the connection
    /// closed with 4413. After a close, nothing happens.
    pub fn send(&self, frame: Frame) {
        self.0.send(frame);
    }

    /// As [`send`](Self::send), for a frame that goes to others as well. One that says that nothing follows it now is
    /// written to the socket at once where nothing is queued; what the socket does not take is queued.
    pub fn send_shared(&self, frame: &Frame) {
        self.0.send_shared(frame);
    }

    /// Bytes queued and not yet taken by the socket.
    pub fn queued_bytes(&self) -> usize {
        self.0.outbox.borrow().bytes()
    }

    /// Sends what is queued, then a close frame; the session hears `on_closed` with `code`. Only the first
    /// close counts.
    pub fn close(&self, code: u16, reason: &str) {
        self.0.close(code, reason);
    }

    /// Stops reading: the peer is held back by TCP, and messages already read wait. Silence is not held
    /// against a peer that is not listened to.
    pub fn pause_reading(&self) {
        self.0.paused.set(true);
    }

    /// Reads again.
    pub fn resume_reading(&self) {
        if self.0.paused.replace(false) {
            self.0.heard.set(self.0.worker.now());
            self.0.wake();
        }
    }

    /// Has the session's `on_drained` called once fewer than `low_water_bytes` are queued, soon if that is
    /// so already. Ask from within `on_drained` only after sending something: it would be called in a circle.
    pub fn notify_drained(&self) {
        self.0.drain_wanted.set(true);
        self.0.wake();
    }

    /// Has the session's `on_deadline` called once, after this time; replaces an earlier deadline, `None`
    /// takes it back.
    pub fn set_deadline(&self, after: Option<Duration>) {
        self.0.set_deadline(after);
    }

    /// Whether the connection takes no more frames.
    pub fn is_closed(&self) -> bool {
        self.0.phase.get() != Phase::Open
    }

    /// Unique among the connections of this worker, ever.
    pub fn id(&self) -> u64 {
        self.0.id
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.0.id).field("phase", &self.0.phase.get()).finish()
    }
}
