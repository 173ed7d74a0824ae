//! Merges the hits of many blocks into one order, newest first. Returns a hit when no unsearched block can contain a
//! newer one. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::query::cursor::SearchCursor;

/// The time, room and seq of a message that contains the words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    pub at: DateTime<Utc>,
    pub room: String,
    pub seq: i64,
}

impl Hit {
    /// The cursor of a page that ends with this hit.
    pub fn cursor(&self) -> SearchCursor {
        SearchCursor { at: self.at, room: self.room.clone(), seq: self.seq }
    }
}

/// The order of results: newest first, then by room, then the higher seq first.
type HitOrder = (Reverse<DateTime<Utc>>, String, Reverse<i64>);

fn hit_order(at: DateTime<Utc>, room: &str, seq: i64) -> HitOrder {
    (Reverse(at), room.to_owned(), Reverse(seq))
}

/// The hits that were found and are not returned yet.
pub struct PendingHits {
    /// The last hit that was returned, by this page or the previous one. Hits up to it are ignored.
    after: Option<HitOrder>,
    waiting: BTreeMap<HitOrder, ()>,
}

impl PendingHits {
    /// Starts after the hit of `cursor`; None starts at the newest hit.
    pub fn new(cursor: Option<SearchCursor>) -> Self {
        let after = cursor.map(|cursor| hit_order(cursor.at, &cursor.room, cursor.seq));
        Self { after, waiting: BTreeMap::new() }
    }

    /// Adds a hit, unless it was returned or is already waiting. A hit is found twice if its block is indexed again
    /// meanwhile, or if it is also among the unindexed messages.
    pub fn add(&mut self, hit: Hit) {
        let order = hit_order(hit.at, &hit.room, hit.seq);
        if self.after.as_ref().is_none_or(|after| order > *after) {
            self.waiting.insert(order, ());
        }
    }

    /// Takes, in order, up to `limit` hits that are newer than `horizon`. No unsearched block has a message newer than
    /// `horizon`; None means that all blocks are searched.
    pub fn take_newer_than(&mut self, horizon: Option<DateTime<Utc>>, limit: usize) -> Vec<Hit> {
        let mut hits = Vec::new();
        while hits.len() < limit
            && let Some(first) = self.waiting.first_entry()
            && horizon.is_none_or(|horizon| first.key().0.0 > horizon)
        {
            let last = first.remove_entry().0;
            let (Reverse(at), room, Reverse(seq)) = last.clone();
            self.after = Some(last);
            hits.push(Hit { at, room, seq });
        }
        hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn hit(second: i64, room: &str, seq: i64) -> Hit {
        Hit { at: at(second), room: room.into(), seq }
    }

    fn taken(hits: &[Hit]) -> Vec<(i64, &str, i64)> {
        hits.iter().map(|hit| (hit.at.timestamp(), hit.room.as_str(), hit.seq)).collect()
    }

    #[test]
    fn hit_is_returned_only_when_no_newer_one_can_come() {
        let mut pending = PendingHits::new(None);
        for hit in [hit(5, "a", 1), hit(9, "b", 7), hit(7, "a", 2)] {
            pending.add(hit);
        }
        assert_eq!(
            taken(&pending.take_newer_than(Some(at(7)), 9)),
            [(9, "b", 7)],
            "hits as new as the horizon may still come"
        );
        pending.add(hit(8, "c", 1));
        assert_eq!(taken(&pending.take_newer_than(Some(at(6)), 1)), [(8, "c", 1)]);
        assert_eq!(taken(&pending.take_newer_than(None, 9)), [(7, "a", 2), (5, "a", 1)]);
        assert!(pending.take_newer_than(None, 9).is_empty());
        pending.add(hit(7, "a", 2));
        assert!(pending.take_newer_than(None, 9).is_empty(), "a hit is returned once");
    }

    #[test]
    fn page_continues_after_the_last_hit_of_the_previous() {
        let all = [hit(9, "a", 2), hit(9, "a", 1), hit(9, "b", 5), hit(8, "a", 9)];
        let add = |mut pending: PendingHits| {
            all.iter().rev().cloned().for_each(|hit| pending.add(hit));
            pending.take_newer_than(None, 9)
        };
        assert_eq!(add(PendingHits::new(None)), all);
        for (index, last) in all.iter().enumerate() {
            assert_eq!(add(PendingHits::new(Some(last.cursor()))), all[index + 1..]);
        }
        assert_eq!(
            add(PendingHits::new(Some(SearchCursor::starting_at(at(9))))),
            all,
            "hits at the cursor's time are still to come"
        );
        assert_eq!(add(PendingHits::new(Some(SearchCursor::starting_at(at(8))))), all[3..]);
    }
}
