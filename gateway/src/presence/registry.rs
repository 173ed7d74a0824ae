//! The users connected to this node, and the changes that must still be written to Redis.
//!
//! The registry is pure: the caller passes the time. All connections of a user are combined into one status. Changes of
//! this status are written at most once per second for each user. Changes that cancel each other out are not written.

use std::{mem, time::Duration};

use rustc_hash::FxHashMap;
use tidings_shared::{
    ids::UserId,
    presence::{NodeState, PresencePartition},
    protocol::Status,
};

/// Minimum interval between two writes of one user. Changes within this interval are combined into one write.
pub(super) const MIN_WRITE_INTERVAL_MS: u32 = 1000;

/// An event of one connection, with the status of the connection.
#[derive(Debug, Clone, Copy)]
pub enum StatusEvent {
    Opened(Status),
    /// The last bytes came from the peer this long before.
    Closed(Status, Duration),
    Changed {
        from: Status,
        to: Status,
    },
}

/// A user with connections to this node.
#[derive(Default)]
struct LocalUser {
    /// Number of connections with the status online.
    online: u32,
    /// Number of connections with the status away.
    away: u32,
    /// The status that was last taken to be written.
    written_status: Option<Status>,
    /// The highest status that the user lost since the last write because a connection closed, and has not regained.
    lost_status: Option<Status>,
    /// Whether the user is in `due_users` or `waiting_users`.
    queued: bool,
    written_at_ms: u32,
    /// The latest time at which a connection opened, changed its status, or sent its last bytes before it closed.
    last_sign_ms: u32,
}

impl LocalUser {
    fn combined_status(&self) -> Option<Status> {
        match (self.online, self.away) {
            (0, 0) => None,
            (0, _) => Some(Status::Away),
            _ => Some(Status::Online),
        }
    }

    fn count_mut(&mut self, status: Status) -> &mut u32 {
        match status {
            Status::Online => &mut self.online,
            Status::Away => &mut self.away,
        }
    }
}

/// The users connected to this node, and their unwritten changes. All times are milliseconds and may wrap around.
#[derive(Default)]
pub(super) struct PresenceRegistry {
    users: FxHashMap<UserId, LocalUser>,
    /// Users whose change may be written now.
    due_users: Vec<UserId>,
    /// Users whose change must wait for the minimum interval.
    waiting_users: Vec<UserId>,
    /// Users who polled since the last write, with the status that their polls set.
    polls: FxHashMap<UserId, Option<Status>>,
}

impl PresenceRegistry {
    /// Records an event of one connection of a user. Returns true if a change can be written at once.
    pub fn record_status_event(&mut self, user: &UserId, event: StatusEvent, now_ms: u32) -> bool {
        let (from, to, silence) = match event {
            StatusEvent::Opened(status) => (None, Some(status), Duration::ZERO),
            StatusEvent::Closed(status, silence) => (Some(status), None, silence),
            StatusEvent::Changed { from, to } => (Some(from), Some(to), Duration::ZERO),
        };
        if from.is_none() {
            // The first change of a new user need not wait.
            let written_at_ms = now_ms.wrapping_sub(MIN_WRITE_INTERVAL_MS);
            let new_user = || LocalUser { written_at_ms, last_sign_ms: now_ms, ..LocalUser::default() };
            self.users.entry(user.clone()).or_insert_with(new_user);
        }
        let Some(user_state) = self.users.get_mut(user) else { return false };
        let silence_ms = u32::try_from(silence.as_millis()).unwrap_or(u32::MAX);
        if silence_ms < now_ms.wrapping_sub(user_state.last_sign_ms) {
            user_state.last_sign_ms = now_ms.wrapping_sub(silence_ms);
        }
        // The earlier status is kept for a grace period only if a connection closes.
        let before = if to.is_none() { user_state.combined_status() } else { None };
        if let Some(from) = from {
            let count = user_state.count_mut(from);
            *count = count.saturating_sub(1);
        }
        if let Some(to) = to {
            *user_state.count_mut(to) += 1;
        }
        let state = user_state.combined_status();
        if state < before {
            user_state.lost_status = user_state.lost_status.max(before);
        }
        if state >= user_state.lost_status {
            user_state.lost_status = None;
        }
        if mem::replace(&mut user_state.queued, true) {
            return false;
        }
        let may_be_written = now_ms.wrapping_sub(user_state.written_at_ms) >= MIN_WRITE_INTERVAL_MS;
        let queue = if may_be_written { &mut self.due_users } else { &mut self.waiting_users };
        queue.push(user.clone());
        may_be_written
    }

    /// Records a poll of a user, and the status if the poll sets one. Returns true, because a poll is always written.
    pub fn record_poll(&mut self, user: &UserId, status: Option<Status>) -> bool {
        let polled = self.polls.entry(user.clone()).or_default();
        *polled = status.or(*polled);
        true
    }

