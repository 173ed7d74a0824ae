//! Limits the concurrent attempts of a replica per user and per host, so that slow devices of one user and one slow
//! push service do not delay the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Attempts for one user at the same time. A user has at most 20 devices.
pub const MAX_ATTEMPTS_PER_USER: usize = 4;
/// One host may have this fraction of the attempts: one in four if the value is 4.
const HOST_SHARE: usize = 4;

/// The numbers of attempts that are under way.
#[derive(Debug, Default, Clone)]
pub struct AttemptCounts {
    pub users: HashMap<String, usize>,
    pub hosts: HashMap<String, usize>,
}

/// The attempts that are under way, and their limits.
#[derive(Debug, Clone)]
pub struct AttemptSlots {
    counts: Arc<Mutex<AttemptCounts>>,
    /// Attempts at one host at the same time.
    pub max_per_host: usize,
}

/// An attempt that counts until it is dropped.
#[derive(Debug)]
pub struct AttemptSlot {
    slots: AttemptSlots,
    user: String,
    host: String,
}

impl AttemptSlots {
    /// Slots of a replica that makes `concurrency` attempts at the same time.
    pub fn new(concurrency: usize) -> Self {
        Self { counts: Arc::default(), max_per_host: (concurrency / HOST_SHARE).max(1) }
    }

    /// The attempts that are under way now.
    pub fn counts(&self) -> AttemptCounts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a slot. None if the user or the host is at its limit.
    pub fn take(&self, user: &str, host: &str) -> Option<AttemptSlot> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let AttemptCounts { users, hosts } = &mut *counts;
        if users.get(user).is_some_and(|count| *count >= MAX_ATTEMPTS_PER_USER)
            || hosts.get(host).is_some_and(|count| *count >= self.max_per_host)
        {
            return None;
        }
        *users.entry(user.to_owned()).or_default() += 1;
        *hosts.entry(host.to_owned()).or_default() += 1;
        Some(AttemptSlot { slots: self.clone(), user: user.to_owned(), host: host.to_owned() })
    }
}

impl Drop for AttemptSlot {
    fn drop(&mut self) {
        let mut counts = self.slots.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let AttemptCounts { users, hosts } = &mut *counts;
        decrement(users, &self.user);
        decrement(hosts, &self.host);
    }
}

fn decrement(counts: &mut HashMap<String, usize>, key: &str) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_user_and_full_host_get_no_slot_and_others_do() {
        let slots = AttemptSlots::new(32);
        let mut taken: Vec<_> =
            (0..MAX_ATTEMPTS_PER_USER).map(|_| slots.take("alice", "slow").unwrap()).collect();
        assert!(slots.take("alice", "other").is_none());
        taken.extend((4..slots.max_per_host).map(|n| slots.take(&format!("user{n}"), "slow").unwrap()));
        assert!(slots.take("bob", "slow").is_none());
        assert!(slots.take("bob", "other").is_some());
        taken.pop();
        assert!(slots.take("bob", "slow").is_some());
        drop(taken);
        let counts = slots.counts.lock().unwrap();
        assert!(counts.users.is_empty() && counts.hosts.is_empty(), "what has no attempt needs no memory");
    }

    #[test]
    fn one_attempt_at_a_host_is_always_allowed() {
        assert_eq!(
            [1, 4, 8, 64].map(|concurrency| AttemptSlots::new(concurrency).max_per_host),
            [1, 1, 2, 16]
        );
    }
}
