//! Rooms whose log went on since the index was brought up to it: the writer puts them here, the indexer takes them.
//! One short lock per batch. Bounded: what does not fit is found by looking through all rooms.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidings_shared::ids::RoomId;
use tokio::sync::Notify;

/// Rooms that may wait: some 10 MB of ids.
const MAX_ROOMS: usize = 100_000;

#[derive(Debug, Default)]
struct Waiting {
    known: HashSet<RoomId>,
    /// In the order in which they changed, with the time.
    rooms: VecDeque<(RoomId, Instant)>,
    /// Rooms may have changed that are not among them.
    look_through_all: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Changed {
    waiting: Mutex<Waiting>,
    more: Notify,
}

impl Changed {
    /// These rooms went on. Names that are no room ids are left out: nothing was written for them.
    pub fn mark<'a>(&self, rooms: impl IntoIterator<Item = &'a str>, now: Instant) {
        let mut waiting = self.waiting();
        for room in rooms {
            if waiting.known.contains(room) {
                continue;
            }
            if waiting.known.len() >= MAX_ROOMS {
                waiting.look_through_all = true;
                break;
            }
            if let Ok(room) = RoomId::parse(room) {
                waiting.known.insert(room.clone());
                waiting.rooms.push_back((room, now));
            }
        }
        drop(waiting);
        self.more.notify_one();
    }

    /// Rooms may have gone on unseen, e.g. those of a replica that ended.
    pub fn mark_all(&self) {
        self.waiting().look_through_all = true;
        self.more.notify_one();
    }

    /// Up to `most` rooms, those first that have waited longest, and since when the first has.
    pub(super) fn take(&self, most: usize) -> (Vec<RoomId>, Option<Instant>) {
        let mut waiting = self.waiting();
        let since = waiting.rooms.front().map(|(_, since)| *since);
        let most = most.min(waiting.rooms.len());
        let rooms: Vec<RoomId> = waiting.rooms.drain(..most).map(|(room, _)| room).collect();
        for room in &rooms {
            waiting.known.remove(room);
        }
        (rooms, since)
    }

    /// Whether all rooms are to be looked through; asked once.
    pub(super) fn take_all(&self) -> bool {
        std::mem::take(&mut self.waiting().look_through_all)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting().rooms.len()
    }

    /// How many rooms wait, and since when the first has.
    pub(super) fn waiting_since(&self) -> (usize, Option<Instant>) {
        let waiting = self.waiting();
        (waiting.rooms.len(), waiting.rooms.front().map(|(_, since)| *since))
    }

    /// Returns when there may be something to take, or after `patience`.
    pub(super) async fn until_more(&self, patience: Duration) {
        if self.len() > 0 {
            return;
        }
        // Late is all that can go wrong.
        let _ = tokio::time::timeout(patience, self.more.notified()).await;
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // No code that runs under the lock can panic half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(changed: &Changed, most: usize) -> Vec<String> {
        changed.take(most).0.iter().map(RoomId::to_string).collect()
    }

    #[test]
    fn a_room_waits_once_and_in_its_turn() {
        let (changed, now) = (Changed::default(), Instant::now());
        changed.mark(["a", "b", "a", "not a room"], now);
        changed.mark(["b", "c"], now + Duration::from_secs(1));
        assert_eq!(changed.len(), 3);
        assert_eq!(taken(&changed, 2), ["a", "b"]);
        changed.mark(["a"], now);
        assert_eq!(changed.take(1).1, Some(now + Duration::from_secs(1)), "c has waited since then");
        assert_eq!(taken(&changed, 9), ["a"]);
        assert!(!changed.take_all());
    }

    #[tokio::test]
    async fn what_was_left_is_not_waited_for() {
        let changed = Changed::default();
        changed.mark(["a", "b"], Instant::now());
        let soon = async || {
            tokio::time::timeout(Duration::from_secs(5), changed.until_more(Duration::from_secs(60))).await
        };
        assert!(soon().await.is_ok());
        assert_eq!(taken(&changed, 1), ["a"]);
        assert!(soon().await.is_ok(), "b waits");
    }

    #[test]
    fn what_does_not_fit_is_looked_for_among_all() {
        let changed = Changed::default();
        let names: Vec<String> = (0..=MAX_ROOMS).map(|n| format!("r{n}")).collect();
        changed.mark(names.iter().map(String::as_str), Instant::now());
        assert_eq!(changed.len(), MAX_ROOMS);
        assert!(changed.take_all() && !changed.take_all());
    }
}
