//! Limits the time that the images of one user may be decoded, so that accounts with expensive images do not occupy the
//! slots of images. Each replica has its own budgets. Decoding cannot be stopped, so a user may overdraw the budget by
//! the images that are being decoded, and gets time again later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidings_shared::ids::UserId;

/// How long the images of a user may be decoded after a pause: more than a hundred photos of a phone.
const BUDGET: Duration = Duration::from_secs(30);
/// The most that one image takes, so that a process that was paused does not use up the budget.
const MAX_IMAGE_TIME: Duration = Duration::from_secs(10);
/// A user gets one second of decoding in this many seconds.
const REFILL_SECONDS: u32 = 10;

/// For each user who has used time lately: when the whole budget is available again.
#[derive(Clone, Default)]
pub struct DecodingBudget(Arc<Mutex<HashMap<UserId, Instant>>>);

impl DecodingBudget {
    /// Begins to decode an image. Returns None if the user has no time left. Dropping the guard takes the time since
    /// `now`, at most [`MAX_IMAGE_TIME`], from the budget.
    pub fn begin(&self, user: &UserId, now: Instant) -> Option<Decoding> {
        let full_at = self.lock().get(user).copied().unwrap_or(now);
        let is_left = full_at.saturating_duration_since(now) < BUDGET * REFILL_SECONDS;
        is_left.then(|| Decoding { budget: self.clone(), user: user.clone(), began: now })
    }

    /// Takes time from the budget of a user.
    fn take(&self, user: &UserId, time: Duration, now: Instant) {
        let mut users = self.lock();
        let full_at = users.entry(user.clone()).or_insert(now);
        *full_at = now.max(*full_at) + time * REFILL_SECONDS;
    }

    /// Removes the state of users with a whole budget.
    pub fn drop_full(&self, now: Instant) {
        self.lock().retain(|_, full_at| *full_at > now);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An image that is being decoded.
pub struct Decoding {
    budget: DecodingBudget,
    user: UserId,
    began: Instant,
}

impl Drop for Decoding {
    fn drop(&mut self) {
        let now = Instant::now();
        let time = now.saturating_duration_since(self.began).min(MAX_IMAGE_TIME);
        self.budget.take(&self.user, time, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn budget_is_used_up_and_refilled_for_each_user() {
        let (budget, now) = (DecodingBudget::default(), Instant::now());
        let [alice, bob] = ["alice", "bob"].map(|name| UserId::parse(name).unwrap());
        // A guard that is dropped takes the real time since `now`, so the test forgets it.
        let may_decode = |user: &UserId, at: Instant| budget.begin(user, at).map(std::mem::forget).is_some();
        budget.take(&alice, 29 * SECOND, now);
        assert!(may_decode(&alice, now));
        budget.take(&alice, 6 * SECOND, now);
        assert!(!may_decode(&alice, now) && may_decode(&bob, now));
        assert!(!may_decode(&alice, now + 50 * SECOND) && may_decode(&alice, now + 51 * SECOND));
        budget.take(&alice, SECOND, now + 51 * SECOND);
        assert!(!may_decode(&alice, now + 60 * SECOND) && may_decode(&alice, now + 62 * SECOND));
    }

    #[test]
    fn pause_refills_no_more_than_the_whole_budget() {
        let (budget, now) = (DecodingBudget::default(), Instant::now());
        let alice = UserId::parse("alice").unwrap();
        budget.take(&alice, SECOND, now);
        budget.drop_full(now + 9 * SECOND);
        assert_eq!(budget.lock().len(), 1);
        budget.take(&alice, 30 * SECOND, now + 3_600 * SECOND);
        assert!(budget.begin(&alice, now + 3_600 * SECOND).is_none());
        budget.drop_full(now + 3_900 * SECOND);
        assert_eq!(budget.lock().len(), 0);
    }

    #[test]
    fn dropped_guard_takes_the_time_since_its_begin() {
        let budget = DecodingBudget::default();
        let alice = UserId::parse("alice").unwrap();
        let now = Instant::now();
        budget.take(&alice, 25 * SECOND, now);
        let long_ago = now.checked_sub(20 * SECOND).expect("the machine runs longer");
        let decoding = Decoding { budget: budget.clone(), user: alice.clone(), began: long_ago };
        assert!(budget.begin(&alice, now).map(std::mem::forget).is_some());
        drop(decoding);
        let now = Instant::now();
        assert!(budget.begin(&alice, now + 40 * SECOND).is_none(), "ten seconds were taken");
        assert!(budget.begin(&alice, now + 60 * SECOND).map(std::mem::forget).is_some(), "not twenty");
    }
}
