//! Hits of many slices brought into one order, newest first, and handed out as soon as no slice that is not yet
//! looked at can hold a newer one. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::query::cursor::SearchCursor;

/// Where a message stands that the index named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    pub at: DateTime<Utc>,
    pub room: String,
    pub seq: i64,
}

impl Hit {
    /// A page that ends with it goes on behind this.
    pub fn cursor(&self) -> SearchCursor {
        SearchCursor { at: self.at, room: self.room.clone(), seq: self.seq }
    }
}

/// Newest first; of one moment by room, and in a room the later first.
type Order = (Reverse<DateTime<Utc>>, String, Reverse<i64>);

fn order(at: DateTime<Utc>, room: &str, seq: i64) -> Order {
    (Reverse(at), room.to_owned(), Reverse(seq))
}

/// See the module.
pub struct Frontier {
    /// Nothing up to here is wanted.
    after: Option<Order>,
    waiting: BTreeMap<Order, ()>,
}

impl Frontier {
    pub fn new(cursor: Option<SearchCursor>) -> Self {
        let after = cursor.map(|cursor| order(cursor.at, &cursor.room, cursor.seq));
        Self { after, waiting: BTreeMap::new() }
    }

    pub fn add(&mut self, hit: Hit) {
        let order = order(hit.at, &hit.room, hit.seq);
        if self.after.as_ref().is_none_or(|after| order > *after) {
            self.waiting.insert(order, ());
        }
    }

    /// Takes up to `most` hits in order that are newer than all that may still come: that is as new as `horizon`, or
    /// nothing when there is none.
    pub fn settled(&mut self, horizon: Option<DateTime<Utc>>, most: usize) -> Vec<Hit> {
        let mut settled = Vec::new();
        while settled.len() < most
            && let Some(first) = self.waiting.first_entry()
            && horizon.is_none_or(|horizon| first.key().0.0 > horizon)
        {
            let (Reverse(at), room, Reverse(seq)) = first.remove_entry().0;
            settled.push(Hit { at, room, seq });
        }
        settled
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
    fn a_hit_is_handed_out_only_when_nothing_newer_can_come() {
        let mut frontier = Frontier::new(None);
        for hit in [hit(5, "a", 1), hit(9, "b", 7), hit(7, "a", 2)] {
            frontier.add(hit);
        }
        assert_eq!(taken(&frontier.settled(Some(at(7)), 9)), [(9, "b", 7)], "as new as the horizon may come");
        frontier.add(hit(8, "c", 1));
        assert_eq!(taken(&frontier.settled(Some(at(6)), 1)), [(8, "c", 1)]);
        assert_eq!(taken(&frontier.settled(None, 9)), [(7, "a", 2), (5, "a", 1)]);
        assert!(frontier.settled(None, 9).is_empty());
    }

    #[test]
    fn a_page_goes_on_exactly_behind_the_last_hit_of_the_one_before() {
        let all = [hit(9, "a", 2), hit(9, "a", 1), hit(9, "b", 5), hit(8, "a", 9)];
        let add = |mut frontier: Frontier| {
            all.iter().rev().cloned().for_each(|hit| frontier.add(hit));
            frontier.settled(None, 9)
        };
        assert_eq!(add(Frontier::new(None)), all);
        for (place, last) in all.iter().enumerate() {
            assert_eq!(add(Frontier::new(Some(last.cursor()))), all[place + 1..]);
        }
        assert_eq!(
            add(Frontier::new(Some(SearchCursor::before(at(9))))),
            all,
            "the moment itself is still to come"
        );
        assert_eq!(add(Frontier::new(Some(SearchCursor::before(at(8))))), all[3..]);
    }
}
