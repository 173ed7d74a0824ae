//! Limits the number of concurrent long requests, both in total and for each user, so that no user can take all slots.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::error::{RETRY_AFTER_MS, Refusal};
use crate::ids::UserId;

/// How many requests of one user may have or await a slot. Further requests are refused at once.
const MAX_REQUESTS_PER_USER: usize = 256;

/// The slots of concurrent requests of one kind.
pub struct RequestSlots {
    total: Arc<Semaphore>,
    per_user: usize,
    users: UserSlots,
}

/// For each user who holds a slot or waits for one: the user's slots, and the number of the user's requests.
type UserSlots = Arc<Mutex<HashMap<UserId, (Arc<Semaphore>, usize)>>>;

impl RequestSlots {
    /// Creates `total` slots, of which one user may hold at most `per_user` at a time.
    pub fn new(total: usize, per_user: usize) -> Self {
        Self { total: Arc::new(Semaphore::new(total)), per_user, users: Arc::default() }
    }

    /// Creates `per_user` slots for each user, without a limit for all users together.
    pub fn per_user(per_user: usize) -> Self {
        Self::new(Semaphore::MAX_PERMITS, per_user)
    }

    /// Acquires a slot for a request; dropping the guard releases the slot. Refuses at once if no slot is free. Error
    /// messages name the requests by `what`.
    pub fn acquire(&self, user: &UserId, what: &str) -> Result<SlotGuard, Refusal> {
        let entry = self.register_request(user);
        let own = entry.slots.clone().try_acquire_owned().map_err(|_| self.user_limit_refusal(what))?;
        let shared = self.total.clone().try_acquire_owned().map_err(|_| total_limit_refusal(what))?;
        Ok(SlotGuard { _own: own, _shared: shared, _entry: entry })
    }

    /// Acquires a slot as [`RequestSlots::acquire`] does, but waits for a free one until the time `within` has passed.
    /// A request waits first for a slot of its user, and then for one of the slots of all users. So at most `per_user`
    /// requests of a user are in the queue in which the requests of all users wait. Refuses at once if the user has more
    /// than [`MAX_REQUESTS_PER_USER`] requests.
    pub async fn acquire_within(
        &self,
        user: &UserId,
        what: &str,
        within: Duration,
    ) -> Result<SlotGuard, Refusal> {
        let (entry, deadline) = (self.register_request(user), Instant::now() + within);
        if entry.number > MAX_REQUESTS_PER_USER {
            return Err(self.user_limit_refusal(what));
        }
        // The semaphores are never closed, so each error means that the time has passed.
        let Ok(Ok(own)) = timeout_at(deadline, entry.slots.clone().acquire_owned()).await else {
            return Err(self.user_limit_refusal(what));
        };
        let Ok(Ok(shared)) = timeout_at(deadline, self.total.clone().acquire_owned()).await else {
            return Err(total_limit_refusal(what));
        };
        Ok(SlotGuard { _own: own, _shared: shared, _entry: entry })
    }

    /// Counts a request of the user, and creates the slots of the user if it is the first one.
    fn register_request(&self, user: &UserId) -> RegisteredRequest {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let (slots, requests) =
            users.entry(user.clone()).or_insert_with(|| (Arc::new(Semaphore::new(self.per_user)), 0));
        *requests += 1;
        RegisteredRequest {
            slots: slots.clone(),
            number: *requests,
            users: self.users.clone(),
            user: user.clone(),
        }
    }

    fn user_limit_refusal(&self, what: &str) -> Refusal {
        let message =
            format!("at most {} {what} of one user at a time; wait for their answers", self.per_user);
        Refusal::rate_limited(message, RETRY_AFTER_MS)
    }
}

fn total_limit_refusal(what: &str) -> Refusal {
    Refusal::overloaded(format!("too many {what} at the same time; try again"))
}

/// An acquired slot, which is released when the guard is dropped.
pub struct SlotGuard {
    // Fields are dropped in this order. `_entry` is last, because the entry of the user may be removed only after the
    // slot is released.
    _own: OwnedSemaphorePermit,
    _shared: OwnedSemaphorePermit,
    _entry: RegisteredRequest,
}

/// A counted request, with the slots of its user. When the last request of a user is dropped, the entry of the user is
/// removed.
struct RegisteredRequest {
    slots: Arc<Semaphore>,
    /// The number of requests of the user, including this one, when it was counted.
    number: usize,
    users: UserSlots,
    user: UserId,
}

impl Drop for RegisteredRequest {
    fn drop(&mut self) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, requests)) = users.get_mut(&self.user) {
            *requests -= 1;
            if *requests == 0 {
                users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

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
    fn entry_of_user_without_slot_is_removed() {
        let slots = RequestSlots::new(3, 1);
        let held = slots.acquire(&user("alice"), "waits").unwrap();
        assert!(slots.acquire(&user("alice"), "waits").is_err());
        assert_eq!(slots.users.lock().unwrap().len(), 1);
        drop(held);
        assert_eq!((slots.users.lock().unwrap().len(), slots.total.available_permits()), (0, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_requests_of_one_user_do_not_delay_another() {
        let slots = Arc::new(RequestSlots::new(2, 1));
        let (alice, bob) = (user("alice"), user("bob"));
        let wait = |user: &UserId| {
            let (slots, user) = (slots.clone(), user.clone());
            async move { slots.acquire_within(&user, "waits", Duration::from_secs(3)).await }
        };
        let held = wait(&alice).await.unwrap();
        let waiting: Vec<_> = (0..10).map(|_| tokio::spawn(wait(&alice))).collect();
        tokio::task::yield_now().await;
        assert!(wait(&bob).await.is_ok());
        drop(held);
        let mut granted = 0;
        for waiting in waiting {
            match waiting.await.unwrap() {
                Ok(_released_at_once) => granted += 1,
                Err(refusal) => assert_eq!(refusal.code, ErrorCode::RateLimited),
            }
        }
        assert_eq!((granted, slots.users.lock().unwrap().len()), (10, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_requests_of_one_user_are_limited() {
        let slots = Arc::new(RequestSlots::per_user(1));
        let alice = user("alice");
        let _held = slots.acquire(&alice, "waits").unwrap();
        let within = Duration::from_secs(3);
        let wait = || {
            let (slots, alice) = (slots.clone(), alice.clone());
            tokio::spawn(async move { slots.acquire_within(&alice, "waits", within).await.map(drop) })
        };
        let waiting: Vec<_> = (1..MAX_REQUESTS_PER_USER).map(|_| wait()).collect();
        tokio::task::yield_now().await;
        let begun = Instant::now();
        assert!(wait().await.unwrap().is_err());
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    }

    #[tokio::test(start_paused = true)]
    async fn wait_for_a_slot_ends_with_a_coded_refusal() {
        let slots = RequestSlots::new(1, 1);
        let _held = slots.acquire(&user("alice"), "waits").unwrap();
        for (name, code) in [("alice", ErrorCode::RateLimited), ("bob", ErrorCode::Overloaded)] {
            let waited = slots.acquire_within(&user(name), "waits", Duration::from_secs(3)).await;
            let refusal = waited.map(drop).unwrap_err();
            assert_eq!(refusal.code, code);
            assert!(refusal.retry_after_ms.is_some());
        }
        assert_eq!(slots.users.lock().unwrap().len(), 1);
    }
}
