//! Rate limits for HTTP requests to this node: each user has one token bucket per kind of request, and each room has
//! one for the bytes of its messages. Callers with the scope `tidings.admin` are back ends and are not limited.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tidings_shared::error::Refusal;
use tidings_shared::ids::RoomId;
use tidings_shared::rate::{KeyedRateLimiter, Rate, UserRateLimiter, content_cost};
use tokio::time::{Instant, sleep};

use crate::query::Viewer;

/// Interval at which full buckets are removed from memory.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(60);

/// Kinds of requests that have separate limits for each user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitKind {
    /// Sending messages, changing messages, rooms and members, and creating rooms.
    Commands,
    /// Setting read and delivered marks.
    Marks,
    /// Setting the caller's presence and reading the presence of other users.
    Presence,
    /// All reads. Slow reads and large answers take more than one token.
    Reads,
    /// Contents of messages and edits, in KiB.
    Content,
}

impl RateLimitKind {
    /// All kinds, in the order in which [`RateLimiters`] indexes its limiters.
    pub const ALL: [Self; 5] = [Self::Commands, Self::Marks, Self::Presence, Self::Reads, Self::Content];

    /// The name of the kind in the text of a refusal.
    fn name(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Marks => "marks",
            Self::Presence => "presence",
            Self::Reads => "reads",
            Self::Content => "bytes",
        }
    }
}

/// The rate limiters of users, one per [`RateLimitKind`] and indexed by it, and the limiter of the bytes per room.
pub struct RateLimiters {
    users: [UserRateLimiter; RateLimitKind::ALL.len()],
    rooms: KeyedRateLimiter<RoomId>,
}

impl RateLimiters {
    /// Creates the limiters, and starts a task on the current runtime that removes full buckets.
    #[must_use]
    pub fn start(rate: impl Fn(RateLimitKind) -> Rate) -> Arc<Self> {
        let users = RateLimitKind::ALL.map(|kind| UserRateLimiter::new(rate(kind)));
        let rooms = KeyedRateLimiter::new(rate(RateLimitKind::Commands).content_of_room());
        let allowance = Arc::new(Self { users, rooms });
        let weak = Arc::downgrade(&allowance);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(CLEANUP_INTERVAL).await;
                let Some(allowance) = weak.upgrade() else { return };
                allowance.users.iter().for_each(UserRateLimiter::drop_full_buckets);
                allowance.rooms.drop_full_buckets();
            }
        });
        allowance
    }

    /// Takes one token from the caller's bucket for this kind of request. If the bucket is empty, refuses with
    /// `rate_limited` and the time until a token is available. Admins are not limited.
    pub fn take_token(&self, kind: RateLimitKind, caller: Viewer<'_>) -> Result<(), Refusal> {
        self.take_cost(kind, caller, NonZeroU32::MIN)
    }

    /// Takes `cost` tokens, but at most as many as a full bucket holds. If the bucket has fewer, refuses with
    /// `rate_limited` and the time until it has enough.
    pub fn take_cost(
        &self,
        kind: RateLimitKind,
        caller: Viewer<'_>,
        cost: NonZeroU32,
    ) -> Result<(), Refusal> {
        if caller.admin {
            return Ok(());
        }
        self.users[kind as usize].take_permits(caller.user, cost).map_err(|wait| refusal(kind, wait))
    }

    /// Like [`RateLimiters::take_cost`], but waits for the tokens until `deadline`. Refuses immediately if they cannot be
    /// available by then.
    pub async fn wait_for_tokens(
        &self,
        kind: RateLimitKind,
        caller: Viewer<'_>,
        cost: NonZeroU32,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        while let Err(refusal) = self.take_cost(kind, caller, cost) {
            let wait = Duration::from_millis(refusal.retry_after_ms.unwrap_or_default());
            if Instant::now() + wait > deadline {
                return Err(refusal);
            }
            sleep(wait).await;
        }
        Ok(())
    }

    /// Takes one token for a message or a change, and the tokens for its contents of this size. Refuses with
    /// `rate_limited` if one of the two buckets has too few.
    pub fn take_command_tokens(&self, caller: Viewer<'_>, bytes: usize) -> Result<(), Refusal> {
        self.take_token(RateLimitKind::Commands, caller)?;
        content_cost(bytes).map_or(Ok(()), |cost| self.take_cost(RateLimitKind::Content, caller, cost))
    }

    /// Takes tokens from a room's bucket for contents of this size. Called only for a user who may send to the room, so
    /// nobody else can empty the bucket.
    pub fn take_room_content_tokens(
        &self,
        room: &RoomId,
        caller: Viewer<'_>,
        bytes: usize,
    ) -> Result<(), Refusal> {
        let cost = content_cost(bytes).filter(|_| !caller.admin);
        cost.map_or(Ok(()), |cost| self.rooms.take_permits(room, cost))
            .map_err(|wait| refusal(RateLimitKind::Content, wait))
    }
}

fn refusal(kind: RateLimitKind, retry_after_ms: u64) -> Refusal {
    let message = format!("over the limit for {}; retry later", kind.name());
    Refusal::rate_limited(message, retry_after_ms)
}

#[cfg(test)]
mod tests {
    use tidings_shared::error::ErrorCode;
    use tidings_shared::ids::UserId;

    use super::*;

    fn users() -> [UserId; 2] {
        ["alice", "bob"].map(|name| UserId::parse(name).unwrap())
    }

    #[tokio::test]
    async fn each_user_and_kind_has_its_own_burst_except_admins() {
        let count = |count: u32| NonZeroU32::new(count).unwrap();
        let allowance = RateLimiters::start(|_| Rate { per_second: count(2), burst: count(3) });
        let [alice, bob] = &users();
        let viewer = |user| Viewer { user, admin: false };
        for kind in RateLimitKind::ALL {
            assert!((0..3).all(|_| allowance.take_token(kind, viewer(alice)).is_ok()), "{kind:?}");
            let refused = allowance.take_token(kind, viewer(alice)).unwrap_err();
            assert_eq!(refused.code, ErrorCode::RateLimited);
            assert!(refused.retry_after_ms.is_some_and(|ms| (1..=500).contains(&ms)), "{refused:?}");
            assert!(allowance.take_token(kind, viewer(bob)).is_ok());
            assert!((0..10).all(|_| allowance.take_token(kind, Viewer { user: alice, admin: true }).is_ok()));
        }
    }

    #[tokio::test]
    async fn command_cost_is_capped_at_the_burst() {
        let count = |count: u32| NonZeroU32::new(count).unwrap();
        let allowance = RateLimiters::start(|_| Rate { per_second: count(1), burst: count(3) });
        let [alice, bob] = &users();
        let viewer = |user| Viewer { user, admin: false };
        assert!(allowance.take_cost(RateLimitKind::Commands, viewer(alice), count(2)).is_ok());
        assert!(allowance.take_cost(RateLimitKind::Commands, viewer(alice), count(2)).is_err());
        assert!(allowance.take_token(RateLimitKind::Commands, viewer(alice)).is_ok());
        assert!(allowance.take_cost(RateLimitKind::Commands, viewer(bob), count(100)).is_ok());
        assert!(allowance.take_token(RateLimitKind::Commands, viewer(bob)).is_err());
    }
}
