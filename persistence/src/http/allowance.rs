//! Rate limits per user for HTTP requests to this node: one bucket for each kind of command. Callers with the scope
//! `tidings.admin` are back ends and are not limited.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::rate::{Rate, UserRateLimiter};

use super::caller::Caller;

/// How often full buckets are dropped.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(60);

/// Kinds of commands that have separate limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// Sends; changes of messages, rooms and members; new rooms.
    Commands,
    /// Read and delivered marks.
    Marks,
    /// Setting one's own presence and reading that of others.
    Presence,
}

impl CommandKind {
    pub const ALL: [Self; 3] = [Self::Commands, Self::Marks, Self::Presence];

    /// The word in the refusal.
    fn name(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Marks => "marks",
            Self::Presence => "presence",
        }
    }
}

/// See the module.
pub struct Allowance([UserRateLimiter; CommandKind::ALL.len()]);

impl Allowance {
    /// Starts the cleaning task on the current runtime.
    #[must_use]
    pub fn start(rate: impl Fn(CommandKind) -> Rate) -> Arc<Self> {
        let allowance = Arc::new(Self(CommandKind::ALL.map(|kind| UserRateLimiter::new(rate(kind)))));
        let weak = Arc::downgrade(&allowance);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(CLEANUP_INTERVAL).await;
                let Some(allowance) = weak.upgrade() else { return };
                allowance.0.iter().for_each(UserRateLimiter::forget_full);
            }
        });
        allowance
    }

    /// Takes one from the caller's bucket.
    ///
    /// # Errors
    /// `rate_limited`, with the time until one is available.
    pub fn take(&self, kind: CommandKind, caller: &Caller) -> Result<(), Refusal> {
        self.take_many(kind, caller, NonZeroU32::MIN)
    }

    /// Takes the cost of one command, at most the whole burst.
    ///
    /// # Errors
    /// `rate_limited`, with the time until enough is available.
    pub fn take_many(&self, kind: CommandKind, caller: &Caller, cost: NonZeroU32) -> Result<(), Refusal> {
        if caller.admin {
            return Ok(());
        }
        self.0[kind as usize].take(&caller.user, cost).map_err(|retry_after_ms| {
            let message = format!("over the limit for {}; retry later", kind.name());
            Refusal { retry_after_ms: Some(retry_after_ms), ..Refusal::new(ErrorCode::RateLimited, message) }
        })
    }
}

#[cfg(test)]
mod tests {
    use tidings_shared::ids::UserId;

    use super::*;

    fn caller(name: &str, admin: bool) -> Caller {
        let user = UserId::parse(name).unwrap();
        Caller { user, name: None, picture: None, admin, expires_at_s: i64::MAX }
    }

    #[tokio::test]
    async fn each_user_and_kind_has_its_own_burst_except_admins() {
        let count = |count: u32| NonZeroU32::new(count).unwrap();
        let allowance = Allowance::start(|_| Rate { per_second: count(2), burst: count(3) });
        let (alice, bob) = (caller("alice", false), caller("bob", false));
        for kind in CommandKind::ALL {
            assert!((0..3).all(|_| allowance.take(kind, &alice).is_ok()), "{kind:?}");
            let refused = allowance.take(kind, &alice).unwrap_err();
            assert_eq!(refused.code, ErrorCode::RateLimited);
            assert!(refused.retry_after_ms.is_some_and(|ms| (1..=500).contains(&ms)), "{refused:?}");
            assert!(allowance.take(kind, &bob).is_ok());
            assert!((0..10).all(|_| allowance.take(kind, &caller("alice", true)).is_ok()));
        }
    }

    #[tokio::test]
    async fn command_cost_is_capped_at_the_burst() {
        let count = |count: u32| NonZeroU32::new(count).unwrap();
        let allowance = Allowance::start(|_| Rate { per_second: count(1), burst: count(3) });
        let (alice, bob) = (caller("alice", false), caller("bob", false));
        assert!(allowance.take_many(CommandKind::Commands, &alice, count(2)).is_ok());
        assert!(allowance.take_many(CommandKind::Commands, &alice, count(2)).is_err());
        assert!(allowance.take(CommandKind::Commands, &alice).is_ok());
        assert!(allowance.take_many(CommandKind::Commands, &bob, count(100)).is_ok());
        assert!(allowance.take(CommandKind::Commands, &bob).is_err());
    }
}
