//! The stored watermark of one partition, and the senders who wait until their events are stored.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use super::results::{ResultSender, Stored};
use crate::{ids::Epoch, log::record::IngestId};

/// How long a sender waits until an event is stored. After this time the answer is `unavailable`, and the sender may
/// repeat the client id on any node.
pub const STORED_TIMEOUT: Duration = Duration::from_secs(30);

/// A sender who waits until an event is stored.
pub(super) struct Waiter {
    pub epoch: Epoch,
    /// Room and seq of the event, separated by U+001F: the key of the event in `WatermarkNotice::exceptions`.
    pub event_key: String,
    /// End of the wait, [`STORED_TIMEOUT`] after its begin.
    pub until: Instant,
    pub result_sender: ResultSender,
}

/// The newest known watermark of the partition, and the waiters by the ingest ids of their events.
#[derive(Default)]
pub(super) struct PartitionProgress {
    pub epoch: Epoch,
    pub watermark: IngestId,
    pub waiters: BTreeMap<IngestId, Vec<Waiter>>,
    /// Whether the regular read of the watermark from Redis is running.
    pub is_polled: bool,
}

impl PartitionProgress {
    /// Marks the partition as polled, and returns true, if events are awaited and no regular read is running.
    pub fn begin_poll(&mut self) -> bool {
        let begins = !self.waiters.is_empty() && !self.is_polled;
        self.is_polled |= begins;
        begins
    }

    /// Moves the watermark forward without answering waiters. Returns the keys of the awaited events that the watermark
    /// covers, whose exceptions must be read.
    pub fn advance_without_exceptions(&mut self, epoch: Epoch, watermark: IngestId) -> Vec<String> {
        self.advance_watermark(epoch, watermark, &HashMap::new(), |_, _| false);
        let covered = self.waiters.range(..=watermark).flat_map(|(_, waiters)| waiters);
        covered.filter(|waiter| waiter.epoch == epoch).map(|waiter| waiter.event_key.clone()).collect()
    }

    /// Moves the watermark forward, and answers the waiters at or below `watermark` for whom `is_known` is true: for
    /// them `exceptions` says whether their event is an exception. The others are answered after the exceptions are
    /// read.
    pub fn advance_watermark(
        &mut self,
        epoch: Epoch,
        watermark: IngestId,
        exceptions: &HashMap<String, String>,
        is_known: impl Fn(IngestId, &Waiter) -> bool,
    ) {
        if (epoch, watermark) > (self.epoch, self.watermark) {
            if epoch > self.epoch {
                // Waiters of an earlier epoch are answered with `unavailable`, because ingest ids of different epochs
                // cannot be compared.
                self.end_waits(|waiter| waiter.epoch < epoch);
            }
            self.epoch = epoch;
            self.watermark = watermark;
        }
        let mut answered = Vec::new();
        for (id, waiters) in self.waiters.range_mut(..=watermark) {
            for waiter in waiters.extract_if(.., |waiter| waiter.epoch == epoch && is_known(*id, waiter)) {
                let outcome = exceptions
                    .get(&waiter.event_key)
                    .map_or(Stored::AsAccepted, |outcome| Stored::parse(outcome));
                waiter.result_sender.send(outcome);
            }
            if waiters.is_empty() {
                answered.push(*id);
            }
        }
        for id in answered {
            self.waiters.remove(&id);
        }
    }

    /// Ends the waits that were cancelled by their caller or that lasted for [`STORED_TIMEOUT`].
    pub fn end_expired_or_cancelled_waits(&mut self, now: Instant) {
        self.end_waits(|waiter| waiter.until <= now || waiter.result_sender.is_cancelled());
    }

    fn end_waits(&mut self, ends: impl Fn(&Waiter) -> bool) {
        self.waiters.retain(|_, waiters| {
            for waiter in waiters.extract_if(.., |waiter| ends(waiter)) {
                waiter.result_sender.send(Stored::Unavailable);
            }
            !waiters.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::oneshot;

    use super::*;
    use crate::log::stored::StoredQueue;

    fn add_waiter(progress: &mut PartitionProgress, id: u64, seq: u64) -> oneshot::Receiver<Stored> {
        let (task, stored) = oneshot::channel();
        let event_key = format!("r\u{1f}{seq}");
        let result_sender = ResultSender::Task(task);
        let waiter =
            Waiter { epoch: Epoch(1), event_key, until: Instant::now() + STORED_TIMEOUT, result_sender };
        progress.waiters.entry(IngestId { ms: id, n: 0 }).or_default().push(waiter);
        stored
    }

    fn at(ms: u64) -> IngestId {
        IngestId { ms, n: 0 }
    }

    fn rejected(seq: u64) -> HashMap<String, String> {
        HashMap::from([(format!("r\u{1f}{seq}"), "rejected".to_owned())])
    }

    #[test]
    fn waiter_after_its_notice_is_not_answered_by_the_next_notice() {
        let mut progress = PartitionProgress::default();
        progress.advance_watermark(Epoch(1), at(5), &rejected(3), |_, _| true);
        let mut late = add_waiter(&mut progress, 4, 3);
        let mut next = add_waiter(&mut progress, 7, 9);
        progress.advance_watermark(Epoch(1), at(8), &HashMap::new(), |id, _| id > at(5));
        assert_eq!(next.try_recv(), Ok(Stored::AsAccepted));
        assert!(late.try_recv().is_err(), "it is not known yet whether it is an exception");
        // A read that includes the late waiter's exception answers this waiter, although the read watermark is lower.
        progress.advance_watermark(Epoch(1), at(6), &rejected(3), |_, waiter| {
            waiter.event_key.ends_with("\u{1f}3")
        });
        assert_eq!(late.try_recv(), Ok(Stored::Rejected));
        assert_eq!(progress.watermark, at(8), "the watermark never moves back");
    }

    #[test]
    fn old_wait_ends_as_unavailable() {
        let mut progress = PartitionProgress::default();
        let mut waiting = add_waiter(&mut progress, 4, 3);
        progress.end_expired_or_cancelled_waits(Instant::now());
        assert!(waiting.try_recv().is_err(), "it is not old yet");
        progress.end_expired_or_cancelled_waits(Instant::now() + STORED_TIMEOUT);
        assert_eq!((waiting.try_recv(), progress.waiters.len()), (Ok(Stored::Unavailable), 0));
    }

    #[tokio::test]
    async fn queue_holds_results_by_ticket() {
        let (mut progress, queue) = (PartitionProgress::default(), Arc::<StoredQueue>::default());
        for (ticket, id) in [(7, 1), (8, 2), (9, 3)] {
            let result_sender = ResultSender::Queue(queue.clone(), ticket);
            let (event_key, until) = (format!("r\u{1f}{id}"), Instant::now() + STORED_TIMEOUT);
            let waiter = Waiter { epoch: Epoch(1), event_key, until, result_sender };
            progress.waiters.entry(IngestId { ms: id, n: 0 }).or_default().push(waiter);
        }
        progress.advance_watermark(Epoch(1), at(2), &rejected(2), |_, _| true);
        assert_eq!(queue.take_all().await, [(7, Stored::AsAccepted), (8, Stored::Rejected)]);
        assert_eq!(progress.waiters.len(), 1);
    }

    #[test]
    fn later_epoch_ends_waits_of_the_previous_one() {
        let mut progress = PartitionProgress::default();
        let mut waiting = add_waiter(&mut progress, 4, 3);
        progress.advance_watermark(Epoch(2), at(1), &HashMap::new(), |_, _| true);
        assert_eq!(waiting.try_recv(), Ok(Stored::Unavailable));
    }
}
