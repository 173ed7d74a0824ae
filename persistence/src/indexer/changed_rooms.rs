//! The queue of rooms whose logs have changed since they were indexed: the writer adds rooms, the indexer takes those
//! that are due. Adding takes one short lock per batch. Bounded: if a room finds the queue full, a scan of all rooms
//! finds it later.
//!
//! The index has a row per block of a room. A room with a complete block is due after a second. A room without one is
//! due later, because each indexing of an incomplete block writes the same row again. Searches read every unindexed
//! message, so that delay is shorter in rooms where many messages wait.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidings_shared::ids::RoomId;

use crate::search::{block_of, last_complete_seq};

/// Maximum number of waiting rooms, which take about 25 MB of memory.
const MAX_QUEUED_ROOMS: usize = 100_000;
/// A room with a complete block is due this long after the message that completed it, so that one transaction indexes
/// many blocks.
const COMPLETE_BLOCK_DELAY: Duration = Duration::from_secs(1);
/// An incomplete block is due this long after at least [`INCOMPLETE_BLOCK_MIN_MESSAGES`] of its messages wait.
const INCOMPLETE_BLOCK_DELAY: Duration = Duration::from_secs(30);
const INCOMPLETE_BLOCK_MIN_MESSAGES: i64 = 8;
/// Fewer messages are due this long after the oldest of them. Otherwise a quiet room would write its row again for each
/// message.
const FEW_MESSAGES_DELAY: Duration = Duration::from_secs(600);
/// While more rooms than this wait, rooms are taken before they are due.
const MAX_DELAYED_ROOMS: usize = MAX_QUEUED_ROOMS / 2;

/// A room that is not indexed up to its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnindexedRoom {
    /// The first seq that is perhaps not indexed yet.
    first: i64,
    /// The last stored seq, as far as known.
    head: i64,
    pub due: Instant,
    /// When the room was first due. Earlier than `due` if the room was put back.
    since: Instant,
    /// Whether only the complete blocks of the room are due. An incomplete block waits longer.
    complete_only: bool,
}

impl UnindexedRoom {
    /// The seq up to which the room is due to be indexed.
    pub fn upto(&self) -> i64 {
        if self.complete_only { last_complete_seq(self.head) } else { self.head }
    }
}

/// The state of [`ChangedRooms`].
#[derive(Debug, Default)]
struct RoomQueue {
    rooms: HashMap<RoomId, UnindexedRoom>,
    /// The waiting rooms in the order in which they are due, each with its `since`.
    by_due: BTreeMap<(Instant, RoomId), Instant>,
    /// Whether the queue was too full to hold a changed room.
    overflowed: bool,
    /// Whether another replica may have stopped before it indexed its rooms.
    abandoned: bool,
}

