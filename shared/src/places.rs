//! Places for requests that last: some in all, and few of them for one user, so that nobody shuts out the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{ErrorCode, RETRY_AFTER_MS, Refusal};
use crate::ids::UserId;

/// See the module.
pub struct Places {
    all: usize,
    each: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    of: HashMap<UserId, usize>,
}

impl Places {
    #[must_use]
    pub fn new(all: usize, each: usize) -> Self {
        Self { all, each, taken: Arc::default() }
    }

    /// Takes a place for `what`, as people call it; it is given back when the value is dropped.
    ///
    /// # Errors
    /// `rate_limited` when the user has as many as anybody may have; `overloaded` when all are taken.
    pub fn take(&self, user: &UserId, what: &str) -> Result<Place, Refusal> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.of.get(user).is_some_and(|own| *own >= self.each) {
            let message = format!("{} {what} of this user at one time; wait for their answers", self.each);
            let refusal = Refusal::new(ErrorCode::RateLimited, message);
            return Err(Refusal { retry_after_ms: Some(RETRY_AFTER_MS), ..refusal });
        }
        if taken.all >= self.all {
            return Err(Refusal::overloaded(format!("too many {what} at one time; try again")));
        }
        taken.all += 1;
        *taken.of.entry(user.clone()).or_default() += 1;
        Ok(Place { taken: self.taken.clone(), user: user.clone() })
    }
}

/// One of the places.
pub struct Place {
    taken: Arc<Mutex<Taken>>,
    user: UserId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(own) = taken.of.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                taken.of.remove(&self.user);
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
    fn one_user_takes_no_more_than_a_share_and_all_no_more_than_there_is() {
        let places = Places::new(3, 2);
        let code = |user: &UserId| places.take(user, "waits").map(drop).map_err(|refusal| refusal.code);
        let (alice, bob, carol) = (user("alice"), user("bob"), user("carol"));
        let (first, _second) = (places.take(&alice, "waits").unwrap(), places.take(&alice, "waits").unwrap());
        assert_eq!(code(&alice), Err(ErrorCode::RateLimited));
        let _of_bob = places.take(&bob, "waits").unwrap();
        assert_eq!(code(&carol), Err(ErrorCode::Overloaded));
        drop(first);
        assert_eq!((code(&carol), code(&alice)), (Ok(()), Ok(())));
    }

    #[test]
    fn nothing_is_kept_of_who_has_no_place() {
        let places = Places::new(3, 2);
        drop(places.take(&user("alice"), "waits"));
        let taken = places.taken.lock().unwrap();
        assert_eq!((taken.all, taken.of.len()), (0, 0));
    }
}
