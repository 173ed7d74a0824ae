//! Messages in their present state: pages of history and single ones.
//! Reads `messages`, `users`, `reactions`. A page costs the same at any depth of the room.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, QueryResult};
use serde::Serialize;
use tidings_shared::ids::RoomId;
use utoipa::ToSchema;
use uuid::Uuid;

use super::access::Viewer;
use super::json::{Head, Raw, optional_time, raw, time};
use super::sql::{epoch_of, me, message_columns, reactions, statement, visible};
use crate::forms::{AttachmentForm, MetadataForm};

/// Who sent a message, as the user is called now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Sender {
    pub id: String,
    #[schema(required)]
    pub name: Option<String>,
    #[schema(required)]
    pub picture: Option<String>,
}

/// Whom a private message is for, besides its sender.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct VisibleTo {
    pub users: Vec<String>,
    pub roles: Vec<String>,
}

/// The message object of the contract.
#[derive(Debug, Serialize, ToSchema)]
pub struct Message {
    pub id: Uuid,
    pub seq: i64,
    pub room: String,
    pub client_id: String,
    pub sender: Sender,
    pub kind: String,
    /// Empty once deleted.
    pub content: String,
    #[schema(required)]
    pub reply_to: Option<i64>,
    #[schema(required, value_type = Option<Vec<AttachmentForm>>)]
    pub attachments: Option<Raw>,
    #[schema(required, value_type = Option<MetadataForm>)]
    pub metadata: Option<Raw>,
    /// Null: everyone in the room.
    #[schema(required)]
    pub visible_to: Option<VisibleTo>,
    #[serde(serialize_with = "time")]
    pub at: DateTime<Utc>,
    #[serde(serialize_with = "optional_time")]
    #[schema(required)]
    pub edited_at: Option<DateTime<Utc>>,
    pub deleted: bool,
    /// Seq of the event that last changed the message.
    pub last_seq: i64,
    #[schema(value_type = Vec<Reaction>)]
    pub reactions: Raw,
}

/// One emoji under a message.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reaction {
    pub emoji: String,
    pub count: i64,
    /// Whether I am among those who gave it.
    pub mine: bool,
    /// The first 20 who gave it.
    pub users: Vec<String>,
}

/// A message as the statements of this folder select it, every column prefixed with `m_`.
#[derive(Debug, FromQueryResult)]
pub(super) struct MessageRow {
    pub seq: i64,
    pub id: Uuid,
    pub client_id: String,
    pub sender_id: String,
    pub sender_name: Option<String>,
    pub sender_picture: Option<String>,
    pub kind: String,
    pub content: String,
    pub reply_to: Option<i64>,
    pub attachments: Option<String>,
    pub metadata: Option<String>,
    pub visible_users: Option<Vec<String>>,
    pub visible_roles: Option<Vec<String>>,
    pub at: DateTime<Utc>,
    pub edited_at: Option<DateTime<Utc>>,
    pub deleted: bool,
    pub last_seq: i64,
    pub reactions: Option<String>,
}

impl MessageRow {
    /// The message in a row of an outer join; None when that side is empty.
    pub(super) fn of(row: &QueryResult) -> Result<Option<Self>, DbErr> {
        match row.try_get::<Option<i64>>("", "m_seq")? {
            Some(_) => Self::from_query_result(row, "m_").map(Some),
            None => Ok(None),
        }
    }

    /// The message object. Of a deleted message nothing is told but that it was there.
    pub(super) fn message(self, room: &str) -> Result<Message, DbErr> {
        let visible_to = self.visible_to();
        let kept = |text: Option<String>| text.filter(|_| !self.deleted).map(raw).transpose();
        let (attachments, metadata) = (kept(self.attachments)?, kept(self.metadata)?);
        Ok(Message {
            id: self.id,
            seq: self.seq,
            room: room.to_owned(),
            client_id: self.client_id,
            sender: Sender { id: self.sender_id, name: self.sender_name, picture: self.sender_picture },
            kind: self.kind,
            content: if self.deleted { String::new() } else { self.content },
            reply_to: self.reply_to,
            attachments,
            metadata,
            visible_to,
            at: self.at,
            edited_at: self.edited_at,
            deleted: self.deleted,
            last_seq: self.last_seq,
            reactions: raw(self.reactions.unwrap_or_else(|| "[]".to_owned()))?,
        })
    }

