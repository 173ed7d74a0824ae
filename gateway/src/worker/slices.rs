//! Decides which records are sent to a large room in slices, and holds the record that is being sent in slices.
//!
//! Writing a record to 5,000 sockets takes 25 ms, so other rooms are served between the slices. This costs a busy room
//! most of its throughput: between the slices its senders get their answers one by one, so their next messages are not
//! appended together. Only a record that comes alone, to a room that was quiet before it, is sent in slices.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tidings_shared::log::Record;

use super::fair_queue::QueueIndex;
use crate::{bus::Hint, hub::MAX_SLICE_RECEIVERS};

/// A large room is quiet if no record was dispatched to it for this time. The senders of a saturated room send their next
/// messages within some ms. The last slice of a message to 10,000 receivers may be sent 150 ms after the first.
const MIN_QUIET_TIME: Duration = Duration::from_millis(40);
/// After this time a record is sent to the rest of its room at once. All tasks of the worker may run before each slice,
/// so on a worker with much work the slices would take seconds.
const MAX_SLICING_TIME: Duration = Duration::from_millis(250);

/// A record of which some slices were sent.
pub(super) struct SlicedRecord {
    pub hint: Hint,
    /// The index in the room's list of subscriptions with which the next slice begins.
    pub next_slot: usize,
    began_at: Instant,
}

/// The record that is being sent in slices, at most one at a time, and the times that decide about the next one.
#[derive(Default)]
pub(super) struct Slices {
    current: Option<SlicedRecord>,
    /// When a record was last dispatched to a large room, by the hash of the room's id. Rooms with the same hash share
    /// a time, so one of them may count as busy because of another. The hash bounds the number of entries.
    last_dispatches: FxHashMap<QueueIndex, Instant>,
}

/// Whether a record is an event that every member may see and that changes no membership.
fn is_plain_event(record: &Record) -> bool {
    !record.is_live_only() && record.visibility().is_empty() && record.membership().is_empty()
}

impl Slices {
    /// The record that is being sent in slices.
    pub fn current(&self) -> Option<&SlicedRecord> {
        self.current.as_ref()
    }

    /// Takes a record that comes alone, if it must be sent in slices. Returns the record if it must be dispatched at
    /// once. `clock` is called for large rooms only.
    pub fn begin(&mut self, hint: Hint, live_count: usize, clock: impl FnOnce() -> Instant) -> Option<Hint> {
        let may_slice = live_count > MAX_SLICE_RECEIVERS && self.current.is_none() && hint.run.is_none();
        if !may_slice || !is_plain_event(&hint.record) {
            return Some(hint);
        }
        let (now, last) = (clock(), self.last_dispatches.get(&QueueIndex::of_room(hint.record.room())));
        if last.is_some_and(|last| now.saturating_duration_since(*last) < MIN_QUIET_TIME) {
            return Some(hint);
        }
        self.current = Some(SlicedRecord { hint, next_slot: 0, began_at: now });
        None
    }

    /// Continues with the slice that begins with `next_slot`. Returns the record if it must be dispatched to the rest
    /// of the room now, because no slice is left or because the slices have taken too long.
    pub fn advance(&mut self, next_slot: Option<usize>, now: Instant) -> Option<Hint> {
        let current = self.current.as_mut()?;
        match next_slot {
            Some(slot) if now.saturating_duration_since(current.began_at) < MAX_SLICING_TIME => {
                current.next_slot = slot;
                None
            }
            _ => self.current.take().map(|current| current.hint),
        }
    }

    /// Takes the record that is being sent to this room in slices. The caller must dispatch it to the rest of the room
    /// before anything else of the room.
    pub fn take_of_room(&mut self, room: &str) -> Option<Hint> {
        self.current.take_if(|current| current.hint.record.room() == room).map(|current| current.hint)
    }

