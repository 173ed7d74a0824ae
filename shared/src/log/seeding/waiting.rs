//! The callers who wait until their rooms are seeded, and which partitions can be requested now.

use std::time::{Duration, Instant};

use super::{FinishedRequest, QueuedSeed};
use crate::log::{
    authority::SeedOutcome,
    keys::{PARTITIONS, Partition},
};

/// After this time the callers of a busy partition are answered [`SeedOutcome::Later`].
const MAX_RETRY_TIME: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Maximum number of callers that wait for a busy partition. More callers are answered [`SeedOutcome::Later`].
pub(super) const MAX_WAITING_FOR_BUSY_PARTITION: usize = 512;

/// What is known of a partition.
#[derive(Clone, Copy, Default)]
struct PartitionState {
    is_requested: bool,
    waiting: usize,
    /// Time of the first failed seed after the last successful one; `None` if the last seed succeeded.
    busy_since: Option<Instant>,
    /// The partition is not requested before this time.
    resumes_at: Option<Instant>,
}

impl PartitionState {
    fn may_be_requested(&self, now: Instant) -> bool {
        !self.is_requested && self.resumes_at.is_none_or(|at| at <= now)
    }
}

/// The callers who wait until their rooms are seeded. Callers whose rooms were requested in vain follow at the end.
pub(super) struct WaitingSeeds {
    seeds: Vec<QueuedSeed>,
    partitions: [PartitionState; PARTITIONS as usize],
}

impl Default for WaitingSeeds {
    fn default() -> Self {
        Self { seeds: Vec::new(), partitions: [PartitionState::default(); PARTITIONS as usize] }
    }
}

impl WaitingSeeds {
    pub fn len(&self) -> usize {
        self.seeds.len()
    }

    fn state(&mut self, partition: Partition) -> &mut PartitionState {
        &mut self.partitions[usize::from(partition.0)]
    }

    /// Adds a caller. If too many callers wait for a busy partition, answers [`SeedOutcome::Later`] at once.
    pub fn add(&mut self, seed: QueuedSeed) {
        let state = self.state(seed.partition);
        if state.busy_since.is_some() && state.waiting >= MAX_WAITING_FOR_BUSY_PARTITION {
            return seed.answer(Ok(SeedOutcome::Later));
        }
        state.waiting += 1;
        self.seeds.push(seed);
    }

    /// Takes up to `max` callers of as few partitions as possible, beginning with the callers that arrived first. A
    /// batch has no busy partition beside others, and only one request has busy partitions, because such a request takes
    /// long. Returns None if no partition can be requested now.
    pub fn take_batch(&mut self, max: usize, now: Instant) -> Option<Vec<QueuedSeed>> {
        let mut batch = self.take_of(max, |state| state.busy_since.is_none() && state.may_be_requested(now));
        if batch.is_empty() && !self.is_busy_partition_requested() {
            batch = self.take_of(max, |state| state.busy_since.is_some() && state.may_be_requested(now));
        }
        (!batch.is_empty()).then_some(batch)
    }

    fn is_busy_partition_requested(&self) -> bool {
        self.partitions.iter().any(|state| state.is_requested && state.busy_since.is_some())
    }

    /// Takes up to `max` callers of partitions in such a state.
    fn take_of(&mut self, max: usize, is_wanted: impl Fn(&PartitionState) -> bool) -> Vec<QueuedSeed> {
        let mut batch = Vec::new();
        while batch.len() < max {
            let partitions = &self.partitions;
            let is_wanted = |seed: &&QueuedSeed| is_wanted(&partitions[usize::from(seed.partition.0)]);
            let Some(partition) = self.seeds.iter().find(is_wanted).map(|seed| seed.partition) else {
                break;
            };
            let before = batch.len();
            batch.extend(self.seeds.extract_if(.., |seed| seed.partition == partition).take(max - before));
            let taken = batch.len() - before;
            let state = self.state(partition);
            state.is_requested = true;
            state.waiting -= taken;
        }
        batch
    }

    /// Notes the result of a request. Callers of a partition that has been busy for [`MAX_RETRY_TIME`] are answered, if
    /// they have waited as long. Callers that were cancelled are removed.
    pub fn finish(&mut self, finished: FinishedRequest, now: Instant) {
        for partition in finished.partitions.iter() {
            let is_busy = finished.later.iter().any(|seed| seed.partition == partition);
            let state = self.state(partition);
            state.is_requested = false;
            state.busy_since = is_busy.then(|| state.busy_since.unwrap_or(now));
            state.resumes_at = is_busy.then(|| now + RETRY_PAUSE);
        }
        for seed in finished.later {
            self.state(seed.partition).waiting += 1;
            self.seeds.push(seed);
        }
        let partitions = &self.partitions;
        let is_over = |seed: &mut QueuedSeed| {
            let busy_since = partitions[usize::from(seed.partition.0)].busy_since;
            let has_waited =
                |since: Instant| now.saturating_duration_since(since.max(seed.queued_at)) > MAX_RETRY_TIME;
            seed.answer.is_closed() || busy_since.is_some_and(has_waited)
        };
        let over: Vec<QueuedSeed> = self.seeds.extract_if(.., is_over).collect();
        for seed in over {
            self.state(seed.partition).waiting -= 1;
            seed.answer(Ok(SeedOutcome::Later));
        }
    }