    fn visible_to(&self) -> Option<VisibleTo> {
        if self.visible_users.is_none() && self.visible_roles.is_none() {
            return None;
        }
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        Some(VisibleTo { users: list(&self.visible_users), roles: list(&self.visible_roles) })
    }
}

/// Which messages a page holds: up to `older` at or below `pivot` and up to `newer` above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub pivot: i64,
    pub older: i64,
    pub newer: i64,
}

impl Window {
    #[must_use]
    pub fn last(limit: i64) -> Self {
        Self { pivot: i64::MAX, older: limit, newer: 0 }
    }

    #[must_use]
    pub fn before(seq: i64, limit: i64) -> Self {
        Self { pivot: seq.saturating_sub(1), older: limit, newer: 0 }
    }

    #[must_use]
    pub fn after(seq: i64, limit: i64) -> Self {
        Self { pivot: seq, older: 0, newer: limit }
    }

    /// `seq` itself counts among the older half.
    #[must_use]
    pub fn around(seq: i64, limit: i64) -> Self {
        Self { pivot: seq, older: limit - limit / 2, newer: limit / 2 }
    }
}

/// A page of history, ascending.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessagePage {
    pub messages: Vec<Message>,
    pub head: Head,
    pub has_before: bool,
    pub has_after: bool,
}

/// One message more than asked is read on either side: it tells whether there are any.
const PAGE: &str = concat!(
    "WITH ",
    me!(),
    ", ",
    "older AS (SELECT m.* FROM messages m WHERE m.room_id = $1 AND m.seq <= $4 AND EXISTS (SELECT FROM me) AND ",
    visible!("m", "sender_id", "(SELECT role FROM me)"),
    " ORDER BY m.seq DESC LIMIT $5 + 1), ",
    "newer AS (SELECT m.* FROM messages m WHERE m.room_id = $1 AND m.seq > $4 AND EXISTS (SELECT FROM me) AND ",
    visible!("m", "sender_id", "(SELECT role FROM me)"),
    " ORDER BY m.seq LIMIT $6 + 1) ",
    "SELECT me.head_seq, me.epoch, ",
    message_columns!(),
    ", ",
    reactions!(),
    " FROM me LEFT JOIN (SELECT * FROM older UNION ALL SELECT * FROM newer) m ON true ",
    "LEFT JOIN users u ON u.id = m.sender_id ORDER BY m.seq"
);

/// A page of history; None when the room is not the viewer's.
///
/// # Errors
/// When the database cannot be read.
pub async fn page(
    db: &impl ConnectionTrait,
    viewer: Viewer<'_>,
    room: &RoomId,
    window: Window,
) -> Result<Option<MessagePage>, DbErr> {
    let rows = db
        .query_all_raw(statement(
            PAGE,
            [
                room.as_str().into(),
                viewer.user.as_str().into(),
                viewer.admin.into(),
                window.pivot.into(),
                window.older.into(),
                window.newer.into(),
            ],
        ))
        .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let head = Head::new(first.try_get("", "epoch")?, first.try_get("", "head_seq")?);
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        found.extend(MessageRow::of(row)?);
    }
    let (kept, has_before, has_after) = cut(found, window);
    let messages = kept.into_iter().map(|row| row.message(room.as_str())).collect::<Result<_, _>>()?;
    Ok(Some(MessagePage { messages, head, has_before, has_after }))
}

/// Takes the one too many off either end of an ascending list.
fn cut(mut rows: Vec<MessageRow>, window: Window) -> (Vec<MessageRow>, bool, bool) {
    let below = rows.partition_point(|row| row.seq <= window.pivot) as i64;
    let above = rows.len() as i64 - below;
    let (has_before, has_after) = (below > window.older, above > window.newer);
    if has_after {
        rows.pop();
    }
    if has_before {
        rows.remove(0);
    }
    (rows, has_before, has_after)
}

