//! How long a partition rests after the same thing has failed for it again and again. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tidings_shared::log::keys::Partition;

/// Failures in a row, by partition: each pause is twice the one before.
#[derive(Debug)]
pub(super) struct Setbacks {
    first: Duration,
    longest: Duration,
    in_a_row: BTreeMap<Partition, u32>,
}

impl Setbacks {
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, in_a_row: BTreeMap::new() }
    }

    /// It failed once more: how long to rest.
    pub fn pause(&mut self, partition: Partition) -> Duration {
        let before = self.in_a_row.entry(partition).or_default();
        let pause = self.first.saturating_mul(1 << (*before).min(30)).min(self.longest);
        *before += 1;
        pause
    }

    /// It worked.
    pub fn over(&mut self, partition: Partition) {
        self.in_a_row.remove(&partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut setbacks = Setbacks::new(Duration::from_millis(50), Duration::from_secs(1));
        let mut pauses =
            |count| -> Vec<u128> { (0..count).map(|_| setbacks.pause(Partition(1)).as_millis()).collect() };
        assert_eq!(pauses(7), [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(pauses(100)[99], 1000);
        assert_eq!(setbacks.pause(Partition(2)).as_millis(), 50, "each partition for itself");
        setbacks.over(Partition(1));
        assert_eq!(setbacks.pause(Partition(1)).as_millis(), 50);
    }
}
