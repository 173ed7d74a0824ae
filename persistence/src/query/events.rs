//! Reads the log of a room after a seq: the merge of `messages` and `events`, as event frames.
//! A page is complete up to its `next`, even if the viewer may not see some of its events. If the epoch of the request
//! is not valid at the requested seqs, the result is [`EventsOutcome::EpochEnded`].

mod frame;
mod system;

use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};
use serde::Serialize;
use tidings_shared::events::MEMBER_ADDED;
use tidings_shared::ids::{Epoch, RoomId};
use utoipa::ToSchema;

use super::access::Viewer;
use super::json::{Head, RawJson};
use super::messages::Message;
use super::page_budget::{PageBudget, ends_page};
use super::sql::{
    budget_begin, budget_end, epoch_of, me, message_bytes, message_columns, message_row, row_without_message,
    visible,
};
use crate::schemas::EventForm;
use crate::sql::{newest_epoch, statement};

pub use system::{SystemEvents, system_events};

/// Event frames after a seq, ascending.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage {
    /// Event frames as over the WebSocket. Messages have their present content.
    #[schema(value_type = Vec<EventForm>)]
    pub events: Vec<RawJson>,
    /// All events up to this seq that the viewer may see are in this page or in earlier ones.
    pub next: Head,
    pub head: Head,
    /// Whether the log continues after `next`.
    pub more: bool,
}

/// The requested range of the log.
#[derive(Clone, Copy, Debug)]
pub struct EventRange<'a> {
    pub after: i64,
    /// How many seqs of the log one page spans at most, including events that the viewer may not see.
    pub limit: i64,
    /// The epoch of the client's cursor, as the client sent it.
    pub epoch: Option<&'a str>,
    /// A seq that must be valid in `epoch` too.
    pub upto: Option<i64>,
}

/// The result of reading a range of a room's log.
#[derive(Debug)]
pub enum EventsOutcome {
    Page(EventPage),
    /// The epoch is not valid at the requested seqs: everything above `after` must be read again.
    EpochEnded {
        after: i64,
    },
}

/// `$4` is the seq after which the page begins, `$5` the limit, `$6` the epoch of the cursor or NULL. Seqs are dense,
/// so a page is a range of the key. The LIMITs remove no rows, but give the planner the number of rows to expect. An
/// event about a message is also visible to the sender of that message. An actor who has lost the role that showed the
/// message does not see the event. A void is visible to its sender. `event_blank` is true for an edit whose message is
/// deleted. `$7` is the number of bytes at which the page ends.
const EVENTS_SQL: &str = concat!(
    "WITH ",
    me!(),
    ", m AS (",
    "(SELECT NULL::text AS event_type, NULL::text AS event_body, NULL::boolean AS event_blank, ",
    message_bytes!(),
    " AS bytes, ",
    message_row!(),
    " FROM messages m WHERE m.room_id = $1 AND m.seq > $4 AND m.seq <= $4 + $5 AND EXISTS (SELECT FROM me) AND ",
    visible!("m", "m.sender_id", "(SELECT role FROM me)"),
    " ORDER BY m.seq LIMIT $5) UNION ALL (SELECT e.type, e.body::text, ",
    "e.type = 'message:edited' AND COALESCE((SELECT t.deleted FROM messages t WHERE t.room_id = $1 AND t.seq = e.target), false), ",
    "octet_length(e.body::text), ",
    row_without_message!(),
    " FROM events e WHERE e.room_id = $1 AND e.seq > $4 AND e.seq <= $4 + $5 AND EXISTS (SELECT FROM me) AND (",
    visible!(
        "e",
        "CASE WHEN e.type IN ('message:void', 'void') THEN e.actor_id END",
        "(SELECT role FROM me)"
    ),
    " OR (SELECT t.sender_id FROM messages t WHERE t.room_id = $1 AND t.seq = e.target) = $2) ORDER BY e.seq LIMIT $5)) ",
    "SELECT me.head_seq, me.epoch, ",
    "(SELECT min(p.base) FROM room_epochs p WHERE p.room_id = $1 AND p.epoch > $6) AS good_up_to, ",
    newest_epoch!("(SELECT me.partition FROM me)"),
    " AS newest, ",
    "m.event_type, m.event_body, m.event_blank, m.ends_page, NULL::text AS m_reactions, ",
    message_columns!(),
    " FROM me LEFT JOIN (",
    budget_begin!("$7", "p.seq"),
    "m",
    budget_end!("$7"),
    ") m ON true LEFT JOIN users u ON u.id = m.sender_id ORDER BY m.seq"
);

