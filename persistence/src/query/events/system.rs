//! Reads the changes of members and of the room in a range of a room's log. Reads `events`.
//! Every member may see them.

use std::ops::RangeInclusive;

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::ids::RoomId;
use tidings_shared::limits::MAX_PAGE_ENTRIES;

use super::super::access::Viewer;
use super::super::json::RawJson;
use super::super::page_budget::{PageBudget, ends_page};
use super::super::sql::{budget_begin, budget_end, epoch_of, me};
use super::frame_of_row;
use crate::sql::statement;

/// Number of seqs that are searched, the last ones of the range. A room may have many reactions among few messages.
const MAX_SEARCHED_SEQS: i64 = 10_000;

/// Event frames, ascending.
#[derive(Debug)]
pub struct SystemEvents {
    pub events: Vec<RawJson>,
    /// Whether the range may have earlier ones.
    pub truncated: bool,
}

/// `$4` and `$5` are the first and the last seq, `$6` the limit, `$7` the bytes that the events may have. The events
/// with the highest seqs are kept. The types are those of `tidings_shared::events`.
const SYSTEM_EVENTS_SQL: &str = concat!(
    "WITH ",
    me!(),
    " SELECT m.* FROM (",
    budget_begin!("$7", "p.m_seq DESC"),
    "(SELECT e.type AS event_type, e.body::text AS event_body, false AS event_blank, e.seq AS m_seq, e.at AS m_at, ",
    "octet_length(e.body::text) AS bytes FROM events e WHERE e.room_id = $1 AND e.seq BETWEEN $4 AND $5 ",
    "AND e.type IN ('member:added', 'member:changed', 'member:removed', 'room:updated') AND EXISTS (SELECT FROM me) ",
    "ORDER BY e.seq DESC LIMIT $6)",
    budget_end!("$7"),
    ") m ORDER BY m.m_seq DESC"
);

/// Reads the changes of members and of the room in `range`, at most `MAX_PAGE_ENTRIES` and about `bytes`, those with
/// the highest seqs. None are found if the viewer may not see the room.
///
/// # Errors
/// When PostgreSQL cannot be read.
pub async fn system_events(
    db: &impl ConnectionTrait,
    viewer: Viewer<'_>,
    room: &RoomId,
    range: RangeInclusive<i64>,
    bytes: usize,
) -> Result<SystemEvents, DbErr> {
    let (first, last) = range.into_inner();
    let searched_from = first.max(last.saturating_sub(MAX_SEARCHED_SEQS - 1));
    let mut budget = PageBudget::new(bytes);
    let values = [
        room.as_str().into(),
        viewer.user.as_str().into(),
        viewer.admin.into(),
        searched_from.into(),
        last.into(),
        (MAX_PAGE_ENTRIES + 1).into(),
        budget.sql_value(),
    ];
    let rows = db.query_all_raw(statement(SYSTEM_EVENTS_SQL, values)).await?;
    let limit = usize::try_from(MAX_PAGE_ENTRIES).unwrap_or_default();
    let mut events = Vec::with_capacity(rows.len().min(limit));
    for row in rows.iter().take(limit) {
        let Some(frame) = frame_of_row(row, room)? else { continue };
        if !budget.admit_bytes(frame.get().len(), ends_page(row)?) {
            break;
        }
        events.push(frame);
    }
    events.reverse();
    Ok(SystemEvents { events, truncated: searched_from > first || budget.is_full() || rows.len() > limit })
}
