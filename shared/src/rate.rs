//! How fast a user may do something: the same rule on whichever service they do it.

use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};

use crate::ids::UserId;

/// How many seconds' worth may come at once, where no burst is set: someone who comes back joins and marks many rooms
/// in one go.
const BURST_S: u32 = 4;

/// How fast one kind of command may come.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub per_second: NonZeroU32,
    pub burst: NonZeroU32,
}

impl Rate {
    /// This many per second, and what comes in [`BURST_S`] at once.
    #[must_use]
    pub fn per_second(per_second: NonZeroU32) -> Self {
        Self { per_second, burst: per_second.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_S - 1)) }
    }
}

/// The buckets of everybody for one kind of command, on this node.
pub struct Buckets {
    limiter: DefaultKeyedRateLimiter<UserId>,
    /// What each holds.
    burst: NonZeroU32,
}

impl Buckets {
    #[must_use]
    pub fn new(Rate { per_second, burst }: Rate) -> Self {
        Self { limiter: RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst)), burst }
    }

    /// Takes so many out of a user's bucket, at most all that it holds; else tells in how many milliseconds there will
    /// be as many.
    ///
    /// # Errors
    /// Milliseconds to wait.
    pub fn take(&self, user: &UserId, many: NonZeroU32) -> Result<(), u64> {
        // More than a bucket holds is never asked for.
        let Ok(Err(not_until)) = self.limiter.check_key_n(user, many.min(self.burst)) else { return Ok(()) };
        let wait = not_until.wait_time_from(self.limiter.clock().now());
        Err(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
    }

    /// Forgets buckets that are full again, so that memory holds only who did something lately.
    pub fn forget_full(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_some_seconds_worth_through_at_once() {
        assert_eq!(Rate::per_second(NonZeroU32::new(10).unwrap()).burst.get(), 40);
        assert_eq!(Rate::per_second(NonZeroU32::MAX).burst, NonZeroU32::MAX);
    }
}