    /// Remembers when a record was dispatched to a large room. `clock` is called for large rooms only.
    pub fn record_dispatch(&mut self, room: &str, receivers: usize, clock: impl FnOnce() -> Instant) {
        if receivers > MAX_SLICE_RECEIVERS {
            self.last_dispatches.insert(QueueIndex::of_room(room), clock());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{bus::PublishedRecord, metrics::Metrics, transport::Frame};

    const LARGE: usize = MAX_SLICE_RECEIVERS + 1;

    fn hint(room: &str, seq: u64, visibility: &str, membership: &str) -> Hint {
        let line = format!(
            "1\x1f1\x1f{seq}\x1f0\x1f{room}\x1fk\x1f\x1f\x1f\x1f{visibility}\x1f{membership}\x1f\n{{}}"
        );
        let record = Record::parse(Bytes::from(line)).unwrap();
        let frame = Frame::text(record.json());
        let record = PublishedRecord::new(record, Metrics::new().deliver_seconds.clone());
        Hint { record: Arc::new(record), frame, run: None }
    }

    fn seq(hint: Option<Hint>) -> Option<u64> {
        hint.map(|hint| hint.record.seq.0)
    }

    #[test]
    fn plain_event_of_quiet_large_room_is_sent_in_slices() {
        let now = Instant::now();
        let is_sliced = |hint| Slices::default().begin(hint, LARGE, || now).is_none();
        assert!(is_sliced(hint("r", 5, "", "")));
        assert!(!is_sliced(hint("r", 0, "", "")), "a live-only record has no position");
        assert!(!is_sliced(hint("r", 5, "u=bob", "")) && !is_sliced(hint("r", 5, "", "bob\x1eremoved")));
        let mut slices = Slices::default();
        let read_clock = || -> Instant { panic!("the clock is read for a small room") };
        slices.record_dispatch("r", MAX_SLICE_RECEIVERS, read_clock);
        assert_eq!(seq(slices.begin(hint("r", 5, "", ""), MAX_SLICE_RECEIVERS, read_clock)), Some(5));
        assert!(slices.current().is_none());
    }

    #[test]
    fn record_soon_after_another_of_its_large_room_is_sent_whole() {
        let (mut slices, start) = (Slices::default(), Instant::now());
        let soon = start + MIN_QUIET_TIME.checked_sub(Duration::from_millis(1)).unwrap();
        slices.record_dispatch("hot", LARGE, || start);
        assert_eq!(seq(slices.begin(hint("hot", 5, "", ""), LARGE, || soon)), Some(5));
        assert_eq!(seq(slices.begin(hint("quiet", 7, "", ""), LARGE, || soon)), None);
        assert_eq!(seq(slices.take_of_room("quiet")), Some(7));
        assert_eq!(seq(slices.begin(hint("hot", 5, "", ""), LARGE, || start + MIN_QUIET_TIME)), None);
    }

    #[test]
    fn sliced_record_is_taken_by_the_next_item_of_its_room_only() {
        let (mut slices, now) = (Slices::default(), Instant::now());
        assert_eq!(seq(slices.begin(hint("r", 5, "", ""), LARGE, || now)), None);
        assert_eq!(seq(slices.advance(Some(2), now)), None);
        assert_eq!(seq(slices.take_of_room("other")), None);
        assert_eq!(seq(slices.begin(hint("other", 7, "", ""), LARGE, || now)), Some(7), "one at a time");
        assert_eq!(
            slices.current().map(|current| (current.next_slot, current.hint.record.seq.0)),
            Some((2, 5))
        );
        assert_eq!(seq(slices.take_of_room("r")), Some(5));
        assert!(slices.current().is_none() && slices.take_of_room("r").is_none());
    }

    #[test]
    fn sliced_record_is_dispatched_after_last_slice_or_deadline() {
        let now = Instant::now();
        for (next_slot, later) in [(None, now), (Some(2), now + MAX_SLICING_TIME)] {
            let mut slices = Slices::default();
            assert_eq!(seq(slices.begin(hint("r", 5, "", ""), LARGE, || now)), None);
            assert_eq!(seq(slices.advance(next_slot, later)), Some(5));
            assert!(slices.current().is_none());
        }
    }
}
