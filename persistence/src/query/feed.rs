//! Reads the feed: the events of all rooms in the order in which each partition stored them. The table `feed` says
//! which seqs of which room were stored at which position; the events themselves are read from the logs.
//! A page is complete up to its cursor. No rule of visibility applies, so callers must check the scope first.

mod cursor;
mod plan;

use chrono::Utc;
use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use serde::Serialize;
use tidings_shared::events::MESSAGE_NEW;
use tidings_shared::ids::RoomId;
use tidings_shared::log::keys::Partition;
use tidings_shared::sabotage::{self, Sabotage};
use utoipa::ToSchema;

use super::events::frame_of_row;
use super::json::RawJson;
use super::page_budget::{PageBudget, ends_page};
use super::sql::{
    budget_begin, budget_end, message_bytes, message_columns, message_row, row_without_message,
};
use crate::schemas::EventForm;
use crate::sql::{column, partition_column, room_column, smallint, statement};
pub use cursor::{FeedCursor, FeedPosition};
pub use plan::LogRange;
use plan::{EVENTS_PER_STATEMENT, FeedRow, Step};

/// Minimum number of rows of `feed` that a page reads in each partition.
const MIN_ROWS_PER_PARTITION: i64 = 16;

/// Which events a consumer wants.
#[derive(Debug, Default)]
pub struct FeedFilter {
    pub room: Option<RoomId>,
    /// Event types; all if empty.
    pub types: Vec<String>,
}

/// A page of the feed.
#[derive(Debug, Serialize, ToSchema)]
pub struct FeedPage {
    /// The entries, in the order of each room's log.
    pub entries: Vec<FeedEntry>,
    /// The position after this page, opaque. It covers the partitions of the request.
    #[schema(value_type = String)]
    pub cursor: FeedCursor,
    /// Whether more events may be stored already. Then the next page should be read at once.
    pub more: bool,
    /// Milliseconds since the next event after this page was stored; 0 if there is no next event.
    #[schema(minimum = 0)]
    pub lag_ms: i64,
}

/// An event, or a range of a room's log that can no longer be read.
#[derive(Debug, Serialize, ToSchema)]
pub struct FeedEntry {
    #[schema(minimum = 0, maximum = 63)]
    pub partition: u16,
    /// The event, as pages of the log show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<EventForm>, nullable = false)]
    pub event: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub gap: Option<FeedGap>,
}

/// Events that were removed from the log of a room.
#[derive(Debug, Serialize, ToSchema)]
pub struct FeedGap {
    pub room: String,
    /// The first removed event follows this seq.
    #[schema(minimum = 0)]
    pub after: i64,
    /// The last removed event.
    #[schema(minimum = 1)]
    pub upto: i64,
}

/// For each partition, the rows from a position on. The LIMIT in the LATERAL makes PostgreSQL read each partition by its
/// key.
const ROWS_SQL: &str = "SELECT f.partition, f.position, f.room_id, f.after_seq, f.upto_seq \
    FROM unnest($1::smallint[], $2::bigint[]) AS c (partition, position) \
    CROSS JOIN LATERAL (SELECT * FROM feed n WHERE n.partition = c.partition AND n.position >= c.position \
      ORDER BY n.position LIMIT $3) f ORDER BY f.position, f.partition";

/// The events of ranges of logs, up to `$5` bytes. The LIMITs remove no rows, but make PostgreSQL read each range by its
/// key.
const EVENTS_SQL: &str = concat!(
    "SELECT m.n, m.event_type, m.event_body, m.event_blank, m.ends_page, NULL::text AS m_reactions, ",
    message_columns!(),
    " FROM (",
    budget_begin!("$5", "p.n, p.seq"),
    "(SELECT v.n, m.* FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS v (room, after, upto, n) \
     CROSS JOIN LATERAL ((SELECT NULL::text AS event_type, NULL::text AS event_body, NULL::boolean AS event_blank, ",
    message_bytes!(),
    " AS bytes, ",
    message_row!(),
    " FROM messages m WHERE m.room_id = v.room AND m.seq > v.after AND m.seq <= v.upto ORDER BY m.seq LIMIT $4) \
     UNION ALL (SELECT e.type, e.body::text, e.type = 'message:edited' AND COALESCE((SELECT t.deleted FROM messages t \
       WHERE t.room_id = v.room AND t.seq = e.target), false), octet_length(e.body::text), ",
    row_without_message!(),
    " FROM events e WHERE e.room_id = v.room AND e.seq > v.after AND e.seq <= v.upto ORDER BY e.seq LIMIT $4)) m)",
    budget_end!("$5"),
    ") m LEFT JOIN users u ON u.id = m.sender_id ORDER BY m.n, m.seq"
);

