//! How many commands a user may give over HTTP through this node: sends, changes of messages, of rooms and of members.
//! Who acts in any room by the scope `tidings.admin` is a back end, and is not counted.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::UserId;

use super::caller::Caller;

/// How often allowances that are full again are forgotten, so that memory holds only who gave commands lately.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// See the module.
pub struct Allowance {
    commands: DefaultKeyedRateLimiter<UserId>,
}

impl Allowance {
    /// Starts on the present runtime.
    #[must_use]
    pub fn start(per_second: NonZeroU32, burst: NonZeroU32) -> Arc<Self> {
        let commands = RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst));
        let allowance = Arc::new(Self { commands });
        let weak = Arc::downgrade(&allowance);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(FORGET_EVERY).await;
                let Some(allowance) = weak.upgrade() else { return };
                allowance.commands.retain_recent();
                allowance.commands.shrink_to_fit();
            }
        });
        allowance
    }

    /// Takes one command off the caller's allowance.
    ///
    /// # Errors
    /// `rate_limited`, with the time until there is one.
    pub fn take(&self, caller: &Caller) -> Result<(), Refusal> {
        if caller.admin {
            return Ok(());
        }
        self.commands.check_key(&caller.user).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.commands.clock().now());
            let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            Refusal {
                retry_after_ms: Some(retry_after_ms),
                ..Refusal::new(ErrorCode::RateLimited, "too many commands; repeat this one later")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str, admin: bool) -> Caller {
        Caller { user: UserId::parse(name).unwrap(), name: None, picture: None, admin }
    }

    #[tokio::test]
    async fn each_user_has_a_burst_of_their_own_and_back_ends_are_not_counted() {
        let (two, three) = (NonZeroU32::new(2).unwrap(), NonZeroU32::new(3).unwrap());
        let allowance = Allowance::start(two, three);
        let (alice, bob) = (caller("alice", false), caller("bob", false));
        assert!((0..3).all(|_| allowance.take(&alice).is_ok()));
        let refused = allowance.take(&alice).unwrap_err();
        assert_eq!(refused.code, ErrorCode::RateLimited);
        assert!(refused.retry_after_ms.is_some_and(|ms| (1..=500).contains(&ms)), "{refused:?}");
        assert!(allowance.take(&bob).is_ok());
        assert!((0..10).all(|_| allowance.take(&caller("alice", true)).is_ok()));
    }
}
