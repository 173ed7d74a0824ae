//! The cursor of the feed: how far a consumer has read each of its partitions. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};
use tidings_shared::log::keys::Partition;

/// Cursors begin with the number of their format.
const FORMAT: &str = "1";

/// How far a partition has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedPosition {
    /// All rows below this position have been read.
    pub from: i64,
    /// Up to which seq the row at `from` has been read; 0 if it has not been begun.
    pub seq: i64,
}

impl FeedPosition {
    /// The position after the row at `position`.
    #[must_use]
    pub fn after(position: i64) -> Self {
        Self { from: position.saturating_add(1), seq: 0 }
    }

    /// The seq after which the row at `position` continues. The row begins after `after`.
    #[must_use]
    pub fn seq_in(self, position: i64, after: i64) -> i64 {
        if position == self.from { self.seq.max(after) } else { after }
    }
}

/// The positions of some partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedCursor(BTreeMap<u16, FeedPosition>);

impl FeedCursor {
    /// The cursor before all events of these partitions.
    pub fn start(partitions: impl Iterator<Item = Partition>) -> Self {
        Self(partitions.map(|partition| (partition.0, FeedPosition::default())).collect())
    }

    /// Parses a cursor as it was answered. None for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('_');
        if parts.next() != Some(FORMAT) {
            return None;
        }
        let part = |part: &str| {
            let mut fields = part.split('.');
            let partition = fields
                .next()?
                .parse()
                .ok()
                .filter(|number| Partition::all().any(|known| known.0 == *number))?;
            let mut number = || i64::from_str_radix(fields.next()?, 16).ok().filter(|number| *number >= 0);
            let (from, seq) = (number()?, number()?);
            Some((partition, FeedPosition { from, seq }))
        };
        let cursor = Self(parts.map(part).collect::<Option<_>>()?);
        // Accepts only the text that this version writes, so that no two texts mean the same.
        (!cursor.0.is_empty() && cursor.to_string() == text).then_some(cursor)
    }

    /// The same positions for these partitions only. Err is a partition that the cursor does not cover.
    pub fn only(&self, partitions: impl Iterator<Item = Partition>) -> Result<Self, Partition> {
        let part = |partition: Partition| {
            self.get(partition).map(|position| (partition.0, position)).ok_or(partition)
        };
        partitions.map(part).collect::<Result<_, _>>().map(Self)
    }

    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.0.keys().copied().map(Partition)
    }

    pub fn positions(&self) -> impl Iterator<Item = (Partition, FeedPosition)> {
        self.0.iter().map(|(partition, position)| (Partition(*partition), *position))
    }

    #[must_use]
    pub fn get(&self, partition: Partition) -> Option<FeedPosition> {
        self.0.get(&partition.0).copied()
    }

    pub fn set(&mut self, partition: Partition, position: FeedPosition) {
        self.0.insert(partition.0, position);
    }

    /// Whether the row at `position` is still to be read.
    #[must_use]
    pub fn has_before(&self, partition: Partition, position: i64) -> bool {
        self.get(partition).is_some_and(|reached| position >= reached.from)
    }

    /// Whether `end`, the end of the stored events, lies after this cursor in one of its partitions.
    #[must_use]
    pub fn is_before(&self, end: &FeedCursor) -> bool {
        self.positions()
            .any(|(partition, reached)| end.get(partition).is_some_and(|end| end.from > reached.from))
    }
}

impl fmt::Display for FeedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FORMAT)?;
        self.0.iter().try_for_each(|(partition, at)| write!(f, "_{partition}.{:x}.{:x}", at.from, at.seq))
    }
}

impl Serialize for FeedCursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> FeedCursor {
        let mut cursor = FeedCursor::start([Partition(0), Partition(63)].into_iter());
        cursor.set(Partition(63), FeedPosition { from: 1_700_000_000_000_000, seq: 17 });
        cursor
    }

    #[test]
    fn cursor_is_parsed_as_it_was_written() {
        assert_eq!(cursor().to_string(), "1_0.0.0_63.60a24181e4000.11");
        assert_eq!(FeedCursor::parse(&cursor().to_string()), Some(cursor()));
        for bad in [
            "",
            "1",
            "2_0.0.0",
            "1_64.0.0",
            "1_0.0",
            "1_0.-1.0",
            "1_0.0.0.0",
            "1_01.0.0",
            "1_1.0.0_0.0.0",
            "1_0.0.0_",
            "1_0.+1.0",
        ] {
            assert_eq!(FeedCursor::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn part_of_a_cursor_must_be_covered() {
        assert_eq!(cursor().only([Partition(63)].into_iter()).unwrap().to_string(), "1_63.60a24181e4000.11");
        assert_eq!(cursor().only([Partition(1)].into_iter()), Err(Partition(1)));
    }

    #[test]
    fn cursor_is_before_an_end_that_has_more() {
        let (cursor, mut end) = (cursor(), cursor());
        assert!(!cursor.is_before(&end));
        end.set(Partition(5), FeedPosition::after(9));
        assert!(!cursor.is_before(&end), "not one of its partitions");
        end.set(Partition(0), FeedPosition::after(0));
        assert!(cursor.is_before(&end));
    }
}
