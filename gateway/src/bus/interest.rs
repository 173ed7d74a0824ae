//! Which workers have subscriptions in which room, and the bounded queues from the bus to the workers with their
//! messages.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use rustc_hash::FxHashMap;
use tidings_shared::ids::{RoomId, Seq, UserId};
use tokio::sync::mpsc;

use super::{connections::ConnectionKey, hint::Hint};
use crate::transport::Frame;

/// A message from the bus to workers. All clones of a message share its content.
#[derive(Debug, Clone)]
pub enum WorkerMessage {
    /// The worker's records from one read of the pub/sub connection, in order. `bytes` is their size.
    Hints { hints: Vec<Hint>, bytes: usize },
    /// An event for the connections of a user.
    User { user: UserId, event: Arc<UserEvent> },
}

/// An event for a user's connections on a worker. Each frame is encoded once for the whole node.
#[derive(Debug)]
pub enum UserEvent {
    /// A frame for all connections of the user.
    Frame(Frame),
    /// The user's read mark in a room. `pushed` means that the room publishes receipts, so a connection that is live in
    /// the room gets the mark with the receipts and not with this frame.
    Read { room: RoomId, pushed: bool, frame: Frame },
    /// The user's membership in a room was changed by the event with this seq.
    Membership { room: RoomId, seq: Seq, frame: Frame },
    /// The user's memberships may have changed. The frame is `rooms:changed`.
    RoomsChanged(Frame),
    /// The name and picture of the user's account, which may have changed.
    Account { name: Option<String>, picture: Option<String> },
    /// The user is blocked or was deleted.
    Blocked,
    /// The key of the user's oldest connection, which must close because the user has one connection too many.
    Surplus(ConnectionKey),
}

impl UserEvent {
    /// The room whose records the event must not overtake; `None` if the order does not matter.
    pub fn room(&self) -> Option<&RoomId> {
        match self {
            Self::Membership { room, .. } => Some(room),
            _ => None,
        }
    }

    /// The bytes that the event holds in a queue.
    pub fn bytes(&self) -> usize {
        let frame = match self {
            Self::Frame(frame)
            | Self::RoomsChanged(frame)
            | Self::Read { frame, .. }
            | Self::Membership { frame, .. } => frame.len(),
            Self::Account { name, picture } => [name, picture].into_iter().flatten().map(String::len).sum(),
            Self::Blocked | Self::Surplus(_) => 0,
        };
        size_of::<Self>() + frame
    }
}

/// Maximum bytes that [`WorkerQueue::queued_bytes`] counts. The batch of hints that reaches this size is still queued.
const MAX_QUEUED_BYTES: usize = 32 * 1024 * 1024;

/// The bus's end of a worker's queue. When the queue is full, messages are dropped. After dropped hints, `refill` is
/// set, so that the worker refills its rooms from Redis. A dropped user event does not set `refill`: if the event
/// reports a lasting change, the bus compares the user's versions with Redis.
#[derive(Debug, Clone)]
pub struct WorkerQueue {
    sender: mpsc::Sender<WorkerMessage>,
    /// Bytes of the hints that the worker has not delivered yet, and of the user events that must not overtake these
    /// hints.
    queued_bytes: Arc<AtomicUsize>,
    /// Set when all rooms of the worker must be refilled.
    pub refill: Arc<AtomicBool>,
    /// Set after an interruption of pub/sub during which membership marks may have expired.
    pub marks_expired: Arc<AtomicBool>,
    /// Set while the pub/sub connection is down. Hints may then be missed, and no refill is requested for them yet.
    pub disconnected: Arc<AtomicBool>,
    /// Wakes the worker when a flag is set while its queue is empty.
    pub wake: Arc<tokio::sync::Notify>,
}

impl WorkerQueue {
    pub fn new(sender: mpsc::Sender<WorkerMessage>) -> Self {
        let (refill, marks_expired, disconnected) = (Arc::default(), Arc::default(), Arc::default());
        let (queued_bytes, wake) = (Arc::default(), Arc::default());
        Self { sender, queued_bytes, refill, marks_expired, disconnected, wake }
    }

    /// Whether the worker may have missed hints for which it has not begun a refill. A missed hint may be a removal.
    pub fn may_have_missed_hints(&self) -> bool {
        // `disconnected` must be loaded first, because `refill` is set before `disconnected` is cleared.
        self.disconnected.load(Ordering::Acquire) || self.refill.load(Ordering::Acquire)
    }