/// Reads the events in a range of a room's log; None if the viewer may not see the room.
pub async fn events(
    db: &impl ConnectionTrait,
    viewer: Viewer<'_>,
    room: &RoomId,
    range: EventRange<'_>,
) -> Result<Option<EventsOutcome>, DbErr> {
    let epoch = range.epoch.map(parse_epoch);
    let cursor_epoch: Value = epoch.flatten().into();
    let mut budget = PageBudget::default();
    let values = [
        room.as_str().into(),
        viewer.user.as_str().into(),
        viewer.admin.into(),
        range.after.into(),
        range.limit.into(),
        cursor_epoch,
        budget.sql_value(),
    ];
    let rows = db.query_all_raw(statement(EVENTS_SQL, values)).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let (head, epoch_now): (i64, i64) = (first.try_get("", "head_seq")?, first.try_get("", "epoch")?);
    let later =
        LaterEpochs { newest: first.try_get("", "newest")?, lowest_base: first.try_get("", "good_up_to")? };
    if let Some(epoch) = epoch
        && let Some(after) = later.invalid_above(epoch, range.after.max(range.upto.unwrap_or(0)))
    {
        return Ok(Some(EventsOutcome::EpochEnded { after }));
    }
    let (mut events, mut end) = (Vec::new(), (range.after + range.limit).min(head));
    for row in &rows {
        let Some(frame) = frame_of_row(row, room)? else { continue };
        let seq: i64 = row.try_get("", "m_seq")?;
        let is_admitted = budget.admit_bytes(frame.get().len(), ends_page(row)?);
        if is_admitted {
            events.push(frame);
        }
        if budget.is_full() {
            end = if is_admitted { seq } else { seq - 1 };
            break;
        }
    }
    Ok(Some(EventsOutcome::Page(EventPage {
        events,
        next: Head::new(epoch_now, end),
        head: Head::new(epoch_now, head),
        more: end < head,
    })))
}

/// Parses an epoch; None for a text that is not a valid epoch.
fn parse_epoch(text: &str) -> Option<i64> {
    Epoch::parse(text).and_then(|epoch| i64::try_from(epoch.0).ok())
}

/// What PostgreSQL has stored about epochs that are later than the requested one.
struct LaterEpochs {
    /// The newest epoch of the room's partition.
    newest: Option<i64>,
    /// The lowest base of the room in an epoch that is later than the requested one.
    lowest_base: Option<i64>,
}

impl LaterEpochs {
    /// None if `epoch` is valid at `seq`; otherwise the last seq at which it is valid.
    fn invalid_above(&self, epoch: Option<i64>, seq: i64) -> Option<i64> {
        match epoch {
            Some(epoch) if self.newest.is_some_and(|newest| epoch <= newest) => {
                self.lowest_base.filter(|base| seq > *base)
            }
            _ => Some(0),
        }
    }
}

/// The frame of a row with the columns of `EVENTS_SQL`; None if the row has no event.
pub(super) fn frame_of_row(row: &QueryResult, room: &RoomId) -> Result<Option<RawJson>, DbErr> {
    let event: Option<String> = row.try_get("", "event_type")?;
    if let Some(kind) = event {
        let (seq, at) = (row.try_get("", "m_seq")?, row.try_get("", "m_at")?);
        let body: String = row.try_get("", "event_body")?;
        let body = if row.try_get("", "event_blank")? {
            frame::without_content(&body)?
        } else if kind == MEMBER_ADDED {
            let (name, picture) = (row.try_get("", "m_sender_name")?, row.try_get("", "m_sender_picture")?);
            frame::with_profile(&body, name, picture)?
        } else {
            body
        };
        return frame::event_frame(&kind, &body, room.as_str(), seq, &at).map(Some);
    }
    Message::from_row(row, room.as_str())?.map(|message| frame::message_frame(&message)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unopened_epoch_is_never_valid() {
        let later = LaterEpochs { newest: Some(4), lowest_base: None };
        assert_eq!(later.invalid_above(None, 0), Some(0));
        assert_eq!(later.invalid_above(Some(5), 3), Some(0));
        assert_eq!(later.invalid_above(Some(4), 3), None);
        assert_eq!(LaterEpochs { newest: None, lowest_base: None }.invalid_above(Some(1), 0), Some(0));
    }

    #[test]
    fn epoch_is_valid_up_to_lowest_later_base() {
        let later = LaterEpochs { newest: Some(4), lowest_base: Some(10) };
        assert_eq!(later.invalid_above(Some(3), 10), None);
        assert_eq!(later.invalid_above(Some(3), 11), Some(10));
    }

    #[test]
    fn only_a_canonical_decimal_is_an_epoch() {
        assert_eq!(parse_epoch("7"), Some(7));
        for bad in ["", "07", "x", "-1", "18446744073709551615"] {
            assert_eq!(parse_epoch(bad), None, "{bad:?}");
        }
    }
}
