//! The backoff before a retry: a random pause below a limit, which doubles with each failure.

use std::time::Duration;

const INITIAL_MS: u64 = 100;
const MAX_MS: u64 = 5_000;

/// The number of failures since the last success.
#[derive(Debug, Default)]
pub(super) struct Backoff(u32);

impl Backoff {
    pub(super) fn next_pause(&mut self) -> Duration {
        let bound = (INITIAL_MS << self.0.min(10)).min(MAX_MS);
        self.0 += 1;
        Duration::from_millis(rand::random_range(INITIAL_MS / 2..=bound))
    }

    pub(super) fn reset(&mut self) {
        self.0 = 0;
    }
}