/// Whether the feed is on. While it is off, PostgreSQL records no order, so there is nothing to read.
pub async fn is_on(db: &impl ConnectionTrait) -> Result<bool, DbErr> {
    let sql = "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'rooms'::regclass AND tgname = 'head_moved') AS is_on";
    let row = db.query_one_raw(statement(sql, [])).await?;
    row.map_or(Ok(false), |row| row.try_get_by("is_on"))
}

/// The last position of each partition that has one.
const HEADS_SQL: &str = "SELECT c.partition, f.position FROM unnest($1::smallint[]) AS c (partition) \
    CROSS JOIN LATERAL (SELECT n.position FROM feed n WHERE n.partition = c.partition \
      ORDER BY n.position DESC LIMIT 1) f";

/// The cursor after all events of these partitions that are stored now.
pub async fn stored_end(
    db: &impl ConnectionTrait,
    partitions: impl Iterator<Item = Partition>,
) -> Result<FeedCursor, DbErr> {
    let mut end = FeedCursor::start(partitions);
    let numbers: Vec<Partition> = end.partitions().collect();
    let values = [column(&numbers, |partition| smallint(*partition))];
    for row in &db.query_all_raw(statement(HEADS_SQL, values)).await? {
        let position: i64 = row.try_get_by("position")?;
        end.set(partition_column(row, "partition")?, FeedPosition::after(position));
    }
    Ok(end)
}

/// Reads the page after a cursor. `limit` counts the events before the filter for types.
pub async fn page(
    db: &impl ConnectionTrait,
    mut cursor: FeedCursor,
    filter: &FeedFilter,
    limit: i64,
) -> Result<FeedPage, DbErr> {
    let per_partition = (limit / 4).max(MIN_ROWS_PER_PARTITION);
    let rows = feed_rows(db, &cursor, per_partition).await?;
    let may_have_more = plan::has_full_partition(&rows, per_partition);
    let steps = plan::steps(&rows, &cursor, filter.room.as_ref(), limit);
    let (mut entries, mut budget, mut done) = (Vec::new(), PageBudget::default(), 0);
    while done < steps.len() && !budget.is_full() {
        let chunk = plan::chunk(&steps[done..], EVENTS_PER_STATEMENT);
        let end = read_events(db, chunk, filter, &mut budget, &mut entries).await?;
        for step in &chunk[..end.map_or(chunk.len(), |(index, _)| index)] {
            cursor.set(step.partition, step.next);
        }
        if let Some((index, seq)) = end {
            cursor.set(chunk[index].partition, FeedPosition { from: chunk[index].position, seq });
        }
        done += chunk.len();
    }
    let next = rows.iter().find(|row| cursor.has_before(row.partition, row.position));
    let stored_for_us = |row: &FeedRow| (Utc::now().timestamp_micros() - row.position).max(0);
    Ok(FeedPage {
        entries,
        more: next.is_some() || may_have_more,
        lag_ms: next.map_or(0, |row| stored_for_us(row) / 1000),
        cursor,
    })
}

/// Reads the entries of ranges of logs as the feed shows them now. A range may have no entry, because the feed leaves out
/// some stored events.
pub async fn entries_of(db: &impl ConnectionTrait, ranges: Vec<LogRange>) -> Result<Vec<FeedEntry>, DbErr> {
    let step = |range: LogRange| {
        let partition = Partition::of(&range.room);
        Step { partition, position: 0, next: FeedPosition::default(), range: Some(range) }
    };
    let steps: Vec<Step> = ranges.into_iter().map(step).collect();
    let (mut entries, mut no_limit) = (Vec::new(), PageBudget::new(usize::MAX));
    read_events(db, &steps, &FeedFilter::default(), &mut no_limit, &mut entries).await?;
    Ok(entries)
}

