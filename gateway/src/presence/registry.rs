//! Who is connected to this node, and what of it is still to be put into Redis.
//!
//! Pure, and told the time. One state for each user, whatever the number of their connections: only changes of it
//! leave the node, of one user at most one a second, and what came to nothing meanwhile does not leave it at all.

use std::mem;

use rustc_hash::FxHashMap;
use tidings_shared::{
    ids::UserId,
    presence::{Put, higher, rank},
    protocol::Status,
};

/// Least time between two changes of one user that leave the node: whoever flaps is told of once in it.
pub(super) const REST_MS: u32 = 1000;

/// What the node holds of one user.
#[derive(Default)]
struct Here {
    online: u32,
    away: u32,
    /// What Redis was given last.
    given: Option<Status>,
    /// The highest that was lost by a connection's end since then, and is not there again.
    closed: Option<Status>,
    queued: bool,
    /// When something was given last.
    given_at: u32,
}

impl Here {
    fn state(&self) -> Option<Status> {
        match (self.online, self.away) {
            (0, 0) => None,
            (0, _) => Some(Status::Away),
            _ => Some(Status::Online),
        }
    }

    fn count(&mut self, status: Status) -> &mut u32 {
        match status {
            Status::Online => &mut self.online,
            Status::Away => &mut self.away,
        }
    }
}

/// See the module. Times are milliseconds of a clock of the caller's that may wrap around.
#[derive(Default)]
pub(super) struct Registry {
    here: FxHashMap<UserId, Here>,
    due: Vec<UserId>,
    resting: Vec<UserId>,
    /// Who polls, with what they say of themselves.
    polls: FxHashMap<UserId, Option<Status>>,
}

impl Registry {
    /// A connection opened. True: there is something to be put.
    pub fn opened(&mut self, user: &UserId, status: Status, now: u32) -> bool {
        let here = self.here.entry(user.clone()).or_insert_with(|| Here {
            // Someone new has no reason to wait.
            given_at: now.wrapping_sub(REST_MS),
            ..Here::default()
        });
        *here.count(status) += 1;
        self.changed(user, None, now)
    }

    /// A connection closed.
    pub fn closed(&mut self, user: &UserId, status: Status, now: u32) -> bool {
        let Some(here) = self.here.get_mut(user) else { return false };
        let before = here.state();
        let count = here.count(status);
        *count = count.saturating_sub(1);
        self.changed(user, before, now)
    }

    /// A connection says something else of itself.
    pub fn moved(&mut self, user: &UserId, from: Status, to: Status, now: u32) -> bool {
        let Some(here) = self.here.get_mut(user) else { return false };
        let count = here.count(from);
        *count = count.saturating_sub(1);
        *here.count(to) += 1;
        self.changed(user, None, now)
    }

    /// Somebody polls.
    pub fn polled(&mut self, user: &UserId, status: Option<Status>) -> bool {
        let polled = self.polls.entry(user.clone()).or_default();
        *polled = status.or(*polled);
        true
    }

    /// These could not be put.
    pub fn poll_again(&mut self, polls: Vec<(UserId, Option<Status>)>) {
        for (user, status) in polls {
            let polled = self.polls.entry(user).or_default();
            // What was said meanwhile is newer.
            *polled = polled.or(status);
        }
    }

    /// `before`: what the user was before a connection closed.
    fn changed(&mut self, user: &UserId, before: Option<Status>, now: u32) -> bool {
        let Some(here) = self.here.get_mut(user) else { return false };
        let state = here.state();
        if rank(state) < rank(before) {
            here.closed = higher(here.closed, before);
        }
        if rank(state) >= rank(here.closed) {
            here.closed = None;
        }
        if mem::replace(&mut here.queued, true) {
            return false;
        }
        let rested = now.wrapping_sub(here.given_at) >= REST_MS;
        if rested {
            self.due.push(user.clone())
        } else {
            self.resting.push(user.clone())
        }
        rested
    }

    /// What is to be put now, of up to `most` users; those who rested long enough are among them.
    pub fn take(&mut self, most: usize, now: u32) -> Vec<Put> {
        let here = &self.here;
        let rested =
            |user: &mut UserId| here.get(user).is_none_or(|h| now.wrapping_sub(h.given_at) >= REST_MS);
        self.due.extend(self.resting.extract_if(.., rested));
        let mut puts = Vec::new();
        while puts.len() < most {
            let Some(user) = self.due.pop() else { break };
            let Some(here) = self.here.get_mut(&user) else { continue };
            here.queued = false;
            let (status, grace) = (here.state(), here.closed.take());
            let nothing_new = status == here.given && grace.is_none();
            here.given = status;
            if !nothing_new {
                here.given_at = now;
                puts.push(Put { user: user.clone(), status, grace });
            }
            if status.is_none() {
                self.here.remove(&user);
            }
        }
        if self.due.is_empty() {
            // What a burst left behind is given back.
            self.due.shrink_to(most);
            self.resting.shrink_to(most);
            self.here.shrink_to(self.here.len() * 2);
        }
        puts
    }

