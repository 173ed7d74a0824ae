//! Limits the number of concurrent long requests, both in total and for each user, so that no user can take all slots.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{ErrorCode, RETRY_AFTER_MS, Refusal};
use crate::ids::UserId;

/// The slots for concurrent requests of one kind.
pub struct RequestSlots {
    total: usize,
    per_user: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    total: usize,
    by_user: HashMap<UserId, usize>,
}

impl RequestSlots {
    /// Creates `total` slots, of which one user may hold at most `per_user` at a time.
    pub fn new(total: usize, per_user: usize) -> Self {
        Self { total, per_user, taken: Arc::default() }
    }

    /// Acquires a slot for a request; dropping the guard releases the slot. Error messages name the requests by `what`.
    pub fn acquire(&self, user: &UserId, what: &str) -> Result<SlotGuard, Refusal> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.by_user.get(user).is_some_and(|own| *own >= self.per_user) {
            let message =
                format!("at most {} {what} of one user at a time; wait for their answers", self.per_user);
            let refusal = Refusal::new(ErrorCode::RateLimited, message);
            return Err(Refusal { retry_after_ms: Some(RETRY_AFTER_MS), ..refusal });
        }
        if taken.total >= self.total {
            return Err(Refusal::overloaded(format!("too many {what} at the same time; try again")));
        }
        taken.total += 1;
        *taken.by_user.entry(user.clone()).or_default() += 1;
        Ok(SlotGuard { taken: self.taken.clone(), user: user.clone() })
    }
}

/// An acquired slot, which is released when the guard is dropped.
pub struct SlotGuard {
    taken: Arc<Mutex<Taken>>,
    user: UserId,
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.total -= 1;
        if let Some(own) = taken.by_user.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                taken.by_user.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    #[test]
    fn slots_are_limited_per_user_and_in_total() {
        let slots = RequestSlots::new(3, 2);
        let code = |user: &UserId| slots.acquire(user, "waits").map(drop).map_err(|refusal| refusal.code);
        let (alice, bob, carol) = (user("alice"), user("bob"), user("carol"));
        let (first, _second) =
            (slots.acquire(&alice, "waits").unwrap(), slots.acquire(&alice, "waits").unwrap());
        assert_eq!(code(&alice), Err(ErrorCode::RateLimited));
        let _of_bob = slots.acquire(&bob, "waits").unwrap();
        assert_eq!(code(&carol), Err(ErrorCode::Overloaded));
        drop(first);
        assert_eq!((code(&carol), code(&alice)), (Ok(()), Ok(())));
    }

    #[test]
    fn user_without_a_slot_is_forgotten() {
        let slots = RequestSlots::new(3, 2);
        drop(slots.acquire(&user("alice"), "waits"));
        let taken = slots.taken.lock().unwrap();
        assert_eq!((taken.total, taken.by_user.len()), (0, 0));
    }
}
