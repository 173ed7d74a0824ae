//! Which workers have subscriptions in which room, and the queue of each worker.

use rustc_hash::FxHashMap;
use tidings_shared::{ids::RoomId, log::keys::PartitionSet};

use super::{
    hint::Hint,
    worker_queue::{WorkerMessage, WorkerQueue},
};

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
                queue.request_refill(PartitionSet::ALL);
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
            all_sent &= queue.send(message.clone());
        }
        all_sent
    }

    /// Records that these partitions are offline, so that hints may be missing until [`RoomInterest::refill`].
    pub fn mark_disconnected(&self, partitions: PartitionSet) {
        self.queues.iter().for_each(|queue| queue.mark_disconnected(partitions));
    }

    /// Requests a refill of the rooms of partitions that are online again, because their hints may have been missed.
    /// `marks_expired` has the partitions whose membership marks may have expired during the interruption.
    pub fn refill(&self, partitions: PartitionSet, marks_expired: PartitionSet) {
        self.queues.iter().for_each(|queue| queue.mark_connected(partitions, marks_expired));
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
    use tidings_shared::log::{Record, keys::Partition};
    use tokio::sync::mpsc;

    use super::*;
    use crate::{bus::worker_queue::MAX_QUEUED_BYTES, metrics::Metrics};

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
        assert_eq!(small.take_missed(), (PartitionSet::ALL, PartitionSet::default()));
        assert!(large.take_missed().0.is_empty());
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
        assert_eq!(bounded.take_missed().0, PartitionSet::ALL);
        let Ok(WorkerMessage::Hints { bytes, .. }) = receiver.try_recv() else { panic!("no hint") };
        bounded.subtract_bytes(bytes);
        assert_eq!((publish(), publish()), (0, 1));
    }

    #[test]
    fn hints_may_be_missing_from_disconnect_until_refill() {
        let (queue, _receiver) = queue(1);
        let interest = RoomInterest::new(vec![queue.clone()]);
        assert!(!queue.may_have_missed_hints("a"));
        interest.mark_disconnected(PartitionSet::ALL);
        assert!(queue.may_have_missed_hints("a"), "the pub/sub connection is down");
        interest.refill(PartitionSet::ALL, PartitionSet::default());
        assert!(queue.may_have_missed_hints("a"), "the worker has not seen the flag yet");
        assert_eq!(queue.take_missed(), (PartitionSet::ALL, PartitionSet::default()));
        assert!(!queue.may_have_missed_hints("a"));
    }

    #[test]
    fn lost_partition_refills_its_rooms_only() {
        let (queue, _receiver) = queue(1);
        let interest = RoomInterest::new(vec![queue.clone()]);
        // The rooms `a` and `general` are in partitions 12 and 11.
        let (lost, other) = (PartitionSet::from(Partition(12)), PartitionSet::from(Partition(11)));
        interest.mark_disconnected(lost);
        assert!(queue.may_have_missed_hints("a") && !queue.may_have_missed_hints("general"));
        interest.mark_disconnected(other);
        interest.refill(lost, lost);
        assert_eq!(queue.take_missed(), (lost, lost));
        assert!(!queue.may_have_missed_hints("a") && queue.may_have_missed_hints("general"));
        interest.refill(other, PartitionSet::default());
        assert_eq!(queue.take_missed(), (other, PartitionSet::default()));
    }
}
