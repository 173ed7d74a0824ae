//! The queue of rooms whose logs have changed since they were indexed: the writer adds rooms, the indexer takes those
//! that are due. Adding takes one short lock per batch. Bounded: a full queue causes a scan of all rooms, which finds
//! the others.
//!
//! The index has a row per block of a room. So a room is due when a block is complete, and else only after a delay,
//! because each indexing before that writes the same row again. Searches read messages that are not indexed themselves,
//! so the delay is short in rooms where many messages wait, and long in others.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidings_shared::ids::RoomId;

use crate::search::{block_of, last_complete_seq};

/// Maximum number of waiting rooms, which take about 25 MB of memory.
const MAX_ROOMS: usize = 100_000;
/// A complete block is indexed this long after the message that completed it. So one transaction indexes many blocks.
const GATHER_DELAY: Duration = Duration::from_secs(1);
/// A block that is not complete is indexed this long after [`PARTIAL_MIN_MESSAGES`] messages wait.
const PARTIAL_DELAY: Duration = Duration::from_secs(30);
const PARTIAL_MIN_MESSAGES: i64 = 8;
/// Fewer messages are indexed this long after the oldest. Otherwise a quiet room would write its row again for each
/// message.
const FEW_MESSAGES_DELAY: Duration = Duration::from_secs(600);
/// While more rooms than this wait, those that are due next are taken at once.
const MAX_DELAYED_ROOMS: usize = MAX_ROOMS / 2;

/// A room that is not indexed up to its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WaitingRoom {
    /// The first seq that may not be indexed.
    first: i64,
    /// The last stored seq, as far as known.
    head: i64,
    pub due: Instant,
    /// Since when the room has been due. Earlier than `due` if the room was put back.
    since: Instant,
    /// Whether the room is due because of complete blocks. Then a block that is not complete waits longer.
    complete_only: bool,
}