    /// When the first busy partition that has callers can be requested again. None while one is being requested.
    pub fn resumes_at(&self) -> Option<Instant> {
        if self.is_busy_partition_requested() {
            return None;
        }
        self.partitions.iter().filter(|state| state.waiting > 0).filter_map(|state| state.resumes_at).min()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::ids::{Epoch, RoomId};
    use crate::log::seeding::SeedResult;

    type Answer = oneshot::Receiver<SeedResult>;

    /// A caller for a room, which counts as a room of this partition.
    fn seed(partition: u16, queued_at: Instant) -> (QueuedSeed, Answer) {
        let (answer, outcome) = oneshot::channel();
        let room = RoomId::parse(&format!("room{partition}")).unwrap();
        let partition = Partition(partition);
        let seed =
            QueuedSeed { epoch: Epoch(3), is_of_all_partitions: true, room, partition, queued_at, answer };
        (seed, outcome)
    }

    fn waiting_seeds(partitions: &[u16], now: Instant) -> (WaitingSeeds, Vec<Answer>) {
        let mut waiting = WaitingSeeds::default();
        let answers = partitions.iter().map(|partition| {
            let (seed, answer) = seed(*partition, now);
            waiting.add(seed);
            answer
        });
        let answers = answers.collect();
        (waiting, answers)
    }

    fn partitions_of(batch: Option<&Vec<QueuedSeed>>) -> Vec<u16> {
        batch.into_iter().flatten().map(|seed| seed.partition.0).collect()
    }

    fn finish(
        waiting: &mut WaitingSeeds,
        batch: Vec<QueuedSeed>,
        is_busy: impl Fn(u16) -> bool,
        now: Instant,
    ) {
        let partitions = batch.iter().map(|seed| seed.partition).collect();
        let later = batch.into_iter().filter(|seed| is_busy(seed.partition.0)).collect();
        waiting.finish(FinishedRequest { partitions, later }, now);
    }

    #[test]
    fn concurrent_batches_share_no_partition() {
        let now = Instant::now();
        let (mut waiting, _answers) = waiting_seeds(&[7, 9, 8, 7, 9, 7], now);
        let first = waiting.take_batch(4, now);
        assert_eq!(partitions_of(first.as_ref()), [7, 7, 7, 9]);
        let second = waiting.take_batch(4, now);
        assert_eq!(partitions_of(second.as_ref()), [8], "a room of partition 9 is being requested");
        assert!(waiting.take_batch(4, now).is_none() && waiting.resumes_at().is_none());
        finish(&mut waiting, first.unwrap(), |_| false, now);
        assert_eq!(partitions_of(waiting.take_batch(4, now).as_ref()), [9]);
        assert_eq!(waiting.len(), 0);
    }

    #[test]
    fn busy_partition_retries_until_caller_time_limit() {
        let now = Instant::now();
        let (mut waiting, mut answers) = waiting_seeds(&[7, 8, 7], now);
        let batch = waiting.take_batch(2, now).unwrap();
        finish(&mut waiting, batch, |partition| partition == 7, now);
        let batch = waiting.take_batch(2, now);
        assert_eq!(partitions_of(batch.as_ref()), [8]);
        finish(&mut waiting, batch.unwrap(), |_| false, now);
        assert!(waiting.take_batch(2, now).is_none());
        assert_eq!(waiting.resumes_at(), Some(now + RETRY_PAUSE));
        let later = now + MAX_RETRY_TIME + RETRY_PAUSE;
        let (young, mut young_answer) = seed(7, later);
        waiting.add(young);
        let (free, _free_answer) = seed(9, later);
        waiting.add(free);
        assert_eq!(
            partitions_of(waiting.take_batch(3, later).as_ref()),
            [9],
            "a busy partition waits for free ones"
        );
        let batch = waiting.take_batch(3, later).unwrap();
        assert_eq!(partitions_of(Some(&batch)), [7, 7, 7]);
        assert!(waiting.resumes_at().is_none(), "a busy partition is being requested");
        finish(&mut waiting, batch, |_| true, later);
        assert_eq!(answers[0].try_recv().unwrap(), Ok(SeedOutcome::Later));
        assert_eq!(answers[2].try_recv().unwrap(), Ok(SeedOutcome::Later));
        assert!(young_answer.try_recv().is_err(), "the caller has not waited for the limit");
        assert_eq!(waiting.len(), 1);
    }

    #[test]
    fn cancelled_caller_is_removed_after_a_request() {
        let now = Instant::now();
        let (mut waiting, mut answers) = waiting_seeds(&[7, 8, 8], now);
        let batch = waiting.take_batch(1, now).unwrap();
        drop(answers.pop());
        finish(&mut waiting, batch, |_| false, now);
        assert_eq!(waiting.len(), 1);
        assert_eq!(partitions_of(waiting.take_batch(4, now).as_ref()), [8]);
    }

    #[test]
    fn busy_partition_rejects_callers_above_limit() {
        let now = Instant::now();
        let (mut waiting, _answers) = waiting_seeds(&[7], now);
        let batch = waiting.take_batch(1, now).unwrap();
        finish(&mut waiting, batch, |_| true, now);
        let mut add = |partition| {
            let (seed, mut answer) = seed(partition, now);
            waiting.add(seed);
            answer.try_recv().is_ok()
        };
        let refused = (0..MAX_WAITING_FOR_BUSY_PARTITION).filter(|_| add(7)).count();
        assert_eq!((refused, add(7), add(8)), (1, true, false));
    }
}
