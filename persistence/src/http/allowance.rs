//! Rate limits for HTTP requests to this node: each user has one token bucket per kind of command. Callers with the
//! scope `tidings.admin` are back ends and are not limited.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::rate::{Rate, UserRateLimiter};

use crate::query::Viewer;

/// Interval at which full buckets are removed from memory.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(60);

/// Kinds of commands that have separate limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// Sending messages, changing messages, rooms and members, and creating rooms.
    Commands,
    /// Setting read and delivered marks.
    Marks,
    /// Setting the caller's presence and reading the presence of other users.
    Presence,
}

impl CommandKind {
    /// All kinds, in the order in which [`Allowance`] indexes its limiters.
    pub const ALL: [Self; 3] = [Self::Commands, Self::Marks, Self::Presence];

    /// The name of the kind in the text of a refusal.
    fn name(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Marks => "marks",
            Self::Presence => "presence",
        }
    }
}

/// One rate limiter per [`CommandKind`], indexed by the kind.
pub struct Allowance([UserRateLimiter; CommandKind::ALL.len()]);

impl Allowance {
    /// Creates the limiters, and starts a task on the current runtime that removes full buckets.
    #[must_use]
    pub fn start(rate: impl Fn(CommandKind) -> Rate) -> Arc<Self> {
        let allowance = Arc::new(Self(CommandKind::ALL.map(|kind| UserRateLimiter::new(rate(kind)))));
        let weak = Arc::downgrade(&allowance);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(CLEANUP_INTERVAL).await;
                let Some(allowance) = weak.upgrade() else { return };
                allowance.0.iter().for_each(UserRateLimiter::drop_full_buckets);
            }
        });
        allowance
    }

    /// Takes one token from the caller's bucket for this kind of command. If it is empty, refuses with `rate_limited`
    /// and the time until a token is available. Admins are not limited.
    pub fn take_token(&self, kind: CommandKind, caller: Viewer<'_>) -> Result<(), Refusal> {
        self.take_cost(kind, caller, NonZeroU32::MIN)
    }

    /// Takes `cost` tokens, but at most as many as a full bucket holds. If the bucket has fewer, refuses with
    /// `rate_limited` and the time until it has enough.
    pub fn take_cost(&self, kind: CommandKind, caller: Viewer<'_>, cost: NonZeroU32) -> Result<(), Refusal> {
        if caller.admin {
            return Ok(());
        }
        self.0[kind as usize].take_permits(caller.user, cost).map_err(|retry_after_ms| {
            let message = format!("over the limit for {}; retry later", kind.name());
            Refusal { retry_after_ms: Some(retry_after_ms), ..Refusal::new(ErrorCode::RateLimited, message) }
        })
    }
}

#[cfg(test)]
mod tests {
    use tidings_shared::ids::UserId;

    use super::*;

    fn users() -> [UserId; 2] {
        ["alice", "bob"].map(|name| UserId::parse(name).unwrap())
    }

    #[tokio::test]
    async fn each_user_and_kind_has_its_own_burst_except_admins() {
        let count = |count: u32| NonZeroU32::new(count).unwrap();
        let allowance = Allowance::start(|_| Rate { per_second: count(2), burst: count(3) });
        let [alice, bob] = &users();
        let viewer = |user| Viewer { user, admin: false };
        for kind in CommandKind::ALL {
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
        let allowance = Allowance::start(|_| Rate { per_second: count(1), burst: count(3) });
        let [alice, bob] = &users();
        let viewer = |user| Viewer { user, admin: false };
        assert!(allowance.take_cost(CommandKind::Commands, viewer(alice), count(2)).is_ok());
        assert!(allowance.take_cost(CommandKind::Commands, viewer(alice), count(2)).is_err());
        assert!(allowance.take_token(CommandKind::Commands, viewer(alice)).is_ok());
        assert!(allowance.take_cost(CommandKind::Commands, viewer(bob), count(100)).is_ok());
        assert!(allowance.take_token(CommandKind::Commands, viewer(bob)).is_err());
    }
}
