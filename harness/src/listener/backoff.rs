//! The backoff before a retry: full jitter below a limit that doubles.

use std::time::Duration;

const FIRST_MS: u64 = 100;
const LONGEST_MS: u64 = 5_000;

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    pub(super) fn next(&mut self) -> Duration {
        let bound = (FIRST_MS << self.0.min(10)).min(LONGEST_MS);
        self.0 += 1;
        Duration::from_millis(rand::random_range(FIRST_MS / 2..=bound))
    }

    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }
}