impl RoomQueue {
    /// Adds a room, or merges it with the waiting entry of the same room.
    fn add(&mut self, room: RoomId, mut entry: UnindexedRoom) {
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
        } else if self.rooms.len() >= MAX_QUEUED_ROOMS {
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
    waiting: Mutex<RoomQueue>,
}

impl ChangedRooms {
    /// Adds rooms with the seqs of events that were stored at `now`. Skips invalid room ids, because no rows were
    /// written for them.
    pub fn add_events<'a>(&self, events: impl IntoIterator<Item = (&'a str, i64)>, now: Instant) {
        let mut waiting = self.waiting();
        for (room, seq) in events {
            let old = waiting.rooms.get_mut(room);
            let first = old.as_ref().map_or(seq, |old| old.first);
            let complete_only = block_of(seq + 1) > block_of(first);
            let due = match seq - first + 1 {
                _ if complete_only => now + COMPLETE_BLOCK_DELAY,
                INCOMPLETE_BLOCK_MIN_MESSAGES.. => now + INCOMPLETE_BLOCK_DELAY,
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
                waiting.add(room, UnindexedRoom { first, head: seq, due, since: due, complete_only });
            }
        }
    }

    /// Adds a room whose seqs `first` to `head` are not indexed. They are due at once if a block is complete, or if
    /// `abandoned`: the replica that stored them may have stopped. Otherwise that replica will probably index them.
    pub(super) fn add_range(&self, room: RoomId, first: i64, head: i64, abandoned: bool, now: Instant) {
        let is_due = abandoned || block_of(head + 1) > block_of(first);
        let due = if is_due { now } else { now + FEW_MESSAGES_DELAY };
        let complete_only = !abandoned && is_due;
        self.waiting().add(room, UnindexedRoom { first, head, due, since: due, complete_only });
    }

    /// Puts taken rooms back into the queue that were not indexed up to `UnindexedRoom::upto`. They are due at `now`,
    /// behind the rooms that are already due, because rooms with a long backlog must not delay the others.
    pub(super) fn put_back(&self, rooms: impl IntoIterator<Item = (RoomId, UnindexedRoom)>, now: Instant) {
        let mut waiting = self.waiting();
        for (room, entry) in rooms {
            waiting.add(room, UnindexedRoom { due: now, ..entry });
        }
    }

    /// Requests a scan of all rooms, because another replica may have stopped before it indexed its rooms.
    pub fn request_scan(&self) {
        self.waiting().abandoned = true;
    }

    /// Takes up to `limit` rooms, ordered by `due`: rooms that are due at `now`, and others while more than
    /// [`MAX_DELAYED_ROOMS`] rooms wait.
    pub(super) fn take_due(&self, limit: usize, now: Instant) -> Vec<(RoomId, UnindexedRoom)> {
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
                let due = now + INCOMPLETE_BLOCK_DELAY;
                let rest = UnindexedRoom { first, due, since: due, complete_only: false, ..entry };
                waiting.add(room.clone(), rest);
            }
            taken.push((room, entry));
        }
        taken
    }

    /// Returns whether [`ChangedRooms::request_scan`] was called, and resets the flag.
    pub(super) fn take_scan_request(&self) -> bool {
        std::mem::take(&mut self.waiting().abandoned)
    }

    /// Returns whether the queue was too full to hold a changed room, and resets the flag.
    pub(super) fn take_overflow(&self) -> bool {
        std::mem::take(&mut self.waiting().overflowed)
    }

    /// The number of rooms that [`ChangedRooms::take_due`] would take at `now`, and the earliest time at which one of
    /// the due rooms was first due.
    pub(super) fn due_summary(&self, now: Instant) -> (usize, Option<Instant>) {
        let waiting = self.waiting();
        let due = waiting.by_due.iter().take_while(|((due, _), _)| *due <= now).map(|(_, since)| *since);
        let (count, since) = due.fold((0, None::<Instant>), |(count, oldest), since| {
            (count + 1, Some(oldest.map_or(since, |oldest| oldest.min(since))))
        });
        (count.max(waiting.rooms.len().saturating_sub(MAX_DELAYED_ROOMS)), since)
    }

    fn waiting(&self) -> MutexGuard<'_, RoomQueue> {
        // Ignores poisoning, because no code that holds the lock can panic in the middle of a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_SECOND: Duration = Duration::from_secs(1);

    /// The rooms that are due at `now`, with the seqs up to which they are due.
    fn taken(changed: &ChangedRooms, limit: usize, now: Instant) -> Vec<(String, i64)> {
        changed.take_due(limit, now).iter().map(|(room, entry)| (room.to_string(), entry.upto())).collect()
    }

    fn owned_names(rooms: &[(&str, i64)]) -> Vec<(String, i64)> {
        rooms.iter().map(|(room, upto)| ((*room).to_owned(), *upto)).collect()
    }

    #[test]
    fn incomplete_block_is_due_after_a_delay() {
        let (changed, now) = (ChangedRooms::default(), Instant::now());
        changed.add_events((1..=8).map(|seq| ("a", seq)).chain([("b", 1), ("not a room", 1)]), now);
        changed.add_events([("a", 9), ("b", 2), ("c", 5)], now + ONE_SECOND);
        assert_eq!(taken(&changed, 9, now + INCOMPLETE_BLOCK_DELAY - ONE_SECOND), []);
        assert_eq!(
            changed.due_summary(now + INCOMPLETE_BLOCK_DELAY),
            (1, Some(now + INCOMPLETE_BLOCK_DELAY))
        );
        assert_eq!(
            taken(&changed, 9, now + INCOMPLETE_BLOCK_DELAY),
            owned_names(&[("a", 9)]),
            "b and c have few messages"
        );
        assert_eq!(taken(&changed, 9, now + FEW_MESSAGES_DELAY), owned_names(&[("b", 2)]), "c changed later");
        assert_eq!(taken(&changed, 9, now + FEW_MESSAGES_DELAY + ONE_SECOND), owned_names(&[("c", 5)]));
        assert_eq!(changed.due_summary(now + 9 * FEW_MESSAGES_DELAY), (0, None));
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
        assert_eq!(taken(&changed, 9, now), owned_names(&[("b", 63), ("c", 70)]));
        assert_eq!(taken(&changed, 9, now + INCOMPLETE_BLOCK_DELAY), owned_names(&[("b", 70)]));
        assert_eq!(taken(&changed, 9, now + FEW_MESSAGES_DELAY), owned_names(&[("a", 62)]));
    }

    #[test]
    fn complete_block_is_due_soon_and_the_rest_later() {
        let (changed, now) = (ChangedRooms::default(), Instant::now());
        changed.add_events((60..=62).map(|seq| ("a", seq)), now);
        assert_eq!(taken(&changed, 9, now + COMPLETE_BLOCK_DELAY), []);
        changed.add_events((63..=70).map(|seq| ("a", seq)), now + ONE_SECOND);
        assert_eq!(taken(&changed, 9, now + ONE_SECOND + COMPLETE_BLOCK_DELAY), owned_names(&[("a", 63)]));
        let rest = now + ONE_SECOND + COMPLETE_BLOCK_DELAY + INCOMPLETE_BLOCK_DELAY;
        assert_eq!(taken(&changed, 9, rest - ONE_SECOND), []);
        assert_eq!(taken(&changed, 9, rest), owned_names(&[("a", 70)]));
    }

    #[test]
    fn room_that_is_put_back_is_due_at_once() {
        let (changed, now) = (ChangedRooms::default(), Instant::now());
        changed.add_events((1..=70).map(|seq| ("a", seq)), now);
        let entry = changed.take_due(9, now + COMPLETE_BLOCK_DELAY);
        assert_eq!(entry[0].1.upto(), 63);
        let later = now + 2 * COMPLETE_BLOCK_DELAY;
        changed.put_back(entry, later);
        assert_eq!(
            changed.due_summary(later),
            (1, Some(now + COMPLETE_BLOCK_DELAY)),
            "it has been due since then"
        );
        assert_eq!(taken(&changed, 9, later), owned_names(&[("a", 63)]));
        changed.add_range(RoomId::parse("a").unwrap(), 64, 75, true, now);
        assert_eq!(
            taken(&changed, 9, now),
            owned_names(&[("a", 75)]),
            "a range that a scan found is due as a whole"
        );
    }

    #[test]
    fn room_that_is_put_back_does_not_delay_others() {
        let (changed, now) = (ChangedRooms::default(), Instant::now());
        let add = |room, now| changed.add_range(RoomId::parse(room).unwrap(), 1, 9000, true, now);
        add("a", now);
        add("b", now);
        for step in 1..5 {
            let turn = now + step * ONE_SECOND;
            let entry = changed.take_due(1, turn);
            assert_eq!(entry[0].0.as_str(), if step % 2 == 1 { "a" } else { "b" });
            changed.put_back(entry, turn);
            assert_eq!(changed.due_summary(turn), (2, Some(now)));
        }
    }

    #[test]
    fn overflow_requests_a_scan_of_all_rooms() {
        let (changed, now) = (ChangedRooms::default(), Instant::now());
        let names: Vec<String> = (0..=MAX_QUEUED_ROOMS).map(|n| format!("r{n}")).collect();
        changed.add_events(names.iter().map(|name| (name.as_str(), 1)), now);
        assert_eq!(
            changed.due_summary(now),
            (MAX_QUEUED_ROOMS - MAX_DELAYED_ROOMS, None),
            "the first rooms are due at once"
        );
        assert_eq!(changed.take_due(MAX_QUEUED_ROOMS, now).len(), MAX_QUEUED_ROOMS - MAX_DELAYED_ROOMS);
        assert!(changed.take_overflow() && !changed.take_overflow() && !changed.take_scan_request());
    }
}
