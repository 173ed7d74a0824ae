//! How much a user may do over HTTP through this node: a bucket for each kind of command.
//! Who acts in any room by the scope `tidings.admin` is a back end, and is not counted.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::rate::{Buckets, Rate};

use super::caller::Caller;

/// How often allowances that are full again are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// What is counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sends, and changes of messages, of rooms and of members; new rooms.
    Commands,
    /// Read and delivered marks.
    Marks,
    /// Telling one's presence, asking for that of others.
    Presence,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Commands, Self::Marks, Self::Presence];

    /// The word that people are told.
    fn name(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Marks => "marks",
            Self::Presence => "presence",
        }
    }
}

/// See the module.
pub struct Allowance([Buckets; Kind::ALL.len()]);

impl Allowance {
    /// Starts on the present runtime.
    #[must_use]
    pub fn start(rate: impl Fn(Kind) -> Rate) -> Arc<Self> {
        let allowance = Arc::new(Self(Kind::ALL.map(|kind| Buckets::new(rate(kind)))));
        let weak = Arc::downgrade(&allowance);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(FORGET_EVERY).await;
                let Some(allowance) = weak.upgrade() else { return };
                allowance.0.iter().for_each(Buckets::forget_full);
            }
        });
        allowance
    }

    /// Takes one off the caller's allowance.
    ///
    /// # Errors
    /// `rate_limited`, with the time until there is one.
    pub fn take(&self, kind: Kind, caller: &Caller) -> Result<(), Refusal> {
        self.take_many(kind, caller, NonZeroU32::MIN)
    }

    /// Takes as many as one command is worth, at most what may come at once.
    ///
    /// # Errors
    /// `rate_limited`, with the time until there are as many.
    pub fn take_many(&self, kind: Kind, caller: &Caller, many: NonZeroU32) -> Result<(), Refusal> {
        if caller.admin {
            return Ok(());
        }
        self.0[kind as usize].take(&caller.user, many).map_err(|retry_after_ms| {
            let message = format!("over the limit for {}; repeat this one later", kind.name());
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
    async fn each_user_has_a_burst_of_their_own_of_each_kind_and_back_ends_are_not_counted() {
        let count = |count: u32| NonZeroU32::new(count).unwrap();
        let allowance = Allowance::start(|_| Rate { per_second: count(2), burst: count(3) });
        let (alice, bob) = (caller("alice", false), caller("bob", false));
        for kind in Kind::ALL {
            assert!((0..3).all(|_| allowance.take(kind, &alice).is_ok()), "{kind:?}");
            let refused = allowance.take(kind, &alice).unwrap_err();
            assert_eq!(refused.code, ErrorCode::RateLimited);
            assert!(refused.retry_after_ms.is_some_and(|ms| (1..=500).contains(&ms)), "{refused:?}");
            assert!(allowance.take(kind, &bob).is_ok());
            assert!((0..10).all(|_| allowance.take(kind, &caller("alice", true)).is_ok()));
        }
    }

    #[tokio::test]
    async fn a_command_may_be_worth_several_but_never_more_than_may_come_at_once() {
        let count = |count: u32| NonZeroU32::new(count).unwrap();
        let allowance = Allowance::start(|_| Rate { per_second: count(1), burst: count(3) });
        let (alice, bob) = (caller("alice", false), caller("bob", false));
        assert!(allowance.take_many(Kind::Commands, &alice, count(2)).is_ok());
        assert!(allowance.take_many(Kind::Commands, &alice, count(2)).is_err());
        assert!(allowance.take(Kind::Commands, &alice).is_ok());
        assert!(allowance.take_many(Kind::Commands, &bob, count(100)).is_ok());
        assert!(allowance.take(Kind::Commands, &bob).is_err());
    }
}
