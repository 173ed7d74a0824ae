//! What a client hangs on: a WebSocket, or one long poll. Both take the same frames.

use std::{
    cell::{Cell, RefCell},
    mem,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use std::rc::Rc;

use tokio::sync::Notify;

use crate::transport::{Connection, Frame};

/// See the module.
pub(super) enum Line {
    Socket(Connection),
    Poll(Rc<Collector>),
}

/// What one poll is answered with, at most; above it the answer is what came before.
const MAX_COLLECTED_BYTES: usize = 256 * 1024;
/// Besides that, what telling of one joined room takes, at most: that it is joined, and that it is caught up.
const JOINED_ROOM_BYTES: usize = 1536;

/// Ids of polls lie apart from those of connections.
static NEXT_POLL: AtomicU64 = AtomicU64::new(1 << 63);

/// Frames that wait for the answer of a poll.
pub(super) struct Collector {
    id: u64,
    frames: RefCell<Vec<Frame>>,
    /// Of what is queued, and of what the answer holds: a replay stops when that is what one answer should hold.
    bytes: Cell<usize>,
    max_bytes: usize,
    closed: Cell<Option<u16>>,
    pub changed: Notify,
}

impl Collector {
    /// For a poll of so many rooms.
    pub fn new(rooms: usize) -> Rc<Self> {
        Rc::new(Self {
            id: NEXT_POLL.fetch_add(1, Ordering::Relaxed),
            frames: RefCell::default(),
            bytes: Cell::new(0),
            max_bytes: MAX_COLLECTED_BYTES + rooms * JOINED_ROOM_BYTES,
            closed: Cell::new(None),
            changed: Notify::new(),
        })
    }

    fn send(&self, frame: Frame) {
        if self.closed.get().is_some() {
            return;
        }
        let bytes = self.bytes.get() + frame.len();
        if bytes > self.max_bytes {
            self.close(crate::transport::close_code::TOO_SLOW);
            return;
        }
        self.bytes.set(bytes);
        self.frames.borrow_mut().push(frame);
        self.changed.notify_one();
    }

    fn close(&self, code: u16) {
        if self.closed.get().is_none() {
            self.closed.set(Some(code));
        }
        self.changed.notify_one();
    }

    /// The frames that came since the last time.
    pub fn take(&self) -> Vec<Frame> {
        mem::take(&mut self.frames.borrow_mut())
    }

    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Says that so many bytes of what was taken are not part of the answer.
    pub fn discount(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }

    /// The close code that a WebSocket would have ended with.
    pub fn closed(&self) -> Option<u16> {
        self.closed.get()
    }
}

impl Line {
    pub fn send(&self, frame: Frame) {
        match self {
            Self::Socket(connection) => connection.send(frame),
            Self::Poll(collector) => collector.send(frame),
        }
    }

    /// As `send`, for a frame that goes to others as well.
    pub fn share(&self, frame: &Frame) {
        match self {
            Self::Socket(connection) => connection.send_shared(frame),
            Self::Poll(collector) => collector.send(frame.clone()),
        }
    }

    pub fn queued_bytes(&self) -> usize {
        match self {
            Self::Socket(connection) => connection.queued_bytes(),
            Self::Poll(collector) => collector.bytes(),
        }
    }

    pub fn close(&self, code: u16, reason: &str) {
        match self {
            Self::Socket(connection) => connection.close(code, reason),
            Self::Poll(collector) => collector.close(code),
        }
    }

    pub fn is_closed(&self) -> bool {
        match self {
            Self::Socket(connection) => connection.is_closed(),
            Self::Poll(collector) => collector.closed().is_some(),
        }
    }

    /// A poll's commands are all read before the first is carried out, so there is nothing to pause.
    pub fn pause_reading(&self) {
        if let Self::Socket(connection) = self {
            connection.pause_reading();
        }
    }

    pub fn resume_reading(&self) {
        if let Self::Socket(connection) = self {
            connection.resume_reading();
        }
    }

    /// A poll never drains: it is answered.
    pub fn notify_drained(&self) {
        if let Self::Socket(connection) = self {
            connection.notify_drained();
        }
    }

    /// A poll has a deadline of its own.
    pub fn set_deadline(&self, after: Option<Duration>) {
        if let Self::Socket(connection) = self {
            connection.set_deadline(after);
        }
    }

    /// Unique among the connections and polls of this worker.
    pub fn id(&self) -> u64 {
        match self {
            Self::Socket(connection) => connection.id(),
            Self::Poll(collector) => collector.id,
        }
    }
}