const ONE: &str = concat!(
    "WITH ",
    me!(),
    " SELECT ",
    message_columns!(),
    ", ",
    reactions!(),
    " FROM messages m LEFT JOIN users u ON u.id = m.sender_id ",
    "WHERE m.room_id = $1 AND m.seq = $4 AND EXISTS (SELECT FROM me) AND ",
    visible!("m", "sender_id", "(SELECT role FROM me)")
);

/// One message; None when there is none at `seq` or the viewer may not see it.
///
/// # Errors
/// When the database cannot be read.
pub async fn one(
    db: &impl ConnectionTrait,
    viewer: Viewer<'_>,
    room: &RoomId,
    seq: i64,
) -> Result<Option<Message>, DbErr> {
    let row = db
        .query_one_raw(statement(
            ONE,
            [room.as_str().into(), viewer.user.as_str().into(), viewer.admin.into(), seq.into()],
        ))
        .await?;
    row.map(|row| MessageRow::from_query_result(&row, "m_")?.message(room.as_str())).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seq: i64) -> MessageRow {
        MessageRow {
            seq,
            id: Uuid::nil(),
            client_id: "c".into(),
            sender_id: "alice".into(),
            sender_name: None,
            sender_picture: None,
            kind: "text".into(),
            content: "hello".into(),
            reply_to: None,
            attachments: Some(r#"[{"name":"a"}]"#.into()),
            metadata: None,
            visible_users: None,
            visible_roles: Some(vec!["admin".into()]),
            at: DateTime::UNIX_EPOCH,
            edited_at: None,
            deleted: false,
            last_seq: seq,
            reactions: None,
        }
    }

    fn seqs(window: Window, found: &[i64]) -> (Vec<i64>, bool, bool) {
        let (rows, before, after) = cut(found.iter().map(|seq| row(*seq)).collect(), window);
        (rows.iter().map(|row| row.seq).collect(), before, after)
    }

    #[test]
    fn a_page_tells_whether_there_is_more_on_either_side() {
        assert_eq!(seqs(Window::last(2), &[7, 8, 9]), (vec![8, 9], true, false));
        assert_eq!(seqs(Window::last(3), &[7, 8, 9]), (vec![7, 8, 9], false, false));
        assert_eq!(seqs(Window::before(8, 2), &[5, 6, 7, 8]), (vec![6, 7], true, true));
        assert_eq!(seqs(Window::after(8, 2), &[8, 9, 10, 11]), (vec![9, 10], true, true));
        assert_eq!(seqs(Window::after(8, 2), &[9]), (vec![9], false, false));
        assert_eq!(seqs(Window::around(8, 3), &[6, 7, 8, 9, 10]), (vec![7, 8, 9], true, true));
        assert_eq!(seqs(Window::around(8, 1), &[7, 8, 9]), (vec![8], true, true));
        assert_eq!(seqs(Window::last(2), &[]), (vec![], false, false));
    }

    #[test]
    fn a_deleted_message_tells_nothing_of_what_it_said() {
        let message = MessageRow { deleted: true, ..row(1) }.message("r").unwrap();
        assert_eq!((message.content.as_str(), message.attachments.is_none()), ("", true));
    }

    #[test]
    fn a_message_object_carries_every_field_of_the_contract() {
        let value = serde_json::to_value(row(3).message("r").unwrap()).unwrap();
        let expected = serde_json::json!({
            "id": "00000000-0000-0000-0000-000000000000", "seq": 3, "room": "r", "client_id": "c",
            "sender": {"id": "alice", "name": null, "picture": null}, "kind": "text", "content": "hello",
            "reply_to": null, "attachments": [{"name": "a"}], "metadata": null,
            "visible_to": {"users": [], "roles": ["admin"]}, "at": "1970-01-01T00:00:00.000Z",
            "edited_at": null, "deleted": false, "last_seq": 3, "reactions": []
        });
        assert_eq!(value, expected);
    }
}