    /// Puts back polls that could not be written to Redis.
    pub fn requeue_polls(&mut self, polls: Vec<(UserId, Option<Status>)>) {
        for (user, status) in polls {
            let polled = self.polls.entry(user).or_default();
            // A status that a later poll has set meanwhile is newer, so it stays.
            *polled = polled.or(status);
        }
    }

    /// Takes the states to write, of up to `max_users` users of these partitions. These include waiting users who were
    /// last written at least `min_interval_ms` ago.
    pub fn take_states(
        &mut self,
        partitions: &[PresencePartition],
        max_users: usize,
        now_ms: u32,
        min_interval_ms: u32,
    ) -> Vec<NodeState> {
        let users = &self.users;
        let may_be_written = |user: &mut UserId| {
            users.get(user).is_none_or(|state| now_ms.wrapping_sub(state.written_at_ms) >= min_interval_ms)
        };
        self.due_users.extend(self.waiting_users.extract_if(.., may_be_written));
        let (mut states, mut others) = (Vec::new(), Vec::new());
        while states.len() < max_users {
            let Some(user) = self.due_users.pop() else { break };
            if !partitions.contains(&PresencePartition::of(&user)) {
                others.push(user);
                continue;
            }
            let Some(user_state) = self.users.get_mut(&user) else { continue };
            user_state.queued = false;
            let (status, grace) = (user_state.combined_status(), user_state.lost_status.take());
            let unchanged = status == user_state.written_status && grace.is_none();
            user_state.written_status = status;
            if !unchanged {
                user_state.written_at_ms = now_ms;
                let last_sign_ms = user_state.last_sign_ms;
                states.push(NodeState { user: user.clone(), status, grace, last_sign_ms });
            }
            if status.is_none() {
                self.users.remove(&user);
            }
        }
        self.due_users.append(&mut others);
        if self.due_users.is_empty() {
            // Releases the memory that a burst has used.
            self.due_users.shrink_to(max_users);
            self.waiting_users.shrink_to(max_users);
            self.users.shrink_to(self.users.len() * 2);
        }
        states
    }

    /// Takes the users of these partitions who polled since the last call, and the status that their polls set.
    pub fn take_polls(&mut self, partitions: &[PresencePartition]) -> Vec<(UserId, Option<Status>)> {
        let is_taken = |user: &UserId, _: &mut _| partitions.contains(&PresencePartition::of(user));
        let polls = self.polls.extract_if(is_taken).collect();
        if self.polls.is_empty() {
            // Releases the memory that a burst has used.
            self.polls = FxHashMap::default();
        }
        polls
    }

    /// Queues all users of these partitions to be written again, because Redis has lost their presence.
    pub fn reset_written(&mut self, partitions: &[PresencePartition]) {
        for (user, user_state) in &mut self.users {
            if !partitions.contains(&PresencePartition::of(user)) {
                continue;
            }
            user_state.written_status = None;
            if !mem::replace(&mut user_state.queued, true) {
                self.due_users.push(user.clone());
            }
        }
    }

