//! Computes how long the reader pauses after a batch. Records gather during the pause: a transaction for many records
//! costs little more than one for a few. Pure.

use std::time::{Duration, Instant};

/// Minimum time between the starts of two batches. A record after a quiet period is written at once, and records that
/// are already read are written without a pause.
const MIN_BATCH_INTERVAL: Duration = Duration::from_millis(5);
/// Replaces `MIN_BATCH_INTERVAL` above `BUSY_RECORDS_PER_SECOND`. A single sender who waits for each answer stays below
/// that rate.
const BUSY_BATCH_INTERVAL: Duration = Duration::from_millis(20);
const BUSY_RECORDS_PER_SECOND: f64 = 200.0;
/// Time constant of the moving average of the record rate.
const RATE_WINDOW: Duration = Duration::from_millis(250);
/// After a batch of more records than this, the reader pauses at least half as long as the batch took, at most
/// [`MAX_GATHER_PAUSE`].
const SMALL_BATCH_RECORDS: usize = 16;
const MAX_GATHER_PAUSE: Duration = Duration::from_millis(25);

/// The moving average of the record rate, which decides the pause.
#[derive(Debug)]
pub(super) struct BatchPacer {
    records_per_second: f64,
    counted_at: Instant,
}

impl BatchPacer {
    /// Starts with a record rate of zero. `now` is the time from which records are counted.
    pub fn new(now: Instant) -> Self {
        Self { records_per_second: 0.0, counted_at: now }
    }

    /// Counts the records of a batch that began at `now`.
    pub fn count(&mut self, records: usize, now: Instant) {
        let passed = now.saturating_duration_since(self.counted_at).max(Duration::from_micros(1));
        self.counted_at = now;
        // The weight of the old rate falls with the time since the last batch.
        let old_weight = (-passed.as_secs_f64() / RATE_WINDOW.as_secs_f64()).exp();
        let rate = records as f64 / passed.as_secs_f64();
        self.records_per_second = self.records_per_second * old_weight + rate * (1.0 - old_weight);
    }

    /// The pause after a batch of `records` records that took the time `took`.
    pub fn gather_pause(&self, records: usize, took: Duration) -> Duration {
        let busy = self.records_per_second > BUSY_RECORDS_PER_SECOND;
        let interval = if busy { BUSY_BATCH_INTERVAL } else { MIN_BATCH_INTERVAL };
        let gather =
            if records > SMALL_BATCH_RECORDS { (took / 2).min(MAX_GATHER_PAUSE) } else { Duration::ZERO };
        interval.saturating_sub(took).max(gather)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The pacer after `batches` batches with `records` records each, one every `interval`.
    fn pacer(batches: u32, records: usize, interval: Duration) -> BatchPacer {
        let begun = Instant::now();
        let mut pacer = BatchPacer::new(begun);
        (1..=batches).for_each(|n| pacer.count(records, begun + interval * n));
        pacer
    }

    #[test]
    fn records_gather_after_a_large_batch() {
        let pacer = pacer(1, 1, ms(1000));
        assert_eq!((pacer.gather_pause(1, ms(2)), pacer.gather_pause(1, ms(40))), (ms(3), ms(0)));
        assert_eq!(
            (
                pacer.gather_pause(100, ms(2)),
                pacer.gather_pause(100, ms(20)),
                pacer.gather_pause(100, ms(900))
            ),
            (ms(3), ms(10), ms(25))
        );
    }

    #[test]
    fn records_gather_longer_only_while_many_arrive() {
        assert_eq!(pacer(200, 5, ms(5)).gather_pause(5, ms(2)), ms(18), "1,000 a second");
        assert_eq!(pacer(50, 20, ms(20)).gather_pause(20, ms(2)), ms(18));
        assert_eq!(
            pacer(200, 1, ms(8)).gather_pause(1, ms(2)),
            ms(3),
            "one sender who waits for each answer"
        );
        assert_eq!(pacer(1, 50, ms(5000)).gather_pause(1, ms(2)), ms(3), "a burst after a quiet period");
        assert_eq!(pacer(3, 2, ms(5)).gather_pause(2, ms(2)), ms(3), "a few at once");
        let mut later = pacer(200, 5, ms(5));
        later.count(1, later.counted_at + ms(1000));
        assert_eq!(later.gather_pause(1, ms(2)), ms(3), "the load has ended");
    }
}
