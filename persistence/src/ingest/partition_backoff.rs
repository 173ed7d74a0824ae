//! Pauses for partitions whose work keeps failing; each pause is longer than the one before. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tidings_shared::log::keys::Partition;

/// Counts failures in a row for each partition. Each pause is twice the previous one, up to `longest`.
#[derive(Debug)]
pub(super) struct PartitionBackoff {
    first: Duration,
    longest: Duration,
    failures: BTreeMap<Partition, u32>,
}

impl PartitionBackoff {
    /// `first` is the pause after the first failure, and `longest` the limit of all pauses.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: BTreeMap::new() }
    }

    /// Counts a failure of the partition, and returns the pause before the next attempt.
    pub fn next_pause(&mut self, partition: Partition) -> Duration {
        let before = self.failures.entry(partition).or_default();
        let pause = self.first.saturating_mul(1 << (*before).min(30)).min(self.longest);
        *before += 1;
        pause
    }

    /// Resets the count of failures after a success.
    pub fn reset(&mut self, partition: Partition) {
        self.failures.remove(&partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum_until_success() {
        let mut backoff = PartitionBackoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let mut pauses = |count| -> Vec<u128> {
            (0..count).map(|_| backoff.next_pause(Partition(1)).as_millis()).collect()
        };
        assert_eq!(pauses(7), [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(pauses(100)[99], 1000);
        assert_eq!(backoff.next_pause(Partition(2)).as_millis(), 50, "each partition has its own count");
        backoff.reset(Partition(1));
        assert_eq!(backoff.next_pause(Partition(1)).as_millis(), 50);
    }
}
