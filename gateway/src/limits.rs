//! Rate limits. Each user has one token bucket on this node for each kind of command, shared by all connections of the
//! user. A user and a room also have buckets for the bytes of large commands. Some limits also apply to the commands of
//! a user on all nodes together (`worker/limit_reports.rs`). [`AbuseCounter`] counts how often a connection exceeds its
//! limits, so that an abusive connection can be closed. [`ActivityCounter`] limits the notices of rooms that a
//! connection has not joined.

mod usage;

use std::{
    num::NonZeroU32,
    sync::Mutex,
    time::{Duration, Instant},
};

use tidings_shared::{
    error::Refusal,
    ids::{RoomId, UserId},
    rate::{KeyedRateLimiter, Rate, UserRateLimiter},
};

use crate::lock::lock;
use usage::NodeUsage;

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
    /// KiB of the contents of messages, edits and signals: see [`content_cost`](tidings_shared::rate::content_cost).
    Bytes,
}

impl Limit {
    /// The limits in the order of the variants, each with its name. The name is the value of the metric label `limit`,
    /// and occurs in the error message.
    pub const ALL: [(Self, &str); 9] = [
        (Self::Messages, "messages"),
        (Self::Typing, "typing"),
        (Self::Signals, "signals"),
        (Self::Marks, "marks"),
        (Self::Presence, "presence"),
        (Self::Joins, "joins"),
        (Self::Polls, "polls"),
        (Self::Commands, "commands"),
        (Self::Bytes, "bytes"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Whether the limit also applies to the commands of a user on all nodes together. Other limits apply on each node
    /// only, because their commands load only the node, and because a client that moves to another node sends many of
    /// these commands at once.
    pub fn is_shared_by_nodes(self) -> bool {
        matches!(self, Self::Messages | Self::Typing | Self::Signals)
    }

    /// The refusal of a command that exceeds this limit, and that the client may repeat after this time.
    pub fn refusal(self, retry_after_ms: u64) -> Refusal {
        let message = format!("over the limit for {}; repeat this one later", self.name());
        Refusal::rate_limited(message, retry_after_ms)
    }
}

/// A poll or a join takes one additional token for each group of this many rooms.
const ROOMS_PER_EXTRA_TOKEN: usize = 50;

/// The tokens that a poll or a join takes for its rooms, in addition to one token for the command itself.
pub fn rooms_cost(rooms: usize) -> u32 {
    u32::try_from(rooms / ROOMS_PER_EXTRA_TOKEN).unwrap_or(u32::MAX)
}

/// The rate limit buckets of all users and rooms on this node.
pub struct RateLimits {
    users: [LimitState; Limit::ALL.len()],
    rooms: KeyedRateLimiter<RoomId>,
}

struct LimitState {
    rate: Rate,
    limiter: UserRateLimiter,
    usage: Mutex<NodeUsage>,
}

impl RateLimits {
    /// Creates the buckets. `rate` gives the rate of each kind of command.
    pub fn new(rate: impl Fn(Limit) -> Rate) -> Self {
        let rooms = KeyedRateLimiter::new(rate(Limit::Messages).content_of_room());
        let state = |limit| {
            let rate = rate(limit);
            let usage = Mutex::new(NodeUsage::new(Instant::now()));
            LimitState { rate, limiter: UserRateLimiter::new(rate), usage }
        };
        Self { users: Limit::ALL.map(|(limit, _)| state(limit)), rooms }
    }

    /// Takes `cost` tokens of [`Limit::Bytes`] from a room's bucket. Fails like [`RateLimits::take_tokens`]. The caller
    /// must have checked that the sender may send to the room, so that nobody else can empty the bucket.
    pub fn take_room_bytes(&self, room: &RoomId, cost: NonZeroU32) -> Result<(), u64> {
        self.rooms.take_permits(room, cost)
    }

    /// Takes `count` tokens from a user's bucket. Fails with the milliseconds after which the command may be repeated,
    /// if the bucket has too few tokens, or if the user must wait: see [`RateLimits::refuse_until`].
    pub fn take_tokens(&self, limit: Limit, user: &UserId, count: NonZeroU32) -> Result<(), u64> {
        let LimitState { rate, limiter, usage } = &self.users[limit as usize];
        if !limit.is_shared_by_nodes() {
            return limiter.take_permits(user, count);
        }
        let mut usage = lock(usage);
        usage.check_wait(user)?;
        limiter.take_permits(user, count)?;
        usage.spend(user, count.min(rate.burst).get());
        Ok(())
    }

    pub fn remove_full_buckets(&self) {
        self.users.iter().for_each(|state| state.limiter.drop_full_buckets());
        self.rooms.drop_full_buckets();
    }

    pub fn rate(&self, limit: Limit) -> Rate {
        self.users[limit as usize].rate
    }

    /// Takes the tokens that users have spent since the last call: see [`NodeUsage::take_spent`].
    pub fn take_usage(&self, limit: Limit, min_tokens: u32) -> (Vec<(UserId, u32)>, Duration) {
        lock(&self.users[limit as usize].usage).take_spent(min_tokens, Instant::now())
    }

    /// Refuses the commands of a user until this time, because the user spent too many tokens on all nodes.
    pub fn refuse_until(&self, limit: Limit, user: UserId, until: Instant) {
        lock(&self.users[limit as usize].usage).refuse_until(user, until);
    }
}

/// Counts how often one connection exceeded its rate limits within a minute, which begins with the first excess.
#[derive(Debug, Clone, Copy, Default)]
pub struct AbuseCounter {
    /// Seconds since the Unix epoch, in 4 bytes to save memory, because every connection has a counter.
    minute_start_s: u32,
    excess_count: u32,
}

const MINUTE_S: u32 = 60;

impl AbuseCounter {
    /// Counts one more excess. Returns true if the connection exceeded its limits too often in this minute.
    pub fn count_excess(&mut self, now_ms: i64, allowed_per_minute: u32) -> bool {
        // A clock that was set back also begins a new minute.
        let now_s = u32::try_from(now_ms / 1000).unwrap_or_default();
        if now_s.checked_sub(self.minute_start_s).is_none_or(|since| since >= MINUTE_S) {
            *self = Self { minute_start_s: now_s, excess_count: 0 };
        }
        self.excess_count += 1;
        self.excess_count > allowed_per_minute
    }
}

/// Counts the notices of activity for a connection within a second.
#[derive(Debug, Clone, Copy, Default)]
pub struct ActivityCounter {
    /// The present second since the Unix epoch. It has 4 bytes, because every connection has a counter.
    second: u32,
    notices: u32,
}

/// What a connection gets for a notice of activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivityAnswer {
    /// The notice itself.
    Notice,
    /// One frame for this and all further notices of the second.
    Summary,
    Nothing,
}

impl ActivityCounter {
    /// Further notices of a second become one summary.
    const MAX_NOTICES_PER_SECOND: u32 = 10;