    pub fn user_count(&self) -> usize {
        self.users.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::{Away, Online};
    use StatusEvent::{Changed, Opened};

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    fn closed(status: Status) -> StatusEvent {
        StatusEvent::Closed(status, Duration::ZERO)
    }

    fn all() -> Vec<PresencePartition> {
        PresencePartition::all().collect()
    }

    /// Takes the changes as pairs of status and grace. Only user `a` is connected.
    fn take_changes(registry: &mut PresenceRegistry, now_ms: u32) -> Vec<(Option<Status>, Option<Status>)> {
        registry
            .take_states(&all(), 10, now_ms, MIN_WRITE_INTERVAL_MS)
            .into_iter()
            .map(|state| (state.status, state.grace))
            .collect()
    }

    #[test]
    fn only_change_of_combined_status_is_written() {
        let (mut registry, a) = (PresenceRegistry::default(), user("a"));
        assert!(registry.record_status_event(&a, Opened(Online), 0));
        assert_eq!(take_changes(&mut registry, 0), [(Some(Online), None)]);
        registry.record_status_event(&a, Opened(Away), 1000);
        registry.record_status_event(&a, Opened(Online), 1000);
        registry.record_status_event(&a, closed(Online), 1000);
        assert_eq!(take_changes(&mut registry, 2000), []);
        registry.record_status_event(&a, closed(Online), 3000);
        assert_eq!(take_changes(&mut registry, 3000), [(Some(Away), Some(Online))]);
        registry.record_status_event(&a, closed(Away), 5000);
        assert_eq!(take_changes(&mut registry, 5000), [(None, Some(Away))]);
        assert_eq!(registry.user_count(), 0);
    }

    #[test]
    fn closing_leaves_grace_but_setting_away_does_not() {
        let (mut registry, a) = (PresenceRegistry::default(), user("a"));
        registry.record_status_event(&a, Opened(Online), 0);
        take_changes(&mut registry, 0);
        registry.record_status_event(&a, Changed { from: Online, to: Away }, 2000);
        registry.record_status_event(&a, closed(Away), 2000);
        // The status was away before the connection closed, so the user stays away during the grace period.
        assert_eq!(take_changes(&mut registry, 2000), [(None, Some(Away))]);
        registry.record_status_event(&a, Opened(Online), 2100);
        registry.record_status_event(&a, closed(Online), 2100);
        registry.record_status_event(&a, Opened(Online), 2100);
        assert_eq!(take_changes(&mut registry, 3100), [(Some(Online), None)], "the user is online again");
    }

    #[test]
    fn flapping_user_is_written_once_a_second_or_not_at_all() {
        let (mut registry, a) = (PresenceRegistry::default(), user("a"));
        registry.record_status_event(&a, Opened(Online), 0);
        assert_eq!(take_changes(&mut registry, 0), [(Some(Online), None)]);
        assert!(
            !registry.record_status_event(&a, Changed { from: Online, to: Away }, 10),
            "the change must wait"
        );
        assert_eq!(take_changes(&mut registry, 999), []);
        registry.record_status_event(&a, Changed { from: Away, to: Online }, 999);
        registry.record_status_event(&a, Changed { from: Online, to: Away }, 999);
        assert_eq!(take_changes(&mut registry, 1000), [(Some(Away), None)]);
        registry.record_status_event(&a, Changed { from: Away, to: Online }, 1100);
        registry.record_status_event(&a, Changed { from: Online, to: Away }, 1200);
        assert_eq!(take_changes(&mut registry, 2200), []);
    }

    #[test]
    fn user_was_last_seen_at_last_sign_of_any_connection() {
        let (mut registry, a) = (PresenceRegistry::default(), user("a"));
        let silent = |seconds| StatusEvent::Closed(Online, Duration::from_secs(seconds));
        let mut seen_at = |events: &[(StatusEvent, u32)]| {
            for (event, at_ms) in events {
                registry.record_status_event(&a, *event, *at_ms);
            }
            registry.take_states(&all(), 10, 70_000, 0).pop().map(|state| state.last_sign_ms)
        };
        // The second connection was cut off at 5,000, after the first had closed.
        let cut = [(Opened(Online), 0), (Opened(Online), 0), (silent(0), 3000), (silent(50), 55_000)];
        assert_eq!(seen_at(&cut), Some(5000));
        let closed = [(Opened(Online), 0), (Opened(Online), 0), (silent(0), 30_000), (silent(50), 55_000)];
        assert_eq!(seen_at(&closed), Some(30_000), "the first closed later");
        assert_eq!(seen_at(&[(Opened(Online), 1000), (silent(90), 60_000)]), Some(1000), "it opened later");
    }

    #[test]
    fn after_reset_all_users_are_written_again_in_batches() {
        let mut registry = PresenceRegistry::default();
        for n in 0..25 {
            registry.record_status_event(&user(&n.to_string()), Opened(Online), u32::MAX);
        }
        assert_eq!(registry.take_states(&all(), 100, u32::MAX, MIN_WRITE_INTERVAL_MS).len(), 25);
        registry.reset_written(&all());
        registry.reset_written(&all());
        let batches: Vec<usize> =
            (0..4).map(|_| registry.take_states(&all(), 10, 5, MIN_WRITE_INTERVAL_MS).len()).collect();
        assert_eq!((batches, registry.user_count()), (vec![10, 10, 5, 0], 25));
    }

    #[test]
    fn status_of_polling_user_stays_until_changed() {
        let (mut registry, a) = (PresenceRegistry::default(), user("a"));
        registry.record_poll(&a, Some(Away));
        registry.record_poll(&a, None);
        assert_eq!(registry.take_polls(&all()), [(a.clone(), Some(Away))]);
        registry.record_poll(&a, None);
        let failed = registry.take_polls(&all());
        assert_eq!(failed, [(a.clone(), None)]);
        registry.record_poll(&a, Some(Online));
        registry.requeue_polls(vec![(a.clone(), Some(Away))]);
        assert_eq!(registry.take_polls(&all()), [(a, Some(Online))]);
    }

    #[test]
    fn users_of_other_partitions_stay_queued() {
        let mut registry = PresenceRegistry::default();
        let (alice, bob) = (user("alice"), user("bob"));
        for user in [&alice, &bob] {
            registry.record_status_event(user, Opened(Online), 0);
            registry.record_poll(user, None);
        }
        let partition_of = |user: &UserId| [PresencePartition::of(user)];
        let mut take = |of: &UserId| {
            let states = registry.take_states(&partition_of(of), 10, 0, MIN_WRITE_INTERVAL_MS);
            let polls = registry.take_polls(&partition_of(of));
            registry.reset_written(&partition_of(of));
            (states.len(), polls.len(), states.into_iter().all(|state| state.user == *of))
        };
        assert_eq!([take(&alice), take(&bob), take(&alice)], [(1, 1, true), (1, 1, true), (1, 0, true)]);
    }
}
