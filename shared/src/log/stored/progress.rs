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
    /// Room and seq of the event, separated by U+001F, which is the key of the event in `WatermarkNotice::exceptions`.
    pub at: String,
    /// End of the wait, [`STORED_TIMEOUT`] after its begin.
    pub until: Instant,
    pub receiver: ResultSender,
}

/// The newest known watermark of the partition, and the waiters by the ingest ids of their events.
#[derive(Default)]
pub(super) struct Progress {
    pub epoch: Epoch,
    pub watermark: IngestId,
    pub waiting: BTreeMap<IngestId, Vec<Waiter>>,
}

impl Progress {
    /// Moves the watermark forward, and answers waiters at or below `watermark`. `known` returns whether `exceptions`
    /// would contain an exception for a waiter; other waiters are not answered until their exceptions are read.
    pub fn settle(
        &mut self,
        epoch: Epoch,
        watermark: IngestId,
        exceptions: &HashMap<String, String>,
        known: impl Fn(IngestId, &Waiter) -> bool,
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
        for (id, waiters) in self.waiting.range_mut(..=watermark) {
            for waiter in waiters.extract_if(.., |waiter| waiter.epoch == epoch && known(*id, waiter)) {
                let outcome =
                    exceptions.get(&waiter.at).map_or(Stored::AsAccepted, |outcome| Stored::parse(outcome));
                waiter.receiver.send(outcome);
            }
            if waiters.is_empty() {
                answered.push(*id);
            }
        }
        for id in answered {
            self.waiting.remove(&id);
        }
    }

    /// Ends the waits that were cancelled by their caller or that lasted for [`STORED_TIMEOUT`].
    pub fn end_old_waits(&mut self, now: Instant) {
        self.end_waits(|waiter| waiter.until <= now || waiter.receiver.is_cancelled());
    }

    fn end_waits(&mut self, ends: impl Fn(&Waiter) -> bool) {
        self.waiting.retain(|_, waiters| {
            for waiter in waiters.extract_if(.., |waiter| ends(waiter)) {
                waiter.receiver.send(Stored::Unavailable);
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

    fn waiter(progress: &mut Progress, id: u64, seq: u64) -> oneshot::Receiver<Stored> {
        let (task, stored) = oneshot::channel();
        let at = format!("r\u{1f}{seq}");
        let receiver = ResultSender::Task(task);
        let waiter = Waiter { epoch: Epoch(1), at, until: Instant::now() + STORED_TIMEOUT, receiver };
        progress.waiting.entry(IngestId { ms: id, n: 0 }).or_default().push(waiter);
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
        let mut progress = Progress::default();
        progress.settle(Epoch(1), at(5), &rejected(3), |_, _| true);
        let mut late = waiter(&mut progress, 4, 3);
        let mut next = waiter(&mut progress, 7, 9);
        progress.settle(Epoch(1), at(8), &HashMap::new(), |id, _| id > at(5));
        assert_eq!(next.try_recv(), Ok(Stored::AsAccepted));
        assert!(late.try_recv().is_err(), "it is not known yet whether it is an exception");
        // A read that includes the late waiter's exception answers this waiter, although the read watermark is lower.
        progress.settle(Epoch(1), at(6), &rejected(3), |_, waiter| waiter.at.ends_with("\u{1f}3"));
        assert_eq!(late.try_recv(), Ok(Stored::Rejected));
        assert_eq!(progress.watermark, at(8), "the watermark never moves back");
    }

    #[test]
    fn old_wait_ends_as_unavailable() {
        let mut progress = Progress::default();
        let mut waiting = waiter(&mut progress, 4, 3);
        progress.end_old_waits(Instant::now());
        assert!(waiting.try_recv().is_err(), "it is not old yet");
        progress.end_old_waits(Instant::now() + STORED_TIMEOUT);
        assert_eq!((waiting.try_recv(), progress.waiting.len()), (Ok(Stored::Unavailable), 0));
    }

    #[tokio::test]
    async fn queue_holds_results_by_ticket() {
        let (mut progress, queue) = (Progress::default(), Arc::<StoredQueue>::default());
        for (ticket, id) in [(7, 1), (8, 2), (9, 3)] {
            let receiver = ResultSender::Queue(queue.clone(), ticket);
            let (at, until) = (format!("r\u{1f}{id}"), Instant::now() + STORED_TIMEOUT);
            let waiter = Waiter { epoch: Epoch(1), at, until, receiver };
            progress.waiting.entry(IngestId { ms: id, n: 0 }).or_default().push(waiter);
        }
        progress.settle(Epoch(1), at(2), &rejected(2), |_, _| true);
        assert_eq!(queue.take_all().await, [(7, Stored::AsAccepted), (8, Stored::Rejected)]);
        assert_eq!(progress.waiting.len(), 1);
    }

    #[test]
    fn later_epoch_ends_waits_of_the_previous_one() {
        let mut progress = Progress::default();
        let mut waiting = waiter(&mut progress, 4, 3);
        progress.settle(Epoch(2), at(1), &HashMap::new(), |_, _| true);
        assert_eq!(waiting.try_recv(), Ok(Stored::Unavailable));
    }
}
