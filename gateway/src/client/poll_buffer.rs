//! The frames of one long poll. While the poll is kept, its frames wait for the next poll, within a limit for this poll
//! and a limit for all kept polls of the worker.

use std::{
    cell::{Cell, RefCell},
    mem,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

use crate::transport::{Frame, close_code};

/// Maximum bytes of a poll's answer, without the frames of its joins. A further frame is dropped and closes the poll.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Additional size in bytes for each room, for the frames that report the room as joined and caught up.
const JOIN_FRAMES_BYTES: usize = 1536;
/// Maximum bytes of the frames that wait for the next poll. A further frame closes the kept poll, and the next poll
/// reads its rooms again.
const MAX_KEPT_BYTES: usize = 64 * 1024;

/// Maximum bytes of the answer of a poll of this many rooms.
fn max_answer_bytes(rooms: usize) -> usize {
    MAX_ANSWER_BYTES + rooms * JOIN_FRAMES_BYTES
}

/// Poll ids have the highest bit set, so that they differ from connection ids.
static NEXT_POLL_ID: AtomicU64 = AtomicU64::new(1 << 63);

/// The bytes that the kept polls of a worker hold, and the numbers of the kept polls that have closed.
pub(crate) struct KeptPollUsage {
    bytes: Cell<usize>,
    max_bytes: usize,
    closed: RefCell<Vec<u64>>,
    /// Notified when a kept poll has closed, and when the kept polls have too many bytes.
    pub changed: Notify,
}

impl KeptPollUsage {
    pub fn new(max_bytes: usize) -> Rc<Self> {
        let (bytes, closed) = (Cell::new(0), RefCell::default());
        Rc::new(Self { bytes, max_bytes, closed, changed: Notify::new() })
    }

    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Whether the kept polls have more bytes than `max_bytes`.
    pub fn is_over_limit(&self) -> bool {
        self.bytes.get() > self.max_bytes
    }

    /// Takes the numbers of the kept polls that have closed since the last call.
    pub fn take_closed(&self) -> Vec<u64> {
        self.closed.take()
    }
}

/// The bytes of one kept poll, which also count in the sums of its worker and of its user. Dropping this value
/// subtracts them from both sums.
struct KeptPollShare {
    usage: Rc<KeptPollUsage>,
    /// The bytes of all kept polls of the same user.
    user_bytes: Rc<Cell<usize>>,
    number: u64,
    bytes: Cell<usize>,
}

impl KeptPollShare {
    fn add(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
        self.user_bytes.set(self.user_bytes.get() + bytes);
        self.usage.bytes.set(self.usage.bytes.get() + bytes);
        if self.usage.is_over_limit() {
            self.usage.changed.notify_one();
        }
    }
}

impl Drop for KeptPollShare {
    fn drop(&mut self) {
        self.user_bytes.set(self.user_bytes.get() - self.bytes.get());
        self.usage.bytes.set(self.usage.bytes.get() - self.bytes.get());
    }
}

/// The frames that wait until they are added to the answer of a poll.
pub(crate) struct PollBuffer {
    id: u64,
    frames: RefCell<Vec<Frame>>,
    /// Bytes of the queued frames and of the frames in the answer. A replay pauses when there are too many bytes.
    bytes: Cell<usize>,
    max_bytes: Cell<usize>,
    closed: Cell<Option<u16>>,
    /// The bytes that the poll counts while it is kept; `None` while it is not kept.
    kept: RefCell<Option<KeptPollShare>>,
    /// Notified when a frame was added and when the poll has closed.
    pub changed: Notify,
}

impl PollBuffer {
    /// Creates the buffer of a poll of this many rooms.
    pub fn new(rooms: usize) -> Rc<Self> {
        Rc::new(Self {
            id: NEXT_POLL_ID.fetch_add(1, Ordering::Relaxed),
            frames: RefCell::default(),
            bytes: Cell::new(0),
            max_bytes: Cell::new(max_answer_bytes(rooms)),
            closed: Cell::new(None),
            kept: RefCell::default(),
            changed: Notify::new(),
        })
    }

    /// The id of the poll, which no other poll or connection has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Ends an answer, into which all frames were taken. The poll is kept: further frames wait for the next poll.
    /// `usage` and `user_bytes` count the bytes of these frames, and `state_bytes` for the state of the poll itself.
    /// `number` identifies the poll in `usage`.
    pub fn keep(
        &self,
        usage: &Rc<KeptPollUsage>,
        user_bytes: &Rc<Cell<usize>>,
        number: u64,
        state_bytes: usize,
    ) {
        self.bytes.set(0);
        self.max_bytes.set(MAX_KEPT_BYTES);
        let (usage, user_bytes) = (usage.clone(), user_bytes.clone());
        let share = KeptPollShare { usage, user_bytes, number, bytes: Cell::new(0) };
        share.add(state_bytes);
        *self.kept.borrow_mut() = Some(share);
    }

    /// Stops counting the poll as kept.
    pub fn stop_keeping(&self) {
        self.kept.take();
    }

    /// Begins the answer of the next poll, with this many rooms.
    pub fn begin_answer(&self, rooms: usize) {
        self.max_bytes.set(max_answer_bytes(rooms));
    }

    pub(super) fn send(&self, frame: Frame) {
        if self.closed.get().is_some() {
            return;
        }
        let bytes = self.bytes.get() + frame.len();
        if bytes > self.max_bytes.get() {
            self.close(close_code::TOO_SLOW);
            return;
        }
        self.bytes.set(bytes);
        if let Some(share) = &*self.kept.borrow() {
            share.add(frame.len());
        }
        self.frames.borrow_mut().push(frame);
        self.changed.notify_one();
    }

    /// Closes the poll. A kept poll drops its frames, because no poll continues it.
    pub(super) fn close(&self, code: u16) {
        if self.closed.get().is_none() {
            self.closed.set(Some(code));
            if let Some(share) = self.kept.take() {
                self.frames.take();
                share.usage.closed.borrow_mut().push(share.number);
                share.usage.changed.notify_one();
            }
        }
        self.changed.notify_one();
    }

    /// Takes the frames that were added since the last call.
    pub fn take_frames(&self) -> Vec<Frame> {
        mem::take(&mut self.frames.borrow_mut())
    }

    /// Bytes of the waiting frames and of the frames in the answer, headers included.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_kept_polls_are_summed_and_freed_when_they_close() {
        let (usage, user_bytes) = (KeptPollUsage::new(usize::MAX), Rc::default());
        let (kept, full) = (PollBuffer::new(1), PollBuffer::new(1));
        let frame = Frame::text("x".repeat(30 * 1024));
        kept.send(frame.clone());
        assert_eq!(usage.bytes.get(), 0, "a running poll is not counted");
        kept.take_frames();
        kept.keep(&usage, &user_bytes, 1, 1_000);
        full.keep(&usage, &user_bytes, 2, 1_000);
        kept.send(frame.clone());
        assert_eq!(usage.bytes.get(), 2_000 + frame.len());
        (0..3).for_each(|_| full.send(frame.clone()));
        assert_eq!((usage.bytes.get(), full.frames.borrow().len()), (1_000 + frame.len(), 0));
        assert_eq!(user_bytes.get(), usage.bytes.get());
        assert_eq!((usage.take_closed(), usage.take_closed()), (vec![2], vec![]));
        kept.stop_keeping();
        assert_eq!((usage.bytes.get(), kept.take_frames().len()), (0, 1));
        kept.keep(&usage, &user_bytes, 3, 1_000);
        drop(kept);
        assert_eq!((usage.bytes.get(), user_bytes.get()), (0, 0));
    }
}