    /// Who polls since the last time.
    pub fn take_polls(&mut self) -> Vec<(UserId, Option<Status>)> {
        mem::take(&mut self.polls).into_iter().collect()
    }

    /// Redis knows nothing of anybody any more.
    pub fn forgotten(&mut self) {
        for (user, here) in &mut self.here {
            here.given = None;
            if !mem::replace(&mut here.queued, true) {
                self.due.push(user.clone());
            }
        }
    }

    /// Users that the node holds.
    pub fn len(&self) -> usize {
        self.here.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::{Away, Online};

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    /// What is put at a time, as (status, grace); nobody but `a` is here.
    fn taken(registry: &mut Registry, now: u32) -> Vec<(Option<Status>, Option<Status>)> {
        registry.take(10, now).into_iter().map(|put| (put.status, put.grace)).collect()
    }

    #[test]
    fn only_a_change_of_the_whole_is_put() {
        let (mut registry, a) = (Registry::default(), user("a"));
        assert!(registry.opened(&a, Online, 0));
        assert_eq!(taken(&mut registry, 0), [(Some(Online), None)]);
        registry.opened(&a, Away, 1000);
        registry.opened(&a, Online, 1000);
        registry.closed(&a, Online, 1000);
        assert_eq!(taken(&mut registry, 2000), []);
        registry.closed(&a, Online, 3000);
        assert_eq!(taken(&mut registry, 3000), [(Some(Away), Some(Online))]);
        registry.closed(&a, Away, 5000);
        assert_eq!(taken(&mut registry, 5000), [(None, Some(Away))]);
        assert_eq!(registry.len(), 0);
    }

    #[test]
    fn a_connection_that_closes_leaves_a_grace_and_one_that_says_away_does_not() {
        let (mut registry, a) = (Registry::default(), user("a"));
        registry.opened(&a, Online, 0);
        taken(&mut registry, 0);
        registry.moved(&a, Online, Away, 2000);
        registry.closed(&a, Away, 2000);
        // Away was said before it closed: that is what the grace keeps.
        assert_eq!(taken(&mut registry, 2000), [(None, Some(Away))]);
        registry.opened(&a, Online, 2100);
        registry.closed(&a, Online, 2100);
        registry.opened(&a, Online, 2100);
        assert_eq!(taken(&mut registry, 3100), [(Some(Online), None)], "it is there again");
    }

    #[test]
    fn who_flaps_is_put_once_a_second_and_not_at_all_when_it_comes_to_nothing() {
        let (mut registry, a) = (Registry::default(), user("a"));
        registry.opened(&a, Online, 0);
        assert_eq!(taken(&mut registry, 0), [(Some(Online), None)]);
        assert!(!registry.moved(&a, Online, Away, 10), "it rests");
        assert_eq!(taken(&mut registry, 999), []);
        registry.moved(&a, Away, Online, 999);
        registry.moved(&a, Online, Away, 999);
        assert_eq!(taken(&mut registry, 1000), [(Some(Away), None)]);
        registry.moved(&a, Away, Online, 1100);
        registry.moved(&a, Online, Away, 1200);
        assert_eq!(taken(&mut registry, 2200), []);
    }

    #[test]
    fn after_redis_forgot_everybody_is_put_again_in_pieces() {
        let mut registry = Registry::default();
        for n in 0..25 {
            registry.opened(&user(&n.to_string()), Online, u32::MAX);
        }
        assert_eq!(registry.take(100, u32::MAX).len(), 25);
        registry.forgotten();
        registry.forgotten();
        let pieces: Vec<usize> = (0..4).map(|_| registry.take(10, 5).len()).collect();
        assert_eq!((pieces, registry.len()), (vec![10, 10, 5, 0], 25));
    }

    #[test]
    fn what_a_poller_says_of_themselves_stands_until_they_say_else() {
        let (mut registry, a) = (Registry::default(), user("a"));
        registry.polled(&a, Some(Away));
        registry.polled(&a, None);
        assert_eq!(registry.take_polls(), [(a.clone(), Some(Away))]);
        registry.polled(&a, None);
        let failed = registry.take_polls();
        assert_eq!(failed, [(a.clone(), None)]);
        registry.polled(&a, Some(Online));
        registry.poll_again(vec![(a.clone(), Some(Away))]);
        assert_eq!(registry.take_polls(), [(a, Some(Online))]);
    }
}
