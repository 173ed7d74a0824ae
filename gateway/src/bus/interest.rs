//! Which worker wants which room, and the bounded queues by which workers are told.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rustc_hash::FxHashMap;
use tidings_shared::ids::{RoomId, UserId};
use tokio::sync::mpsc;

use super::{published::Published, user_channel::Told};
use crate::transport::Frame;

/// What a worker is told, shared by all receivers.
#[derive(Debug, Clone)]
pub enum Hint {
    /// A published record and its frame.
    Record { record: Arc<Published>, frame: Frame },
    /// Something for the connections of a user.
    User { user: UserId, told: Arc<Told> },
}

/// How a worker is told of hints. When the queue is full hints are dropped and the flag is raised: hints may be
/// missed, since seq is the truth, but the worker must know.
#[derive(Debug, Clone)]
pub struct WorkerQueue {
    pub hints: mpsc::Sender<Hint>,
    /// Raised: all rooms of the worker are to be refilled.
    pub refill: Arc<AtomicBool>,
    /// Raised: nothing was heard for so long that marks of changed memberships may be gone.
    pub doubt: Arc<AtomicBool>,
    /// Raised while nothing may be heard: hints may be missing that no refill was asked for yet.
    pub deaf: Arc<AtomicBool>,
    /// Wakes the worker when the flag is raised while its queue is empty.
    pub wake: Arc<tokio::sync::Notify>,
}

impl WorkerQueue {
    #[must_use]
    pub fn new(hints: mpsc::Sender<Hint>) -> Self {
        let (refill, doubt, deaf, wake) = (Arc::default(), Arc::default(), Arc::default(), Arc::default());
        Self { hints, refill, doubt, deaf, wake }
    }

    /// Whether hints may be missing that the worker's rooms do not know of yet: a removal may be among them.
    #[must_use]
    pub fn may_have_missed(&self) -> bool {
        // In this order: the second is raised before the first is taken away.
        self.deaf.load(Ordering::Acquire) || self.refill.load(Ordering::Acquire)
    }

    fn raise(&self) {
        self.refill.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// Workers that one map entry can tell apart.
pub const MAX_WORKERS: usize = 64;

pub(super) struct Interest {
    queues: Vec<WorkerQueue>,
    /// Room → bit per worker.
    rooms: FxHashMap<RoomId, u64>,
}

impl Interest {
    pub fn new(queues: Vec<WorkerQueue>) -> Self {
        Self { queues, rooms: FxHashMap::default() }
    }

    pub fn add(&mut self, worker: usize, room: &RoomId) {
        *self.rooms.entry(room.clone()).or_default() |= 1 << worker;
    }

    /// True when no worker wants the room any more.
    pub fn remove(&mut self, worker: usize, room: &RoomId) -> bool {
        let Some(workers) = self.rooms.get_mut(room) else { return false };
        *workers &= !(1 << worker);
        if *workers != 0 {
            return false;
        }
        self.rooms.remove(room);
        true
    }

    /// Hands a hint to every worker that wants the room; the number of full queues.
    pub fn publish(&self, room: &str, hint: &Hint) -> u64 {
        let Some(mut workers) = self.rooms.get(room).copied() else { return 0 };
        let mut dropped = 0;
        while workers != 0 {
            let worker = workers.trailing_zeros() as usize;
            workers &= workers - 1;
            if let Some(queue) = self.queues.get(worker)
                && queue.hints.try_send(hint.clone()).is_err()
            {
                queue.raise();
                dropped += 1;
            }
        }
        dropped
    }

    /// Bit per worker that wants one of these rooms.
    pub fn wanting<'a>(&self, rooms: impl Iterator<Item = &'a str>) -> u64 {
        rooms.filter_map(|room| self.rooms.get(room)).fold(0, |wanting, workers| wanting | workers)
    }

    /// Hands a hint to some workers; false: a queue was full.
    pub fn tell(&self, mut workers: u64, hint: &Hint) -> bool {
        let mut through = true;
        while workers != 0 {
            let worker = workers.trailing_zeros() as usize;
            workers &= workers - 1;
            through &= self.queues.get(worker).is_none_or(|queue| queue.hints.try_send(hint.clone()).is_ok());
        }
        through
    }

    /// Nothing is heard for now, or not everything: until [`Interest::refill_all`].
    pub fn deafen(&self) {
        self.queues.iter().for_each(|queue| queue.deaf.store(true, Ordering::Release));
    }

    /// Anything may have been missed; with `doubt`, for so long that marks may be gone.
    pub fn refill_all(&self, doubt: bool) {
        for queue in &self.queues {
            queue.doubt.fetch_or(doubt, Ordering::AcqRel);
            queue.raise();
            queue.deaf.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidings_shared::log::Record;

    use super::*;
    use crate::metrics::Metrics;

    fn hint() -> Hint {
        let line = b"1\x1f1\x1f1\x1f0\x1fr\x1fk\x1f\x1f\x1f\x1f\x1f\x1f\n{}";
        let record = Record::parse(Bytes::from_static(line)).unwrap();
        let frame = Frame::text(record.json());
        Hint::Record { frame, record: Arc::new(Published::new(record, Metrics::new().deliver_seconds)) }
    }

    #[test]
    fn a_full_queue_raises_the_refill_of_its_worker_only() {
        let queue = |size| {
            let (hints, receiver) = mpsc::channel(size);
            (WorkerQueue::new(hints), receiver)
        };
        let ((small, _small), (large, _large)) = (queue(1), queue(8));
        let mut interest = Interest::new(vec![small.clone(), large.clone()]);
        let room = RoomId::parse("r").unwrap();
        interest.add(0, &room);
        interest.add(1, &room);
        assert_eq!(interest.publish("r", &hint()), 0);
        assert_eq!(interest.publish("r", &hint()), 1);
        assert!(small.refill.load(Ordering::Acquire));
        assert!(!large.refill.load(Ordering::Acquire));
        assert!(!interest.remove(0, &room));
        assert!(interest.remove(1, &room));
        assert_eq!(interest.publish("r", &hint()), 0);
    }
    #[test]
    fn from_the_loss_of_the_connection_until_the_refill_is_asked_for_something_may_be_missing() {
        let (hints, _receiver) = mpsc::channel(1);
        let queue = WorkerQueue::new(hints);
        let interest = Interest::new(vec![queue.clone()]);
        assert!(!queue.may_have_missed());
        interest.deafen();
        assert!(queue.may_have_missed(), "hints of channels that are subscribed again already");
        interest.refill_all(false);
        assert!(queue.may_have_missed(), "the worker has not looked yet");
        assert!(queue.refill.swap(false, Ordering::AcqRel) && !queue.may_have_missed());
    }
}
