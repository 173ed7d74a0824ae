//! The raw log of a room after a position: the merge of `messages` and `events`, as event frames.
//! Promises that a page is complete up to its `next`, whatever the viewer may not see in it, and that
//! an epoch in which the asked positions no longer hold is told instead of answered.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};
use serde::Serialize;
use serde_json::value::RawValue;
use tidings_shared::ids::{Epoch, RoomId};
use utoipa::ToSchema;
use uuid::Uuid;

use super::access::Viewer;
use super::json::{Head, Raw, optional_time, time};
use super::messages::{Message, MessageRow, VisibleTo};
use super::sql::{epoch_of, me, message_columns, statement, visible};

/// Event frames after a position, ascending.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventPage {
    /// Log event frames as over the WebSocket, messages with their present content.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Raw>,
    /// All events up to here that the viewer may see are in this page or before it.
    pub next: Head,
    pub head: Head,
    /// Whether the log goes on behind `next`.
    pub more: bool,
}

/// Type of the row that stands where a record counts for nothing.
const VOID: &str = "void";

/// What is asked of the log.
#[derive(Clone, Copy, Debug)]
pub struct EventRange<'a> {
    pub after: i64,
    /// Positions of the log that one page spans, visible or not.
    pub limit: i64,
    /// The epoch of the asker's cursor, as the client sent it.
    pub epoch: Option<&'a str>,
    /// The position that must hold in `epoch` too.
    pub upto: Option<i64>,
}

/// How a read of the log ended.
#[derive(Debug)]
pub enum Events {
    Page(EventPage),
    /// The epoch is no longer good at the asked positions: what lies above `after` is to be read anew.
    EpochPast {
        after: i64,
    },
}

/// `$4` after, `$5` limit, `$6` epoch of the cursor or NULL. Seq is dense, so a page is a range of the
/// key; the LIMITs cut nothing off, they tell the planner how few rows that is. What aims at a message is
/// also for the one who sent it.
const EVENTS: &str = concat!(
    "WITH ",
    me!(),
    ", m AS (",
    "(SELECT NULL::text AS event_type, NULL::text AS event_body, m.room_id, m.seq, m.id, m.client_id, ",
    "m.sender_id, m.kind, m.content, m.reply_to, m.attachments, m.metadata, m.visible_users, m.visible_roles, ",
    "m.at, m.edited_at, m.deleted, m.last_seq ",
    "FROM messages m WHERE m.room_id = $1 AND m.seq > $4 AND m.seq <= $4 + $5 AND EXISTS (SELECT FROM me) AND ",
    visible!("m", "sender_id", "(SELECT role FROM me)"),
    " ORDER BY m.seq LIMIT $5) UNION ALL (SELECT e.type, e.body::text, e.room_id, e.seq, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, ",
    "NULL, NULL, e.at, NULL, NULL, NULL ",
    "FROM events e WHERE e.room_id = $1 AND e.seq > $4 AND e.seq <= $4 + $5 AND EXISTS (SELECT FROM me) AND (",
    visible!("e", "actor_id", "(SELECT role FROM me)"),
    " OR (SELECT t.sender_id FROM messages t WHERE t.room_id = $1 AND t.seq = e.target) = $2) ORDER BY e.seq LIMIT $5)) ",
    "SELECT me.head_seq, me.epoch, ",
    "(SELECT min(p.base) FROM room_epochs p WHERE p.room_id = $1 AND p.epoch > $6) AS good_up_to, ",
    "(SELECT max(o.epoch) FROM epochs_opened o) AS newest, ",
    "m.event_type, m.event_body, NULL::text AS m_reactions, ",
    message_columns!(),
    " FROM me LEFT JOIN m ON true LEFT JOIN users u ON u.id = m.sender_id ORDER BY m.seq"
);

