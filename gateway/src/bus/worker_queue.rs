//! The bounded queue from the bus to a worker, its messages, and the partitions whose records the worker may have missed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tidings_shared::{
    ids::{RoomId, Seq, UserId},
    log::keys::{Partition, PartitionSet},
};
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
    /// Stored events of a room concern the user. The frame is for connections that have not joined the room.
    Activity { room: RoomId, frame: Frame },
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
            | Self::Activity { frame, .. }
            | Self::Membership { frame, .. } => frame.len(),
            Self::Account { name, picture } => [name, picture].into_iter().flatten().map(String::len).sum(),
            Self::Blocked | Self::Surplus(_) => 0,
        };
        size_of::<Self>() + frame
    }
}

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
    /// The partitions whose pub/sub was interrupted for a longer time than membership marks are kept.
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