async fn feed_rows(
    db: &impl ConnectionTrait,
    cursor: &FeedCursor,
    per_partition: i64,
) -> Result<Vec<FeedRow>, DbErr> {
    let positions: Vec<_> = cursor.positions().collect();
    let values = [
        column(&positions, |(partition, _)| smallint(*partition)),
        column(&positions, |(_, position)| position.from),
        per_partition.into(),
    ];
    let rows = db.query_all_raw(statement(ROWS_SQL, values)).await?;
    let row = |row: &QueryResult| {
        Ok(FeedRow {
            partition: partition_column(row, "partition")?,
            position: row.try_get_by("position")?,
            room: room_column(row, "room_id")?,
            after: row.try_get_by("after_seq")?,
            upto: row.try_get_by("upto_seq")?,
        })
    };
    let mut rows = rows.iter().map(row).collect::<Result<Vec<_>, DbErr>>()?;
    if sabotage::is_active(Sabotage::FeedOrder) {
        swap_neighbours(&mut rows);
    }
    Ok(rows)
}

/// Swaps the rows of each partition in pairs. Only the sabotage needs this.
fn swap_neighbours(rows: &mut [FeedRow]) {
    // Groups the partitions. The sort keeps the order of the positions.
    rows.sort_by_key(|row| row.partition);
    for of_partition in rows.chunk_by_mut(|one, other| one.partition == other.partition) {
        of_partition.chunks_exact_mut(2).for_each(|pair| pair.swap(0, 1));
    }
}

/// Appends the events of these steps to `entries`, until the budget is full. All events that are read count, also those
/// that the filter leaves out. Returns where a full page ends: the index of the step, and the seq up to which it is read.
async fn read_events(
    db: &impl ConnectionTrait,
    steps: &[Step],
    filter: &FeedFilter,
    budget: &mut PageBudget,
    entries: &mut Vec<FeedEntry>,
) -> Result<Option<(usize, i64)>, DbErr> {
    let steps = steps.iter().enumerate();
    let ranges: Vec<_> =
        steps.filter_map(|(index, step)| Some((index, step.partition, step.range.as_ref()?))).collect();
    if ranges.is_empty() {
        return Ok(None);
    }
    let longest = ranges.iter().map(|(_, _, range)| range.upto - range.after).max();
    let values = [
        column(&ranges, |(_, _, range)| range.room.as_str().to_owned()),
        column(&ranges, |(_, _, range)| range.after),
        column(&ranges, |(_, _, range)| range.upto),
        longest.into(),
        budget.sql_value(),
    ];
    let rows = db.query_all_raw(statement(EVENTS_SQL, values)).await?;
    let mut rows = rows.iter().peekable();
    for (number, (index, partition, range)) in (1_i64..).zip(ranges) {
        let gap = |after, upto, entries: &mut Vec<FeedEntry>| {
            if after < upto {
                let gap = FeedGap { room: range.room.to_string(), after, upto };
                entries.push(FeedEntry { partition: partition.0, event: None, gap: Some(gap) });
            }
        };
        let mut reached = range.after;
        while let Some(row) = rows.next_if(|row| row.try_get_by::<i64, _>("n").is_ok_and(|n| n == number)) {
            let seq: i64 = row.try_get_by("m_seq")?;
            let kind: Option<String> = row.try_get_by("event_type")?;
            let kind = kind.as_deref().unwrap_or(MESSAGE_NEW);
            let event = frame_of_row(row, &range.room)?;
            let bytes = event.as_ref().map_or(0, |event| event.get().len());
            if !budget.admit_bytes(bytes, ends_page(row)?) {
                return Ok(Some((index, reached)));
            }
            gap(reached, seq - 1, entries);
            reached = seq;
            let is_dropped = sabotage::is_active(Sabotage::Feed) && seq % 50 == 0;
            let is_wanted = filter.types.is_empty() || filter.types.iter().any(|wanted| wanted == kind);
            if let Some(event) = event.filter(|_| is_wanted && !is_dropped) {
                entries.push(FeedEntry { partition: partition.0, event: Some(event), gap: None });
            }
            if budget.is_full() {
                return Ok(Some((index, reached)));
            }
        }
        gap(reached, range.upto, entries);
    }
    Ok(None)
}
