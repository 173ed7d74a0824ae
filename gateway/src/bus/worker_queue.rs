//! The bounded queue from the bus to a worker, and the partitions whose records the worker may have missed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tidings_shared::log::keys::{Partition, PartitionSet};
use tokio::sync::mpsc;

use super::{hint::Hint, interest::WorkerMessage};

/// Maximum bytes that [`WorkerQueue::queued_bytes`] counts. The batch of hints that reaches this size is still queued.
pub(super) const MAX_QUEUED_BYTES: usize = 32 * 1024 * 1024;

/// The bus's end of a worker's queue. When the queue is full, messages are dropped. After dropped hints, `refill` is
/// set, so that the worker refills its rooms from Redis. A dropped user event does not set `refill`: if the event
/// reports a lasting change, the bus compares the user's versions with Redis. The flags are sets of partitions, as
/// bits.
#[derive(Debug, Clone)]
pub struct WorkerQueue {
    sender: mpsc::Sender<WorkerMessage>,
    /// Bytes of the hints that the worker has not delivered yet, and of the user events that must not overtake these
    /// hints.
    queued_bytes: Arc<AtomicUsize>,
    /// The partitions whose rooms must be refilled.
    refill: Arc<AtomicU64>,
    /// The partitions whose pub/sub was interrupted for so long that membership marks may have expired.
    marks_expired: Arc<AtomicU64>,
    /// The partitions that are offline. Hints may then be missed, and no refill is requested for them yet.
    disconnected: Arc<AtomicU64>,
    /// Wakes the worker when a flag is set while its queue is empty.
    pub wake: Arc<tokio::sync::Notify>,
}

impl WorkerQueue {
    pub fn new(sender: mpsc::Sender<WorkerMessage>) -> Self {
        let (refill, marks_expired, disconnected) = (Arc::default(), Arc::default(), Arc::default());
        let (queued_bytes, wake) = (Arc::default(), Arc::default());
        Self { sender, queued_bytes, refill, marks_expired, disconnected, wake }
    }

    /// Whether the worker may have missed hints of this room for which it has not begun a refill. A missed hint may be
    /// a removal.
    pub fn may_have_missed_hints(&self, room: &str) -> bool {
        // `disconnected` must be loaded first, because `refill` is set before `disconnected` is cleared.
        let disconnected = PartitionSet::from_bits(self.disconnected.load(Ordering::Acquire));
        let missed = disconnected | PartitionSet::from_bits(self.refill.load(Ordering::Acquire));
        !missed.is_empty() && missed.contains(Partition::of_id(room))
    }

    /// Takes the partitions whose rooms must be refilled. Also returns those of them whose membership marks may have
    /// expired.
    pub fn take_missed(&self) -> (PartitionSet, PartitionSet) {
        let missed = PartitionSet::from_bits(self.refill.swap(0, Ordering::AcqRel));
        if missed.is_empty() {
            return (missed, missed);
        }
        let expired = self.marks_expired.fetch_and(!missed.bits(), Ordering::AcqRel);
        (missed, PartitionSet::from_bits(expired) & missed)
    }

    /// Queues hints. Returns false, and drops them, if the queue is full.
    pub(super) fn send_hints(&self, hints: Vec<Hint>) -> bool {
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

    pub(super) fn request_refill(&self, partitions: PartitionSet) {
        self.refill.fetch_or(partitions.bits(), Ordering::AcqRel);
        self.wake.notify_one();
    }

    /// Queues a message. Returns false, and drops it, if the queue is full.
    pub(super) fn send(&self, message: WorkerMessage) -> bool {
        self.sender.try_send(message).is_ok()
    }

    /// Records that these partitions are offline.
    pub(super) fn mark_disconnected(&self, partitions: PartitionSet) {
        self.disconnected.fetch_or(partitions.bits(), Ordering::AcqRel);
    }

    /// Records that these partitions are online again, and requests a refill of their rooms.
    pub(super) fn mark_connected(&self, partitions: PartitionSet, marks_expired: PartitionSet) {
        self.marks_expired.fetch_or(marks_expired.bits(), Ordering::AcqRel);
        self.request_refill(partitions);
        self.disconnected.fetch_and(!partitions.bits(), Ordering::AcqRel);
    }
}
