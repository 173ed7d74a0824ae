//! Rate limits. Each user has one token bucket on this node for each kind of command, shared by all connections of the
//! user. [`AbuseCounter`] counts how often one connection exceeds its limits, so that abusers can be closed. The
//! buckets use governor's clock. The caller of [`AbuseCounter`] passes the time.

use std::num::NonZeroU32;

use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::UserId,
    rate::{Rate, UserRateLimiter},
};

/// The kinds of commands, each with its own bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Sends, edits, deletes and reactions; also look-ups of a membership that the caches do not hold.
    Messages,
    Typing,
    Signals,
    /// Read and delivered marks.
    Marks,
    /// `presence:set` and `presence:get`.
    Presence,
    /// Joins and leaves. A join costs more with the number of its rooms: see [`rooms_cost`].
    Joins,
    /// Long polls. A poll costs more with the number of its rooms, like a join.
    Polls,
    /// All other commands, and frames that cannot be parsed.
    Commands,
}

impl Limit {
    /// The limits in the order of the variants, each with its name. The name is the value of the metric label `limit`,
    /// and occurs in the error message.
    pub const ALL: [(Self, &str); 8] = [
        (Self::Messages, "messages"),
        (Self::Typing, "typing"),
        (Self::Signals, "signals"),
        (Self::Marks, "marks"),
        (Self::Presence, "presence"),
        (Self::Joins, "joins"),
        (Self::Polls, "polls"),
        (Self::Commands, "commands"),
    ];

    /// The name in the metric label `limit` and in the error message.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The refusal of a command that exceeds this limit.
    pub fn refusal(self, retry_after_ms: u64) -> Refusal {
        let message = format!("over the limit for {}; repeat this one later", self.name());
        Refusal { retry_after_ms: Some(retry_after_ms), ..Refusal::new(ErrorCode::RateLimited, message) }
    }
}

/// A poll or a join takes one additional token for each group of this many rooms.
const ROOMS_PER_COST_UNIT: usize = 50;

/// The tokens that a poll or a join takes for its rooms, in addition to one token for the command itself.
pub fn rooms_cost(rooms: usize) -> u32 {
    u32::try_from(rooms / ROOMS_PER_COST_UNIT).unwrap_or(u32::MAX)
}

/// The rate limit buckets of all users on this node.
pub struct RateLimits([UserRateLimiter; Limit::ALL.len()]);

impl RateLimits {
    /// Creates the buckets. `rate` is called once for each kind of command.
    pub fn new(rate: impl Fn(Limit) -> Rate) -> Self {
        Self(Limit::ALL.map(|(limit, _)| UserRateLimiter::new(rate(limit))))
    }

    /// Takes `count` tokens from a user's bucket. Fails with the milliseconds after which the tokens are available.
    pub fn take_tokens(&self, limit: Limit, user: &UserId, count: NonZeroU32) -> Result<(), u64> {
        self.0[limit as usize].take_permits(user, count)
    }

    /// Removes full buckets, which limit nothing.
    pub fn forget_full(&self) {
        self.0.iter().for_each(UserRateLimiter::drop_full_buckets);
    }
}

/// Counts how often one connection exceeded a limit within a minute, which begins with the first excess.
#[derive(Debug, Clone, Copy, Default)]
pub struct AbuseCounter {
    /// Seconds since the Unix epoch, in 4 bytes to save memory, because every connection has a counter.
    minute_start_s: u32,
    times: u32,
}

const MINUTE_S: u32 = 60;

impl AbuseCounter {
    /// Counts one more excess. Returns true if the connection exceeded its limits too often in this minute.
    pub fn record(&mut self, now_ms: i64, allowed_per_minute: u32) -> bool {
        // A clock that was set back also begins a new minute.
        let now_s = u32::try_from(now_ms / 1000).unwrap_or_default();
        if now_s.checked_sub(self.minute_start_s).is_none_or(|since| since >= MINUTE_S) {
            *self = Self { minute_start_s: now_s, times: 0 };
        }
        self.times += 1;
        self.times > allowed_per_minute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_and_user_has_its_own_bucket() {
        let one = NonZeroU32::MIN;
        let rate_limits = RateLimits::new(|_| Rate { per_second: one, burst: one });
        let user = |id: &str| UserId::parse(id).unwrap();
        for (index, (limit, _)) in Limit::ALL.into_iter().enumerate() {
            assert_eq!(limit as usize, index, "{limit:?}");
            assert_eq!(rate_limits.take_tokens(limit, &user("alice"), one), Ok(()), "{limit:?}");
            assert!(
                rate_limits.take_tokens(limit, &user("alice"), one).is_err_and(|ms| (1..=1000).contains(&ms))
            );
            assert_eq!(rate_limits.take_tokens(limit, &user("bob"), one), Ok(()), "{limit:?}");
        }
    }

    #[test]
    fn cost_above_burst_waits_for_full_bucket_only() {
        let count = |count: u32| NonZeroU32::new(count).unwrap();
        let rate_limits = RateLimits::new(|_| Rate { per_second: count(1), burst: count(4) });
        let alice = UserId::parse("alice").unwrap();
        assert_eq!(rate_limits.take_tokens(Limit::Polls, &alice, count(100)), Ok(()));
        let wait = rate_limits.take_tokens(Limit::Polls, &alice, count(3)).unwrap_err();
        assert!((2_001..=3_000).contains(&wait), "{wait}");
    }

    #[test]
    fn poll_cost_grows_by_one_per_fifty_rooms() {
        assert_eq!([0, 49, 50, 99, 100, 1000].map(rooms_cost), [0, 0, 1, 1, 2, 20]);
    }

    #[test]
    fn abuse_counter_reports_only_too_many_within_a_minute() {
        let mut often = AbuseCounter::default();
        assert_eq!([0, 30_000, 59_999].map(|n| often.record(1_000_000 + n, 2)), [false, false, true]);
        let mut seldom = AbuseCounter::default();
        for minute in 1..50 {
            assert_eq!([1, 2].map(|n| seldom.record(minute * 60_000 + n, 2)), [false, false], "{minute}");
        }
        let mut set_back = AbuseCounter::default();
        assert_eq!([9, 8, 7].map(|n| set_back.record(n * 60_000, 1)), [false; 3]);
    }
}
