//! Stores which worker has subscriptions in which room, and the bounded queues from the bus to the workers with their
//! messages.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rustc_hash::FxHashMap;
use tidings_shared::ids::{RoomId, Seq, UserId};
use tokio::sync::mpsc;

use super::{connections::ConnectionKey, published::PublishedRecord};
use crate::transport::Frame;

/// A message from the bus to workers. All clones of a message share its content.
#[derive(Debug, Clone)]
pub enum WorkerMessage {
    /// A published record and its frame.
    Record { record: Arc<PublishedRecord>, frame: Frame },
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

/// The bus's end of a worker's queue. When the queue is full, messages are dropped. After a dropped record, `refill` is
/// set, so that the worker refills its rooms from Redis. A dropped user event does not set `refill`: if it reports a
/// lasting change, the bus checks the user again.
#[derive(Debug, Clone)]
pub struct WorkerQueue {
    pub sender: mpsc::Sender<WorkerMessage>,
    /// Set when all rooms of the worker must be refilled.
    pub refill: Arc<AtomicBool>,
    /// Set after an interruption of pub/sub during which membership marks may have expired.
    pub marks_expired: Arc<AtomicBool>,
    /// Set while the pub/sub connection is down, because hints may be missed and no refill was requested for them yet.
    pub disconnected: Arc<AtomicBool>,
    /// Wakes the worker when a flag is set while its queue is empty.
    pub wake: Arc<tokio::sync::Notify>,
}

impl WorkerQueue {
    pub fn new(sender: mpsc::Sender<WorkerMessage>) -> Self {
        let (refill, marks_expired, disconnected, wake) =
            (Arc::default(), Arc::default(), Arc::default(), Arc::default());
        Self { sender, refill, marks_expired, disconnected, wake }
    }

    /// Whether the worker may have missed hints for which it has not begun a refill. A missed hint may be a removal.
    pub fn may_have_missed(&self) -> bool {
        // `disconnected` must be loaded first, because `refill` is set before `disconnected` is cleared.
        self.disconnected.load(Ordering::Acquire) || self.refill.load(Ordering::Acquire)
    }

    fn request_refill(&self) {
        self.refill.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// Maximum number of workers of a node, because a room's entry in `Interest` has 64 bits, one per worker.
pub const MAX_WORKERS: usize = 64;

/// The workers with subscriptions in each room, and the queue of each worker.
pub(super) struct Interest {
    queues: Vec<WorkerQueue>,
    /// For each room, one bit per worker with subscriptions in the room.
    rooms: FxHashMap<RoomId, u64>,
}

impl Interest {
    /// `queues` has one queue per worker, at the worker's index.
    pub fn new(queues: Vec<WorkerQueue>) -> Self {
        Self { queues, rooms: FxHashMap::default() }
    }

    /// Adds a worker to a room, so that [`Interest::publish`] sends the room's records to the worker.
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

    /// Sends a record to every worker with subscriptions in the room. A worker whose queue is full refills its rooms.
    /// Returns the number of queues that were full.
    pub fn publish(&self, room: &str, message: &WorkerMessage) -> u64 {
        let workers = self.rooms.get(room).copied().unwrap_or_default();
        let mut dropped = 0;
        self.send(workers, message, |queue| {
            queue.request_refill();
            dropped += 1;
        });
        dropped
    }

    /// One bit per worker with subscriptions in one of these rooms.
    pub fn workers_wanting<'a>(&self, rooms: impl Iterator<Item = &'a str>) -> u64 {
        rooms
            .filter_map(|room| self.rooms.get(room))
            .fold(0, |workers_wanting, workers| workers_wanting | workers)
    }

    /// Sends a user event to the workers whose bits are set in `workers`. Returns false if a queue was full. This
    /// requests no refill, because a refill does not repeat a user event; the caller decides what follows.
    pub fn send_to_workers(&self, workers: u64, message: &WorkerMessage) -> bool {
        let mut all_sent = true;
        self.send(workers, message, |_| all_sent = false);
        all_sent
    }

    /// Sends a message to the workers whose bits are set in `workers`. Calls `full` for each queue that is full.
    fn send(&self, mut workers: u64, message: &WorkerMessage, mut full: impl FnMut(&WorkerQueue)) {
        while workers != 0 {
            let worker = workers.trailing_zeros() as usize;
            workers &= workers - 1;
            if let Some(queue) = self.queues.get(worker)
                && queue.sender.try_send(message.clone()).is_err()
            {
                full(queue);
            }
        }
    }

    /// Records that the pub/sub connection is down, so that hints may be missing until [`Interest::refill_all`].
    pub fn mark_disconnected(&self) {
        self.queues.iter().for_each(|queue| queue.disconnected.store(true, Ordering::Release));
    }

    /// Requests a refill of all rooms, because hints of any room may have been missed. `marks_expired` says whether
    /// membership marks may have expired during the interruption.
    pub fn refill_all(&self, marks_expired: bool) {
        for queue in &self.queues {
            queue.marks_expired.fetch_or(marks_expired, Ordering::AcqRel);
            queue.request_refill();
            queue.disconnected.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidings_shared::log::Record;

    use super::*;
    use crate::metrics::Metrics;

    fn message() -> WorkerMessage {
        let line = b"1\x1f1\x1f1\x1f0\x1fr\x1fk\x1f\x1f\x1f\x1f\x1f\x1f\n{}";
        let record = Record::parse(Bytes::from_static(line)).unwrap();
        let frame = Frame::text(record.json());
        WorkerMessage::Record {
            frame,
            record: Arc::new(PublishedRecord::new(record, Metrics::new().deliver_seconds)),
        }
    }

    #[test]
    fn full_queue_requests_refill_of_its_worker_only() {
        let queue = |size| {
            let (sender, receiver) = mpsc::channel(size);
            (WorkerQueue::new(sender), receiver)
        };
        let ((small, _small), (large, _large)) = (queue(1), queue(8));
        let mut interest = Interest::new(vec![small.clone(), large.clone()]);
        let room = RoomId::parse("r").unwrap();
        interest.add_worker(0, &room);
        interest.add_worker(1, &room);
        assert_eq!(interest.publish("r", &message()), 0);
        assert_eq!(interest.publish("r", &message()), 1);
        assert!(small.refill.load(Ordering::Acquire));
        assert!(!large.refill.load(Ordering::Acquire));
        assert!(!interest.remove_worker(0, &room));
        assert!(interest.remove_worker(1, &room));
        assert_eq!(interest.publish("r", &message()), 0);
    }
    #[test]
    fn hints_may_be_missing_from_disconnect_until_refill() {
        let (sender, _receiver) = mpsc::channel(1);
        let queue = WorkerQueue::new(sender);
        let interest = Interest::new(vec![queue.clone()]);
        assert!(!queue.may_have_missed());
        interest.mark_disconnected();
        assert!(queue.may_have_missed(), "the pub/sub connection is down");
        interest.refill_all(false);
        assert!(queue.may_have_missed(), "the worker has not seen the flag yet");
        assert!(queue.refill.swap(false, Ordering::AcqRel) && !queue.may_have_missed());
    }
}
