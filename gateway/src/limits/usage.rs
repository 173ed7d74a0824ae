//! The tokens of one limit that users spend on this node, and the users who must wait because they spent too many
//! tokens on all nodes.

use std::{
    mem,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use tidings_shared::ids::UserId;

/// The tokens of one limit that were spent since the last report, and the waits that earlier reports have caused.
#[derive(Debug)]
pub(super) struct NodeUsage {
    spent: FxHashMap<UserId, u32>,
    /// When the last report began.
    since: Instant,
    refused_until: FxHashMap<UserId, Instant>,
}

impl NodeUsage {
    pub fn new(now: Instant) -> Self {
        Self { spent: FxHashMap::default(), since: now, refused_until: FxHashMap::default() }
    }

    /// Fails with the remaining milliseconds of a user's wait.
    pub fn check_wait(&self, user: &UserId) -> Result<(), u64> {
        if self.refused_until.is_empty() {
            return Ok(());
        }
        let left = self.refused_until.get(user).map(|until| until.saturating_duration_since(Instant::now()));
        match left {
            Some(left) if !left.is_zero() => Err(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)),
            _ => Ok(()),
        }
    }

    pub fn spend(&mut self, user: &UserId, count: u32) {
        if let Some(spent) = self.spent.get_mut(user) {
            *spent = spent.saturating_add(count);
        } else {
            self.spent.insert(user.clone(), count);
        }
    }

    /// Takes the users who have spent at least `min_tokens` tokens since the last call, and the time since that call.
    /// The tokens of other users are not carried over. Also removes the waits that are over.
    pub fn take_spent(&mut self, min_tokens: u32, now: Instant) -> (Vec<(UserId, u32)>, Duration) {
        self.refused_until.retain(|_, until| *until > now);
        self.refused_until.shrink_to(self.refused_until.len() * 2);
        let spent =
            mem::take(&mut self.spent).into_iter().filter(|(_, count)| *count >= min_tokens).collect();
        (spent, now - mem::replace(&mut self.since, now))
    }

    /// Makes [`NodeUsage::check_wait`] fail for a user until this time.
    pub fn refuse_until(&mut self, user: UserId, until: Instant) {
        self.refused_until.insert(user, until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_below_minimum_is_not_reported_and_wait_ends() {
        let user = |id: &str| UserId::parse(id).unwrap();
        let begun = Instant::now();
        let mut usage = NodeUsage::new(begun);
        usage.spend(&user("alice"), 1);
        usage.spend(&user("alice"), 2);
        usage.spend(&user("bob"), 1);
        let second = begun + Duration::from_secs(1);
        assert_eq!(usage.take_spent(2, second), (vec![(user("alice"), 3)], Duration::from_secs(1)));
        assert_eq!(usage.take_spent(1, second), (vec![], Duration::ZERO), "bob's token is not carried over");
        assert_eq!(usage.check_wait(&user("alice")), Ok(()));
        usage.refuse_until(user("alice"), Instant::now() + Duration::from_secs(60));
        assert!(usage.check_wait(&user("alice")).is_err_and(|ms| (50_000..=60_000).contains(&ms)));
        assert_eq!(usage.check_wait(&user("bob")), Ok(()));
        usage.take_spent(1, Instant::now() + Duration::from_secs(61));
        assert_eq!(usage.check_wait(&user("alice")), Ok(()));
    }
}