/// The events after a position; None when the room is not the viewer's.
///
/// # Errors
/// When the database cannot be read.
pub async fn events(
    db: &impl ConnectionTrait,
    viewer: Viewer<'_>,
    room: &RoomId,
    range: EventRange<'_>,
) -> Result<Option<Events>, DbErr> {
    let epoch = range.epoch.map(known_form);
    let asked: Value = epoch.flatten().into();
    let rows = db
        .query_all_raw(statement(
            EVENTS,
            [
                room.as_str().into(),
                viewer.user.as_str().into(),
                viewer.admin.into(),
                range.after.into(),
                range.limit.into(),
                asked,
            ],
        ))
        .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let (head, epoch_now): (i64, i64) = (first.try_get("", "head_seq")?, first.try_get("", "epoch")?);
    let bases = Bases { newest: first.try_get("", "newest")?, lowest: first.try_get("", "good_up_to")? };
    if let Some(epoch) = epoch
        && let Some(after) = bases.past(epoch, range.after.max(range.upto.unwrap_or(0)))
    {
        return Ok(Some(Events::EpochPast { after }));
    }
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        events.extend(frame(row, room)?);
    }
    let end = (range.after + range.limit).min(head);
    Ok(Some(Events::Page(EventPage {
        events,
        next: Head::new(epoch_now, end),
        head: Head::new(epoch_now, head),
        more: end < head,
    })))
}

/// The number of an epoch; None for a text that is no epoch of ours.
fn known_form(text: &str) -> Option<i64> {
    Epoch::parse(text).and_then(|epoch| i64::try_from(epoch.0).ok())
}

/// What the database knows of the epochs later than the asked one.
struct Bases {
    newest: Option<i64>,
    /// The lowest base of the room in any later epoch.
    lowest: Option<i64>,
}

impl Bases {
    /// The position above which `epoch` is no longer good, if `seq` lies above it.
    fn past(&self, epoch: Option<i64>, seq: i64) -> Option<i64> {
        match epoch {
            Some(epoch) if self.newest.is_some_and(|newest| epoch <= newest) => {
                self.lowest.filter(|base| seq > *base)
            }
            _ => Some(0),
        }
    }
}

fn frame(row: &QueryResult, room: &RoomId) -> Result<Option<Raw>, DbErr> {
    let event: Option<String> = row.try_get("", "event_type")?;
    if let Some(kind) = event {
        let (seq, at) = (row.try_get("", "m_seq")?, row.try_get("", "m_at")?);
        let body: String = row.try_get("", "event_body")?;
        return event_frame(&kind, &body, room.as_str(), seq, &at).map(Some);
    }
    let message = MessageRow::of(row)?.map(|row| row.message(room.as_str())).transpose()?;
    message.map(|message| message_frame(&message)).transpose()
}

/// `message:new` as it would be pushed, with what the message says now.
#[derive(Serialize)]
struct MessageFrame<'a> {
    r#type: &'static str,
    room: &'a str,
    seq: i64,
    #[serde(serialize_with = "time")]
    at: DateTime<Utc>,
    id: Uuid,
    client_id: &'a str,
    sender: SenderFields<'a>,
    kind: &'a str,
    content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attachments: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    visible_to: Option<&'a VisibleTo>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_time")]
    edited_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<bool>,
}

#[derive(Serialize)]
struct SenderFields<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<&'a str>,
}

fn message_frame(message: &Message) -> Result<Raw, DbErr> {
    let sender = &message.sender;
    written(&MessageFrame {
        r#type: "message:new",
        room: &message.room,
        seq: message.seq,
        at: message.at,
        id: message.id,
        client_id: &message.client_id,
        sender: SenderFields {
            id: &sender.id,
            name: sender.name.as_deref(),
            picture: sender.picture.as_deref(),
        },
        kind: &message.kind,
        content: &message.content,
        reply_to: message.reply_to,
        attachments: message.attachments.as_deref(),
        metadata: message.metadata.as_deref(),
        visible_to: message.visible_to.as_ref(),
        edited_at: message.edited_at,
        deleted: message.deleted.then_some(true),
    })
}

/// What every event frame begins with, whether or not the stored body tells it again.
const COMMON_FIELDS: [&str; 4] = ["type", "room", "seq", "at"];

