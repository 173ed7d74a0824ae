//! Rate limits per user or per room, for both services. Each node has its own buckets; `spent` has the buckets that all
//! nodes share.

mod content;
mod spent;

use std::{hash::Hash, num::NonZeroU32};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};

use crate::ids::UserId;
pub use content::content_cost;
pub use spent::{SpentTokens, report_spent_tokens};

/// The default burst is the number of commands that the rate allows in this time. It is large because a client that
/// reconnects sends joins and marks for many rooms at once.
const DEFAULT_BURST_S: u32 = 4;

/// The rate limit of one kind of command: commands per second, and commands at once after a pause (burst).
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub per_second: NonZeroU32,
    pub burst: NonZeroU32,
}

impl Rate {
    /// Returns a rate with the default burst, which is what the rate allows in [`DEFAULT_BURST_S`] seconds.
    pub fn per_second(per_second: NonZeroU32) -> Self {
        Self {
            per_second,
            burst: per_second.saturating_mul(NonZeroU32::MIN.saturating_add(DEFAULT_BURST_S - 1)),
        }
    }
}

/// The rate limiter of one kind of command for all users of this node.
pub type UserRateLimiter = KeyedRateLimiter<UserId>;

/// Token buckets of permits: one for each key, such as a user or a room.
pub struct KeyedRateLimiter<K: Clone + Hash + Eq> {
    limiter: DefaultKeyedRateLimiter<K>,
    burst: NonZeroU32,
}

impl<K: Clone + Hash + Eq> KeyedRateLimiter<K> {
    /// Creates a limiter in which every key begins with a full bucket of `burst` permits.
    pub fn new(Rate { per_second, burst }: Rate) -> Self {
        Self { limiter: RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst)), burst }
    }

    /// Takes permits of a key. A `count` above the burst is reduced to the burst. The error is the number of
    /// milliseconds until there are enough permits.
    pub fn take_permits(&self, key: &K, count: NonZeroU32) -> Result<(), u64> {
        // The outer error means that `count` is above the burst, which cannot occur here.
        let Ok(Err(not_until)) = self.limiter.check_key_n(key, count.min(self.burst)) else { return Ok(()) };
        let wait = not_until.wait_time_from(self.limiter.clock().now());
        Err(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
    }

    /// Removes the state of keys that have all permits, so that only recently used keys need memory.
    pub fn drop_full_buckets(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_burst_is_four_seconds_of_the_rate() {
        assert_eq!(Rate::per_second(NonZeroU32::new(10).unwrap()).burst.get(), 40);
        assert_eq!(Rate::per_second(NonZeroU32::MAX).burst, NonZeroU32::MAX);
    }
}