    /// Counts one more notice.
    pub fn count_notice(&mut self, now_ms: i64) -> ActivityAnswer {
        let second = u32::try_from(now_ms / 1000).unwrap_or_default();
        if second != self.second {
            *self = Self { second, notices: 0 };
        }
        self.notices = self.notices.saturating_add(1);
        match self.notices.checked_sub(Self::MAX_NOTICES_PER_SECOND) {
            None | Some(0) => ActivityAnswer::Notice,
            Some(1) => ActivityAnswer::Summary,
            Some(_) => ActivityAnswer::Nothing,
        }
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
    fn each_room_has_its_own_bytes() {
        let one = NonZeroU32::MIN;
        let rate_limits = RateLimits::new(|_| Rate { per_second: one, burst: one });
        let (room, other) = (RoomId::parse("one").unwrap(), RoomId::parse("other").unwrap());
        let burst = Rate { per_second: one, burst: one }.content_of_room().burst;
        assert_eq!(rate_limits.take_room_bytes(&room, burst), Ok(()));
        assert!(rate_limits.take_room_bytes(&room, burst).is_err());
        assert_eq!(rate_limits.take_room_bytes(&other, burst), Ok(()));
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
        assert_eq!([0, 30_000, 59_999].map(|n| often.count_excess(1_000_000 + n, 2)), [false, false, true]);
        let mut seldom = AbuseCounter::default();
        for minute in 1..50 {
            assert_eq!(
                [1, 2].map(|n| seldom.count_excess(minute * 60_000 + n, 2)),
                [false, false],
                "{minute}"
            );
        }
        let mut set_back = AbuseCounter::default();
        assert_eq!([9, 8, 7].map(|n| set_back.count_excess(n * 60_000, 1)), [false; 3]);
    }

    #[test]
    fn activity_of_a_second_ends_with_one_summary() {
        let mut counter = ActivityCounter::default();
        for second in [5, 6, 4] {
            let mut answers = [0, 999].map(|ms| counter.count_notice(second * 1000 + ms)).to_vec();
            answers.extend((2..20).map(|_| counter.count_notice(second * 1000 + 500)));
            assert_eq!(answers[..10], [ActivityAnswer::Notice; 10]);
            assert_eq!(answers[10], ActivityAnswer::Summary);
            assert_eq!(answers[11..], [ActivityAnswer::Nothing; 9]);
        }
    }
}