impl WaitingRoom {
    /// The seq up to which the room is due to be indexed.
    pub fn upto(&self) -> i64 {
        if self.complete_only { last_complete_seq(self.head) } else { self.head }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    rooms: HashMap<RoomId, WaitingRoom>,
    /// The waiting rooms in the order in which they are due, each with the time since which it has been due.
    by_due: BTreeMap<(Instant, RoomId), Instant>,
    /// Whether rooms changed that had no space in this queue.
    overflowed: bool,
    /// Whether another replica may have left rooms that it did not index.
    abandoned: bool,
}

impl Waiting {
    /// Adds a room, or joins it with the waiting entry of the same room.
    fn add(&mut self, room: RoomId, mut entry: WaitingRoom) {
        if let Some(old) = self.rooms.get(&room) {
            entry.first = entry.first.min(old.first);
            entry.head = entry.head.max(old.head);
            entry.since = entry.since.min(old.since);
            if old.due <= entry.due {
                (entry.due, entry.complete_only) = (old.due, old.complete_only);
            }
            if *old == entry {
                return;
            }
            self.by_due.remove(&(old.due, room.clone()));
        } else if self.rooms.len() >= MAX_ROOMS {
            self.overflowed = true;
            return;
        }
        self.by_due.insert((entry.due, room.clone()), entry.since);
        self.rooms.insert(room, entry);
    }
}

/// A queue of changed rooms, which holds each room at most once.
#[derive(Debug, Default)]
pub struct ChangedRooms {
    waiting: Mutex<Waiting>,
}

impl ChangedRooms {
    /// Adds rooms with the seqs of events that were stored at `now`. Skips invalid room ids, because nothing was written
    /// for them.
    pub fn add_events<'a>(&self, events: impl IntoIterator<Item = (&'a str, i64)>, now: Instant) {
        let mut waiting = self.waiting();
        for (room, seq) in events {
            let old = waiting.rooms.get_mut(room);
            let first = old.as_ref().map_or(seq, |old| old.first);
            let complete_only = block_of(seq + 1) > block_of(first);
            let due = match seq - first + 1 {
                _ if complete_only => now + GATHER_DELAY,
                PARTIAL_MIN_MESSAGES.. => now + PARTIAL_DELAY,
                _ => now + FEW_MESSAGES_DELAY,
            };
            if let Some(old) = old
                && old.due <= due
            {
                // The usual case.
                old.head = old.head.max(seq);
                continue;
            }
            if let Ok(room) = RoomId::parse(room) {
                waiting.add(room, WaitingRoom { first, head: seq, due, since: due, complete_only });
            }
        }
    }

    /// Adds a room whose seqs `first` to `head` are not indexed. They are due at once if a block is complete, or if the
    /// replica that stored them may not run. Else that replica probably waits to index them.
    pub(super) fn add_range(&self, room: RoomId, first: i64, head: i64, abandoned: bool, now: Instant) {
        let is_due = abandoned || block_of(head + 1) > block_of(first);
        let due = if is_due { now } else { now + FEW_MESSAGES_DELAY };
        let complete_only = !abandoned && is_due;
        self.waiting().add(room, WaitingRoom { first, head, due, since: due, complete_only });
    }

    /// Returns rooms to the queue that were taken and are not indexed as far as they were due. They are due again at
    /// `now`, behind the rooms that are already due, so that rooms with a long backlog do not keep the others waiting.
    pub(super) fn put_back(&self, rooms: impl IntoIterator<Item = (RoomId, WaitingRoom)>, now: Instant) {
        let mut waiting = self.waiting();
        for (room, entry) in rooms {
            waiting.add(room, WaitingRoom { due: now, ..entry });
        }
    }

    /// Requests a scan of all rooms, because a replica may have ended that has not indexed its rooms.
    pub fn request_scan(&self) {
        self.waiting().abandoned = true;
    }

    /// Takes up to `limit` rooms that are due at `now`, those that have been due longest first.
    pub(super) fn take_due(&self, limit: usize, now: Instant) -> Vec<(RoomId, WaitingRoom)> {
        let mut waiting = self.waiting();
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some(first) = waiting.by_due.first_key_value().map(|((due, _), _)| *due)
            && (first <= now || waiting.rooms.len() > MAX_DELAYED_ROOMS)
            && let Some(((_, room), _)) = waiting.by_due.pop_first()
        {
            let Some(entry) = waiting.rooms.remove(&room) else { continue };
            if entry.upto() < entry.head {
                let first = entry.upto() + 1;
                let due = now + PARTIAL_DELAY;
                let rest = WaitingRoom { first, due, since: due, complete_only: false, ..entry };
                waiting.add(room.clone(), rest);
            }
            taken.push((room, entry));
        }
        taken
    }

    /// Returns whether [`ChangedRooms::request_scan`] was called, and forgets it.
    pub(super) fn take_scan_request(&self) -> bool {
        std::mem::take(&mut self.waiting().abandoned)
    }

    /// Returns whether rooms changed that had no space in the queue, and forgets it.
    pub(super) fn take_overflow(&self) -> bool {
        std::mem::take(&mut self.waiting().overflowed)
    }

    /// The number of rooms that are due at `now`, and the time since which one of them has been due longest.
    pub(super) fn due(&self, now: Instant) -> (usize, Option<Instant>) {
        let waiting = self.waiting();
        let due = waiting.by_due.iter().take_while(|((due, _), _)| *due <= now).map(|(_, since)| *since);
        let (count, since) = due.fold((0, None::<Instant>), |(count, oldest), since| {
            (count + 1, Some(oldest.map_or(since, |oldest| oldest.min(since))))
        });
        (count.max(waiting.rooms.len().saturating_sub(MAX_DELAYED_ROOMS)), since)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Ignores poisoning, because no code that holds the lock can panic in the middle of a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The rooms that are due at `now`, with the seqs up to which they are due.
    fn taken(changed: &ChangedRooms, limit: usize, now: Instant) -> Vec<(String, i64)> {
        changed.take_due(limit, now).iter().map(|(room, entry)| (room.to_string(), entry.upto())).collect()
    }

    fn of(rooms: &[(&str, i64)]) -> Vec<(String, i64)> {
        rooms.iter().map(|(room, upto)| ((*room).to_owned(), *upto)).collect()
    }

    #[test]
    fn incomplete_block_is_due_after_a_delay() {
        let (changed, now) = (ChangedRooms::default(), Instant::now());
        changed.add_events((1..=8).map(|seq| ("a", seq)).chain([("b", 1), ("not a room", 1)]), now);
        changed.add_events([("a", 9), ("b", 2), ("c", 5)], now + SECOND);
        assert_eq!(taken(&changed, 9, now + PARTIAL_DELAY - SECOND), []);
        assert_eq!(changed.due(now + PARTIAL_DELAY), (1, Some(now + PARTIAL_DELAY)));
        assert_eq!(taken(&changed, 9, now + PARTIAL_DELAY), of(&[("a", 9)]), "b and c have few messages");
        assert_eq!(taken(&changed, 9, now + FEW_MESSAGES_DELAY), of(&[("b", 2)]), "c changed later");
        assert_eq!(taken(&changed, 9, now + FEW_MESSAGES_DELAY + SECOND), of(&[("c", 5)]));
        assert_eq!(changed.due(now + 9 * FEW_MESSAGES_DELAY), (0, None));
        assert!(!changed.take_scan_request());
    }

    #[test]
    fn room_of_another_replica_is_due_when_a_block_is_complete() {
        let (changed, now) = (ChangedRooms::default(), Instant::now());
        let add = |room, head, abandoned| {
            changed.add_range(RoomId::parse(room).unwrap(), 60, head, abandoned, now);
        };
        add("a", 62, false);
        add("b", 70, false);
        add("c", 70, true);
        assert_eq!(taken(&changed, 9, now), of(&[("b", 63), ("c", 70)]));
        assert_eq!(taken(&changed, 9, now + PARTIAL_DELAY), of(&[("b", 70)]));
        assert_eq!(taken(&changed, 9, now + FEW_MESSAGES_DELAY), of(&[("a", 62)]));
    }

    #[test]
    fn complete_block_is_due_soon_and_the_rest_later() {
        let (changed, now) = (ChangedRooms::default(), Instant::now());
        changed.add_events((60..=62).map(|seq| ("a", seq)), now);
        assert_eq!(taken(&changed, 9, now + GATHER_DELAY), []);
        changed.add_events((63..=70).map(|seq| ("a", seq)), now + SECOND);
        assert_eq!(taken(&changed, 9, now + SECOND + GATHER_DELAY), of(&[("a", 63)]));
        let rest = now + SECOND + GATHER_DELAY + PARTIAL_DELAY;
        assert_eq!(taken(&changed, 9, rest - SECOND), []);
        assert_eq!(taken(&changed, 9, rest), of(&[("a", 70)]));
    }

    #[test]
    fn room_that_is_put_back_is_due_at_once() {
        let (changed, now) = (ChangedRooms::default(), Instant::now());
        changed.add_events((1..=70).map(|seq| ("a", seq)), now);
        let entry = changed.take_due(9, now + GATHER_DELAY);
        assert_eq!(entry[0].1.upto(), 63);
        let later = now + 2 * GATHER_DELAY;
        changed.put_back(entry, later);
        assert_eq!(changed.due(later), (1, Some(now + GATHER_DELAY)), "it has been due since then");
        assert_eq!(taken(&changed, 9, later), of(&[("a", 63)]));
        changed.add_range(RoomId::parse("a").unwrap(), 64, 75, true, now);
        assert_eq!(taken(&changed, 9, now), of(&[("a", 75)]), "a range that a scan found is due as a whole");
    }

    #[test]
    fn room_that_is_put_back_does_not_keep_others_waiting() {
        let (changed, now) = (ChangedRooms::default(), Instant::now());
        let add = |room, now| changed.add_range(RoomId::parse(room).unwrap(), 1, 9000, true, now);
        add("a", now);
        add("b", now);
        for step in 1..5 {
            let turn = now + step * SECOND;
            let entry = changed.take_due(1, turn);
            assert_eq!(entry[0].0.as_str(), if step % 2 == 1 { "a" } else { "b" });
            changed.put_back(entry, turn);
            assert_eq!(changed.due(turn), (2, Some(now)));
        }
    }

    #[test]
    fn overflow_requests_a_scan_of_all_rooms() {
        let (changed, now) = (ChangedRooms::default(), Instant::now());
        let names: Vec<String> = (0..=MAX_ROOMS).map(|n| format!("r{n}")).collect();
        changed.add_events(names.iter().map(|name| (name.as_str(), 1)), now);
        assert_eq!(
            changed.due(now),
            (MAX_ROOMS - MAX_DELAYED_ROOMS, None),
            "the first rooms are due at once"
        );
        assert_eq!(changed.take_due(MAX_ROOMS, now).len(), MAX_ROOMS - MAX_DELAYED_ROOMS);
        assert!(changed.take_overflow() && !changed.take_overflow() && !changed.take_scan_request());
    }
}
