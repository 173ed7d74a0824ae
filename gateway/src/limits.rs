//! How much one person may do through this node: a bucket for each kind of command, counted over all their
//! connections; and how often one connection may run against a full one before it is closed.
//! The buckets ask governor's clock; [`Overstepping`] is told the time.

use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};
use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::UserId,
};

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Sends, edits, deletes, reactions; also questions for rooms that are not one's own.
    Messages,
    Typing,
    Signals,
    /// Read and delivered marks.
    Marks,
    /// Telling one's presence, asking for that of others.
    Presence,
    /// Joins and leaves, as frames, whatever number of rooms they name.
    Joins,
    /// Everything else, what cannot be read included.
    Commands,
}

impl Limit {
    pub const ALL: [Self; 7] = [
        Self::Messages,
        Self::Typing,
        Self::Signals,
        Self::Marks,
        Self::Presence,
        Self::Joins,
        Self::Commands,
    ];

    /// The value of the metric label `limit`, and the word that people are told.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Typing => "typing",
            Self::Signals => "signals",
            Self::Marks => "marks",
            Self::Presence => "presence",
            Self::Joins => "joins",
            Self::Commands => "commands",
        }
    }

    /// What a command over this limit is told.
    #[must_use]
    pub fn refusal(self, retry_after_ms: u64) -> Refusal {
        let message = format!("over the limit for {}; repeat this one later", self.name());
        Refusal { retry_after_ms: Some(retry_after_ms), ..Refusal::new(ErrorCode::RateLimited, message) }
    }
}

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

/// The buckets of everybody on this node.
pub struct Allowances([DefaultKeyedRateLimiter<UserId>; Limit::ALL.len()]);

impl Allowances {
    #[must_use]
    pub fn new(rate: impl Fn(Limit) -> Rate) -> Self {
        Self(Limit::ALL.map(|limit| {
            let Rate { per_second, burst } = rate(limit);
            RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst))
        }))
    }

    /// Takes one command off a user's allowance, else tells in how many milliseconds there will be one.
    ///
    /// # Errors
    /// Milliseconds to wait.
    pub fn take(&self, limit: Limit, user: &UserId) -> Result<(), u64> {
        let buckets = &self.0[limit as usize];
        buckets.check_key(user).map_err(|not_until| {
            let wait = not_until.wait_time_from(buckets.clock().now());
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)
        })
    }

    /// Forgets buckets that are full again.
    pub fn forget_full(&self) {
        for buckets in &self.0 {
            buckets.retain_recent();
            buckets.shrink_to_fit();
        }
    }
}

/// How often one connection ran against a limit lately. A minute begins with the first time after the last one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overstepping {
    /// Seconds since the Unix epoch: every connection holds one of these.
    minute_began_s: u32,
    times: u32,
}

const MINUTE_S: u32 = 60;

impl Overstepping {
    /// Counts one more time; true: it was once too often.
    pub fn again(&mut self, now_ms: i64, allowed_per_minute: u32) -> bool {
        // A clock that was set back begins a minute anew as well.
        let now_s = u32::try_from(now_ms / 1000).unwrap_or_default();
        if now_s.checked_sub(self.minute_began_s).is_none_or(|since| since >= MINUTE_S) {
            *self = Self { minute_began_s: now_s, times: 0 };
        }
        self.times += 1;
        self.times > allowed_per_minute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_and_each_person_has_a_bucket_of_their_own() {
        let one = NonZeroU32::MIN;
        let allowances = Allowances::new(|_| Rate { per_second: one, burst: one });
        let user = |id: &str| UserId::parse(id).unwrap();
        for limit in Limit::ALL {
            assert_eq!(allowances.take(limit, &user("alice")), Ok(()), "{limit:?}");
            assert!(allowances.take(limit, &user("alice")).is_err_and(|ms| (1..=1000).contains(&ms)));
            assert_eq!(allowances.take(limit, &user("bob")), Ok(()), "{limit:?}");
        }
    }

    #[test]
    fn a_rate_lets_some_seconds_worth_through_at_once() {
        assert_eq!(Rate::per_second(NonZeroU32::new(10).unwrap()).burst.get(), 40);
        assert_eq!(Rate::per_second(NonZeroU32::MAX).burst, NonZeroU32::MAX);
    }

    #[test]
    fn only_who_oversteps_too_often_within_a_minute_is_found() {
        let mut often = Overstepping::default();
        assert_eq!([0, 30_000, 59_999].map(|n| often.again(1_000_000 + n, 2)), [false, false, true]);
        let mut seldom = Overstepping::default();
        for minute in 1..50 {
            assert_eq!([1, 2].map(|n| seldom.again(minute * 60_000 + n, 2)), [false, false], "{minute}");
        }
        let mut set_back = Overstepping::default();
        assert_eq!([9, 8, 7].map(|n| set_back.again(n * 60_000, 1)), [false; 3]);
    }
}
