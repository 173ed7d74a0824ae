//! The transport of a client, which is a WebSocket or one long poll. A poll gets the same frames as a WebSocket.

use std::{
    cell::{Cell, RefCell},
    mem,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::sync::Notify;

use crate::transport::{Connection, Frame, FrameRun};

/// Receives a client's frames: a WebSocket, or the buffer of a poll.
pub(crate) enum ClientTransport {
    Socket(Connection),
    Poll(Rc<PollBuffer>),
}

/// Maximum bytes of a poll's answer, without the frames of its joins. A further frame is dropped and closes the poll.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Additional size in bytes for each room, for the frames that report the room as joined and caught up.
const JOIN_FRAMES_BYTES: usize = 1536;

/// Poll ids have the highest bit set, so that they differ from connection ids.
static NEXT_POLL_ID: AtomicU64 = AtomicU64::new(1 << 63);

/// The frames that wait until they are added to the answer of a poll.
pub(crate) struct PollBuffer {
    id: u64,
    frames: RefCell<Vec<Frame>>,
    /// Bytes of the queued frames and of the frames in the answer. A replay pauses when there are too many bytes.
    bytes: Cell<usize>,
    max_bytes: usize,
    closed: Cell<Option<u16>>,
    pub changed: Notify,
}

impl PollBuffer {
    /// Creates the buffer of a poll of this many rooms.
    pub fn new(rooms: usize) -> Rc<Self> {
        Rc::new(Self {
            id: NEXT_POLL_ID.fetch_add(1, Ordering::Relaxed),
            frames: RefCell::default(),
            bytes: Cell::new(0),
            max_bytes: MAX_ANSWER_BYTES + rooms * JOIN_FRAMES_BYTES,
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

    /// Takes the frames that were added since the last call.
    pub fn take_frames(&self) -> Vec<Frame> {
        mem::take(&mut self.frames.borrow_mut())
    }

    /// Bytes of the waiting frames and of the frames in the answer, headers included, which together have a maximum.
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Subtracts the bytes of taken frames that are not part of the answer.
    pub fn subtract_bytes(&self, bytes: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(bytes));
    }

    /// The code with which a WebSocket would have been closed; `None` while the poll is open.
    pub fn close_code(&self) -> Option<u16> {
        self.closed.get()
    }
}

impl ClientTransport {
    /// Queues a frame. Above the maximum of bytes, closes the transport as too slow. Does nothing after a close.
    pub fn send(&self, frame: Frame) {
        match self {
            Self::Socket(connection) => connection.send(frame),
            Self::Poll(buffer) => buffer.send(frame),
        }
    }

    /// Sends a frame that other connections also get.
    pub fn send_shared(&self, frame: &Frame) {
        match self {
            Self::Socket(connection) => connection.send_shared(frame),
            Self::Poll(buffer) => buffer.send(frame.clone()),
        }
    }

    /// Sends the frames of a run, which other connections also get.
    pub fn send_run(&self, run: &FrameRun) {
        match self {
            Self::Socket(connection) => connection.send_run(run),
            Self::Poll(buffer) => run.frames().iter().for_each(|frame| buffer.send(frame.clone())),
        }
    }

    /// Bytes that were not written to the socket yet. For a poll, also the bytes of its answer so far.
    pub fn queued_bytes(&self) -> usize {
        match self {
            Self::Socket(connection) => connection.queued_bytes(),
            Self::Poll(buffer) => buffer.bytes(),
        }
    }

    /// Closes a WebSocket after its queued frames, or makes a poll end at once. Only the first close counts.
    pub fn close(&self, code: u16, reason: &str) {
        match self {
            Self::Socket(connection) => connection.close(code, reason),
            Self::Poll(buffer) => buffer.close(code),
        }
    }

    /// Whether the WebSocket has closed or is closing, or the poll is ending.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Socket(connection) => connection.is_closed(),
            Self::Poll(buffer) => buffer.close_code().is_some(),
        }
    }

    /// Does nothing for a poll, because all commands of a poll are read before the first one runs.
    pub fn pause_reading(&self) {
        if let Self::Socket(connection) = self {
            connection.pause_reading();
        }
    }

    /// Does nothing for a poll, which is never paused.
    pub fn resume_reading(&self) {
        if let Self::Socket(connection) = self {
            connection.resume_reading();
        }
    }

    /// Does nothing for a poll, because the poll's own task wakes the replays when it has taken frames.
    pub fn notify_drained(&self) {
        if let Self::Socket(connection) = self {
            connection.notify_drained();
        }
    }

    /// Does nothing for a poll, which has its own deadline.
    pub fn set_deadline(&self, after: Option<Duration>) {
        if let Self::Socket(connection) = self {
            connection.set_deadline(after);
        }
    }

    /// The id of the connection or poll, which is unique on this worker.
    pub fn id(&self) -> u64 {
        match self {
            Self::Socket(connection) => connection.id(),
            Self::Poll(buffer) => buffer.id,
        }
    }
}