    /// Queues hints. Returns false, and drops them, if the queue is full.
    fn send_hints(&self, hints: Vec<Hint>) -> bool {
        let bytes = hints.iter().map(Hint::bytes).sum();
        let queued = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent =
            queued < MAX_QUEUED_BYTES && self.sender.try_send(WorkerMessage::Hints { hints, bytes }).is_ok();
        if !sent {
            self.subtract_bytes(bytes);
        }
        sent
    }

    /// Adds the bytes of user events that must wait until hints are delivered.
    pub fn add_bytes(&self, bytes: usize) {
        self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Subtracts the bytes of hints and user events that were delivered or dropped.
    pub fn subtract_bytes(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn request_refill(&self) {
        self.refill.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// Maximum number of workers of a node: a room's entry in `RoomInterest` has 64 bits, one per worker.
pub const MAX_WORKERS: usize = 64;

/// The workers with subscriptions in each room, and the queue of each worker.
pub(super) struct RoomInterest {
    queues: Vec<WorkerQueue>,
    /// For each room, one bit per worker with subscriptions in the room.
    rooms: FxHashMap<RoomId, u64>,
}

impl RoomInterest {
    /// `queues` has one queue per worker, at the worker's index.
    pub fn new(queues: Vec<WorkerQueue>) -> Self {
        Self { queues, rooms: FxHashMap::default() }
    }

    /// Adds a worker to a room, so that [`RoomInterest::dispatch_hints`] sends the room's records to the worker.
    pub fn add_worker(&mut self, worker: usize, room: &RoomId) {
        *self.rooms.entry(room.clone()).or_default() |= 1 << worker;
    }

    /// Removes a worker from a room. Returns true if no worker has subscriptions in the room.
    pub fn remove_worker(&mut self, worker: usize, room: &RoomId) -> bool {
        let Some(workers) = self.rooms.get_mut(room) else { return false };
        *workers &= !(1 << worker);
        if *workers != 0 {
            return false;
        }
        self.rooms.remove(room);
        true
    }

    /// Sends each record to every worker with subscriptions in the record's room. A worker gets all its records as one
    /// message. If the queue of a worker is full, the worker refills its rooms. Returns the number of records that full
    /// queues did not take.
    pub fn dispatch_hints<'a>(&self, hints: impl Iterator<Item = (&'a str, Hint)>) -> u64 {
        let mut hints_by_worker = vec![Vec::new(); self.queues.len()];
        for (room, hint) in hints {
            let workers = self.rooms.get(room).copied().unwrap_or_default();
            for worker in worker_indexes(workers) {
                if let Some(hints) = hints_by_worker.get_mut(worker) {
                    hints.push(hint.clone());
                }
            }
        }
        let mut dropped = 0;
        for (queue, hints) in self.queues.iter().zip(hints_by_worker) {
            let count = hints.len() as u64;
            if count > 0 && !queue.send_hints(hints) {
                queue.request_refill();
                dropped += count;
            }
        }
        dropped
    }

    /// One bit per worker with subscriptions in one of these rooms.
    pub fn workers_in_rooms<'a>(&self, rooms: impl Iterator<Item = &'a str>) -> u64 {
        rooms
            .filter_map(|room| self.rooms.get(room))
            .fold(0, |workers_in_rooms, workers| workers_in_rooms | workers)
    }

    /// Sends a user event to the workers whose bits are set in `workers`. Returns false if a queue was full. A full
    /// queue requests no refill, because a refill does not repeat user events.
    pub fn send_to_workers(&self, workers: u64, message: &WorkerMessage) -> bool {
        let mut all_sent = true;
        for queue in worker_indexes(workers).filter_map(|worker| self.queues.get(worker)) {
            all_sent &= queue.sender.try_send(message.clone()).is_ok();
        }
        all_sent
    }

    /// Records that the pub/sub connection is down, so that hints may be missing until [`RoomInterest::refill_all`].
    pub fn mark_disconnected(&self) {
        self.queues.iter().for_each(|queue| queue.disconnected.store(true, Ordering::Release));
    }

    /// Requests a refill of all rooms, because hints of any room may have been missed. `marks_expired` is true if
    /// membership marks may have expired during the interruption.
    pub fn refill_all(&self, marks_expired: bool) {
        for queue in &self.queues {
            queue.marks_expired.fetch_or(marks_expired, Ordering::AcqRel);
            queue.request_refill();
            queue.disconnected.store(false, Ordering::Release);
        }
    }
}

/// The indexes of the workers whose bits are set.
fn worker_indexes(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let worker = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        Some(worker)
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidings_shared::log::Record;

    use super::*;
    use crate::metrics::Metrics;

    fn hint(seq: u64, json: &str) -> Hint {
        let line = format!("1\x1f1\x1f{seq}\x1f0\x1fr\x1fk\x1f\x1f\x1f\x1f\x1f\x1f\n{json}");
        let record = Record::parse(Bytes::from(line)).unwrap();
        let mut made = None;
        Hint::create_all(vec![record], &Metrics::new().deliver_seconds, |hint| made = Some(hint));
        made.unwrap()
    }

    fn publish(interest: &RoomInterest, hints: &[(&str, u64)]) -> u64 {
        interest.dispatch_hints(hints.iter().map(|(room, seq)| (*room, hint(*seq, "{}"))))
    }

    fn queue(size: usize) -> (WorkerQueue, mpsc::Receiver<WorkerMessage>) {
        let (sender, receiver) = mpsc::channel(size);
        (WorkerQueue::new(sender), receiver)
    }

    fn next_seqs(receiver: &mut mpsc::Receiver<WorkerMessage>) -> Vec<u64> {
        match receiver.try_recv() {
            Ok(WorkerMessage::Hints { hints, .. }) => hints.iter().map(|hint| hint.record.seq.0).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn full_queue_requests_refill_of_its_worker_only() {
        let ((small, _small), (large, _large)) = (queue(1), queue(8));
        let mut interest = RoomInterest::new(vec![small.clone(), large.clone()]);
        let room = RoomId::parse("r").unwrap();
        interest.add_worker(0, &room);
        interest.add_worker(1, &room);
        assert_eq!(publish(&interest, &[("r", 1), ("r", 2)]), 0);
        assert_eq!(publish(&interest, &[("r", 3), ("r", 4), ("other", 1)]), 2);
        assert!(small.refill.load(Ordering::Acquire));
        assert!(!large.refill.load(Ordering::Acquire));
        assert!(!interest.remove_worker(0, &room));
        assert!(interest.remove_worker(1, &room));
        assert_eq!(publish(&interest, &[("r", 5)]), 0);
    }

    #[test]
    fn worker_gets_its_records_of_a_read_as_one_message() {
        let ((first, mut first_receiver), (second, mut second_receiver)) = (queue(8), queue(8));
        let mut interest = RoomInterest::new(vec![first, second]);
        for (worker, room) in [(0, "a"), (1, "a"), (1, "b")] {
            interest.add_worker(worker, &RoomId::parse(room).unwrap());
        }
        assert_eq!(publish(&interest, &[("b", 1), ("a", 2), ("nobody's", 3), ("b", 4), ("a", 5)]), 0);
        assert_eq!(next_seqs(&mut first_receiver), [2, 5]);
        assert_eq!(next_seqs(&mut second_receiver), [1, 2, 4, 5]);
        assert!(first_receiver.is_empty() && second_receiver.is_empty());
    }

    #[test]
    fn queued_hints_are_bounded_in_bytes() {
        let (bounded, mut receiver) = queue(1000);
        let mut interest = RoomInterest::new(vec![bounded.clone()]);
        interest.add_worker(0, &RoomId::parse("r").unwrap());
        let large = hint(1, &"x".repeat(1024 * 1024));
        let publish = || interest.dispatch_hints(std::iter::once(("r", large.clone())));
        let taken = (0..100).take_while(|_| publish() == 0).count();
        assert_eq!(taken, MAX_QUEUED_BYTES / (2 * 1024 * 1024), "a record and its frame count");
        assert!(bounded.refill.load(Ordering::Acquire));
        let Ok(WorkerMessage::Hints { bytes, .. }) = receiver.try_recv() else { panic!("no hint") };
        bounded.subtract_bytes(bytes);
        assert_eq!((publish(), publish()), (0, 1));
    }

    #[test]
    fn hints_may_be_missing_from_disconnect_until_refill() {
        let (sender, _receiver) = mpsc::channel(1);
        let queue = WorkerQueue::new(sender);
        let interest = RoomInterest::new(vec![queue.clone()]);
        assert!(!queue.may_have_missed_hints());
        interest.mark_disconnected();
        assert!(queue.may_have_missed_hints(), "the pub/sub connection is down");
        interest.refill_all(false);
        assert!(queue.may_have_missed_hints(), "the worker has not seen the flag yet");
        assert!(queue.refill.swap(false, Ordering::AcqRel) && !queue.may_have_missed_hints());
    }
}