fn event_frame(kind: &str, body: &str, room: &str, seq: i64, at: &DateTime<Utc>) -> Result<Raw, DbErr> {
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = if kind == VOID {
        BTreeMap::new()
    } else {
        serde_json::from_str(body).map_err(|error| unreadable(&error))?
    };
    let own = fields.into_iter().filter(|(name, _)| !COMMON_FIELDS.contains(&name.as_ref())).collect();
    written(&EventFrame { r#type: kind, room, seq, at: *at, own })
}

#[derive(Serialize)]
struct EventFrame<'a> {
    r#type: &'a str,
    room: &'a str,
    seq: i64,
    #[serde(serialize_with = "time")]
    at: DateTime<Utc>,
    #[serde(flatten)]
    own: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

fn written(frame: &impl Serialize) -> Result<Raw, DbErr> {
    serde_json::value::to_raw_value(frame).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> DbErr {
    DbErr::Custom(format!("a stored event cannot be put into a frame: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::json::raw;
    use crate::query::messages::Sender;

    #[test]
    fn an_epoch_that_was_never_opened_is_good_for_nothing() {
        let bases = Bases { newest: Some(4), lowest: None };
        assert_eq!(bases.past(None, 0), Some(0));
        assert_eq!(bases.past(Some(5), 3), Some(0));
        assert_eq!(bases.past(Some(4), 3), None);
        assert_eq!(Bases { newest: None, lowest: None }.past(Some(1), 0), Some(0));
    }

    #[test]
    fn an_epoch_is_good_up_to_the_lowest_base_of_the_later_ones() {
        let bases = Bases { newest: Some(4), lowest: Some(10) };
        assert_eq!(bases.past(Some(3), 10), None);
        assert_eq!(bases.past(Some(3), 11), Some(10));
    }

    #[test]
    fn only_a_canonical_decimal_names_an_epoch() {
        assert_eq!(known_form("7"), Some(7));
        for bad in ["", "07", "x", "-1", "18446744073709551615"] {
            assert_eq!(known_form(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_void_row_tells_its_position_and_nothing_else() {
        let frame = event_frame("void", r#"{"content":"secret"}"#, "r", 5, &DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(frame.get(), r#"{"type":"void","room":"r","seq":5,"at":"1970-01-01T00:00:00.000Z"}"#);
    }

    #[test]
    fn an_event_frame_tells_its_common_fields_once_and_its_own_unchanged() {
        let body =
            r#"{"type":"x","room":"y","seq":1,"at":"z","by":"al\u0069ce","metadata":{"b":1.0, "a":2}}"#;
        let frame = event_frame("room:updated", body, "r", 5, &DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(
            frame.get(),
            r#"{"type":"room:updated","room":"r","seq":5,"at":"1970-01-01T00:00:00.000Z","by":"al\u0069ce","metadata":{"b":1.0, "a":2}}"#
        );
    }

    #[test]
    fn a_message_frame_leaves_out_what_the_message_does_not_have() {
        let message = Message {
            id: Uuid::nil(),
            seq: 2,
            room: "r".into(),
            client_id: "c".into(),
            sender: Sender { id: "alice".into(), name: None, picture: None },
            kind: "text".into(),
            content: "a \"b\"".into(),
            reply_to: None,
            attachments: None,
            metadata: None,
            visible_to: None,
            at: DateTime::UNIX_EPOCH,
            edited_at: None,
            deleted: false,
            last_seq: 2,
            reactions: raw("[]".into()).unwrap(),
        };
        assert_eq!(
            message_frame(&message).unwrap().get(),
            concat!(
                r#"{"type":"message:new","room":"r","seq":2,"at":"1970-01-01T00:00:00.000Z","#,
                r#""id":"00000000-0000-0000-0000-000000000000","client_id":"c","sender":{"id":"alice"},"#,
                r#""kind":"text","content":"a \"b\""}"#
            )
        );
        let deleted = Message { deleted: true, content: String::new(), ..message };
        assert!(message_frame(&deleted).unwrap().get().ends_with(r#""content":"","deleted":true}"#));
    }
}
