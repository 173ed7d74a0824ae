//! Decides which ranges of which logs a page of the feed contains. Pure.

use tidings_shared::ids::RoomId;
use tidings_shared::log::keys::Partition;

use super::cursor::{FeedCursor, FeedPosition};

/// Maximum number of events that one statement reads. A longer range of a room becomes several steps.
pub const EVENTS_PER_STATEMENT: i64 = 100;

/// A row of the table `feed`.
#[derive(Debug)]
pub struct FeedRow {
    pub partition: Partition,
    pub position: i64,
    pub room: RoomId,
    pub after: i64,
    pub upto: i64,
}

/// A part of a page: the events to read, and the position of the partition after them.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    pub partition: Partition,
    /// The position of the row of the table `feed` that the step reads.
    pub position: i64,
    pub next: FeedPosition,
    /// None if the filter leaves out the room.
    pub range: Option<LogRange>,
}

/// The events of a room above `after` and up to `upto`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRange {
    pub room: RoomId,
    pub after: i64,
    pub upto: i64,
}

/// The steps of a page of at most `limit` events. `rows` are in the order of their positions. A step never passes a row
/// of its partition that the page does not contain.
pub fn steps(rows: &[FeedRow], cursor: &FeedCursor, room: Option<&RoomId>, limit: i64) -> Vec<Step> {
    let (mut left, mut steps) = (limit, Vec::new());
    for row in rows {
        let end = FeedPosition::after(row.position);
        let step = |next, range| Step { partition: row.partition, position: row.position, next, range };
        if room.is_some_and(|room| *room != row.room) {
            steps.push(step(end, None));
            continue;
        }
        let mut after =
            cursor.get(row.partition).map_or(row.after, |reached| reached.seq_in(row.position, row.after));
        after = after.min(row.upto);
        if after == row.upto {
            steps.push(step(end, None));
        }
        while after < row.upto {
            let upto = row.upto.min(after + left.min(EVENTS_PER_STATEMENT));
            if upto == after {
                return steps;
            }
            let next = if upto < row.upto { FeedPosition { from: row.position, seq: upto } } else { end };
            let range = Some(LogRange { room: row.room.clone(), after, upto });
            steps.push(step(next, range));
            left -= upto - after;
            after = upto;
        }
    }
    steps
}

/// The first steps that together have at most `events` events, but at least one step.
pub fn chunk(steps: &[Step], events: i64) -> &[Step] {
    let mut count = 0;
    let fits = steps.iter().take_while(|step| {
        count += step.range.as_ref().map_or(0, |range| range.upto - range.after);
        count <= events
    });
    &steps[..fits.count().max(1).min(steps.len())]
}

/// Whether a partition has as many rows as were requested, so that it may have more.
pub fn has_full_partition(rows: &[FeedRow], requested: i64) -> bool {
    let mut counts = std::collections::HashMap::new();
    rows.iter().any(|row| {
        let count = counts.entry(row.partition).or_insert(0_i64);
        *count += 1;
        *count >= requested
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(partition: u16, position: i64, room: &str, after: i64, upto: i64) -> FeedRow {
        FeedRow { partition: Partition(partition), position, room: RoomId::parse(room).unwrap(), after, upto }
    }

    fn described(steps: &[Step]) -> Vec<String> {
        let range = |range: &LogRange| format!("{}:{}-{}", range.room, range.after, range.upto);
        let step = |step: &Step| {
            let read = step.range.as_ref().map_or("none".to_owned(), range);
            format!("{read} -> {}.{}.{}", step.partition.0, step.next.from, step.next.seq)
        };
        steps.iter().map(step).collect()
    }

    #[test]
    fn page_ends_inside_a_row_at_its_limit() {
        let rows = [row(1, 10, "a", 0, 2), row(2, 11, "b", 4, 9), row(1, 12, "a", 2, 3)];
        let mut cursor = FeedCursor::start([1, 2].map(Partition).into_iter());
        assert_eq!(described(&steps(&rows, &cursor, None, 4)), ["a:0-2 -> 1.11.0", "b:4-6 -> 2.11.6"]);
        cursor.set(Partition(1), FeedPosition::after(10));
        cursor.set(Partition(2), FeedPosition { from: 11, seq: 6 });
        let rest = steps(&rows[1..], &cursor, None, 9);
        assert_eq!(described(&rest), ["b:6-9 -> 2.12.0", "a:2-3 -> 1.13.0"]);
        assert_eq!(
            described(&steps(&rows, &FeedCursor::start([1, 2].map(Partition).into_iter()), None, 2)).len(),
            1
        );
    }

    #[test]
    fn rows_of_other_rooms_move_the_cursor_only() {
        let rows = [row(1, 10, "a", 0, 2), row(1, 11, "b", 0, 1)];
        let cursor = FeedCursor::start([Partition(1)].into_iter());
        let wanted = RoomId::parse("b").unwrap();
        assert_eq!(
            described(&steps(&rows, &cursor, Some(&wanted), 1)),
            ["none -> 1.11.0", "b:0-1 -> 1.12.0"]
        );
    }

    #[test]
    fn long_row_is_read_in_several_steps() {
        let rows = [row(1, 10, "a", 0, 250), row(1, 11, "b", 0, 1)];
        let mut cursor = FeedCursor::start([Partition(1)].into_iter());
        assert_eq!(
            described(&steps(&rows, &cursor, None, 240)),
            ["a:0-100 -> 1.10.100", "a:100-200 -> 1.10.200", "a:200-240 -> 1.10.240"]
        );
        cursor.set(Partition(1), FeedPosition { from: 10, seq: i64::MAX });
        assert_eq!(described(&steps(&rows, &cursor, None, 240)), ["none -> 1.11.0", "b:0-1 -> 1.12.0"]);
    }

    #[test]
    fn chunk_has_at_least_one_step() {
        let rows = [row(1, 10, "a", 0, 100), row(1, 11, "b", 0, 1), row(1, 12, "b", 1, 2)];
        let steps = steps(&rows, &FeedCursor::start([Partition(1)].into_iter()), None, 1000);
        assert_eq!(chunk(&steps, 10).len(), 1);
        assert_eq!(chunk(&steps[1..], 100).len(), 2);
        assert!(chunk(&[], 100).is_empty());
    }

    #[test]
    fn full_partition_may_have_more_rows() {
        let rows = [row(1, 10, "a", 0, 1), row(2, 11, "b", 0, 1), row(1, 12, "a", 1, 2)];
        assert!(has_full_partition(&rows, 2));
        assert!(!has_full_partition(&rows, 3));
    }
}
