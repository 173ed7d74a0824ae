//! The queue of rooms whose logs have changed since they were indexed: the writer adds rooms, the indexer takes them.
//! Adding takes one short lock per batch. Bounded: a full queue requests a scan of all rooms, which finds the others.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidings_shared::ids::RoomId;
use tokio::sync::Notify;

/// Number of rooms that may wait, about 10 MB of ids.
const MAX_ROOMS: usize = 100_000;

#[derive(Debug, Default)]
struct Waiting {
    known: HashSet<RoomId>,
    /// The waiting rooms in the order in which they changed, with the time of the change.
    rooms: VecDeque<(RoomId, Instant)>,
    /// Whether rooms that are not in this queue may have changed.
    scan_requested: bool,
}

/// A queue of changed rooms, which holds each room at most once.
#[derive(Debug, Default)]
pub struct ChangedRooms {
    waiting: Mutex<Waiting>,
    more: Notify,
}

impl ChangedRooms {
    /// Adds rooms that changed at `now`. Skips invalid room ids, because nothing was written for them.
    pub fn add_rooms<'a>(&self, rooms: impl IntoIterator<Item = &'a str>, now: Instant) {
        let mut waiting = self.waiting();
        for room in rooms {
            if waiting.known.contains(room) {
                continue;
            }
            if waiting.known.len() >= MAX_ROOMS {
                waiting.scan_requested = true;
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

    /// Requests a scan of all rooms, because rooms that are not in this queue may have changed, such as those of an
    /// ended replica.
    pub fn request_scan(&self) {
        self.waiting().scan_requested = true;
        self.more.notify_one();
    }

    /// Takes up to `limit` rooms, those that have waited longest first, and the time since which the first has waited.
    pub(super) fn take_rooms(&self, limit: usize) -> (Vec<RoomId>, Option<Instant>) {
        let mut waiting = self.waiting();
        let since = waiting.rooms.front().map(|(_, since)| *since);
        let limit = limit.min(waiting.rooms.len());
        let rooms: Vec<RoomId> = waiting.rooms.drain(..limit).map(|(room, _)| room).collect();
        for room in &rooms {
            waiting.known.remove(room);
        }
        (rooms, since)
    }

    /// Returns whether a scan of all rooms was requested, and clears the request.
    pub(super) fn take_scan_request(&self) -> bool {
        std::mem::take(&mut self.waiting().scan_requested)
    }

    /// Number of waiting rooms.
    pub(super) fn len(&self) -> usize {
        self.waiting().rooms.len()
    }

    /// The number of waiting rooms, and the time since which the first has waited.
    pub(super) fn waiting_since(&self) -> (usize, Option<Instant>) {
        let waiting = self.waiting();
        (waiting.rooms.len(), waiting.rooms.front().map(|(_, since)| *since))
    }

    /// Returns when rooms may be waiting, or after `timeout`.
    pub(super) async fn wait_for_rooms(&self, timeout: Duration) {
        if self.len() > 0 {
            return;
        }
        // A missed notification only delays the indexer by `timeout`.
        let _ = tokio::time::timeout(timeout, self.more.notified()).await;
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Ignores poisoning, because no code that holds the lock can panic in the middle of a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(changed: &ChangedRooms, limit: usize) -> Vec<String> {
        changed.take_rooms(limit).0.iter().map(RoomId::to_string).collect()
    }

    #[test]
    fn changed_room_waits_once_and_in_order() {
        let (changed, now) = (ChangedRooms::default(), Instant::now());
        changed.add_rooms(["a", "b", "a", "not a room"], now);
        changed.add_rooms(["b", "c"], now + Duration::from_secs(1));
        assert_eq!(changed.len(), 3);
        assert_eq!(taken(&changed, 2), ["a", "b"]);
        changed.add_rooms(["a"], now);
        assert_eq!(changed.take_rooms(1).1, Some(now + Duration::from_secs(1)), "c has waited since then");
        assert_eq!(taken(&changed, 9), ["a"]);
        assert!(!changed.take_scan_request());
    }

    #[tokio::test]
    async fn waiting_room_is_available_without_a_wait() {
        let changed = ChangedRooms::default();
        changed.add_rooms(["a", "b"], Instant::now());
        let soon = async || {
            tokio::time::timeout(Duration::from_secs(5), changed.wait_for_rooms(Duration::from_secs(60)))
                .await
        };
        assert!(soon().await.is_ok());
        assert_eq!(taken(&changed, 1), ["a"]);
        assert!(soon().await.is_ok(), "b waits");
    }

    #[test]
    fn overflow_requests_a_scan_of_all_rooms() {
        let changed = ChangedRooms::default();
        let names: Vec<String> = (0..=MAX_ROOMS).map(|n| format!("r{n}")).collect();
        changed.add_rooms(names.iter().map(String::as_str), Instant::now());
        assert_eq!(changed.len(), MAX_ROOMS);
        assert!(changed.take_scan_request() && !changed.take_scan_request());
    }
}
