//! How much one person may do through this node: a bucket for each kind of command, counted over all their
//! connections; and how often one connection may run against a full one before it is closed.
//! The buckets ask governor's clock; [`Overstepping`] is told the time.

use std::num::NonZeroU32;

use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::UserId,
    rate::{Buckets, Rate},
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
    /// Joins and leaves, each join by the rooms that it names: see [`rooms_cost`].
    Joins,
    /// Long polls, likewise.
    Polls,
    /// Everything else, what cannot be read included.
    Commands,
}

impl Limit {
    pub const ALL: [Self; 8] = [
        Self::Messages,
        Self::Typing,
        Self::Signals,
        Self::Marks,
        Self::Presence,
        Self::Joins,
        Self::Polls,
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
            Self::Polls => "polls",
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

/// So many rooms are joined for one of the allowance.
const ROOMS_OF_ONE: usize = 50;

/// What the rooms of a poll or a join cost beside the command itself: each is subscribed to, and read of once.
#[must_use]
pub fn rooms_cost(rooms: usize) -> u32 {
    u32::try_from(rooms / ROOMS_OF_ONE).unwrap_or(u32::MAX)
}

/// The buckets of everybody on this node.
pub struct Allowances([Buckets; Limit::ALL.len()]);

impl Allowances {
    #[must_use]
    pub fn new(rate: impl Fn(Limit) -> Rate) -> Self {
        Self(Limit::ALL.map(|limit| Buckets::new(rate(limit))))
    }

    /// As [`Buckets::take`].
    ///
    /// # Errors
    /// Milliseconds to wait.
    pub fn take(&self, limit: Limit, user: &UserId, many: NonZeroU32) -> Result<(), u64> {
        self.0[limit as usize].take(user, many)
    }

    /// Forgets buckets that are full again.
    pub fn forget_full(&self) {
        self.0.iter().for_each(Buckets::forget_full);
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
            assert_eq!(allowances.take(limit, &user("alice"), one), Ok(()), "{limit:?}");
            assert!(allowances.take(limit, &user("alice"), one).is_err_and(|ms| (1..=1000).contains(&ms)));
            assert_eq!(allowances.take(limit, &user("bob"), one), Ok(()), "{limit:?}");
        }
    }

    #[test]
    fn who_asks_for_more_than_there_is_waits_for_all_of_it_but_never_for_ever() {
        let count = |count: u32| NonZeroU32::new(count).unwrap();
        let allowances = Allowances::new(|_| Rate { per_second: count(1), burst: count(4) });
        let alice = UserId::parse("alice").unwrap();
        assert_eq!(allowances.take(Limit::Polls, &alice, count(100)), Ok(()));
        let wait = allowances.take(Limit::Polls, &alice, count(3)).unwrap_err();
        assert!((2_001..=3_000).contains(&wait), "{wait}");
    }

    #[test]
    fn a_poll_costs_more_with_each_fifty_rooms() {
        assert_eq!([0, 49, 50, 99, 100, 1000].map(rooms_cost), [0, 0, 1, 1, 2, 20]);
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
