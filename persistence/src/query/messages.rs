//! Reads messages in their present state: pages of history and single messages.
//! Reads `messages`, `users` and `reactions`.

mod page;

use chrono::{DateTime, Utc};
use sea_orm::sqlx::{Column, Decode, Postgres, Row, Type, postgres::PgRow};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, QueryResult, RuntimeErr, SqlxError};
use serde::Serialize;
use tidings_shared::ids::{RoomId, Seq};
use tidings_shared::message::events::{Audience, MessageBody};
use tidings_shared::message::{Attachment, Sender as EventSender};
use tidings_shared::openapi::MetadataForm;
use utoipa::ToSchema;
use uuid::Uuid;

use super::access::Viewer;
use super::json::{Raw, optional_time, time};
use super::sql::{epoch_of, me, message_columns, reactions, visible};
use crate::sql::statement;

pub use page::{MessagePage, Window, page};

/// The sender of a message, with their present name and picture.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Sender {
    pub id: String,
    #[schema(required)]
    pub name: Option<String>,
    #[schema(required)]
    pub picture: Option<String>,
}

/// The users and roles that may see a private message, in addition to its sender.
#[derive(Clone, Debug, Serialize, FromQueryResult, ToSchema)]
pub struct VisibleTo {
    pub users: Vec<String>,
    pub roles: Vec<String>,
}

/// A message in its present state, as HTTP answers contain it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Message {
    pub id: Uuid,
    pub seq: i64,
    pub room: String,
    pub client_id: String,
    pub sender: Sender,
    pub kind: String,
    /// The text; empty if the message is deleted.
    pub content: String,
    #[schema(required)]
    pub reply_to: Option<i64>,
    #[schema(required, value_type = Option<Vec<Attachment>>)]
    pub attachments: Option<Raw>,
    #[schema(required, value_type = Option<MetadataForm>)]
    pub metadata: Option<Raw>,
    /// Who may see the message; null if everyone in the room may.
    #[schema(required)]
    pub visible_to: Option<VisibleTo>,
    #[serde(serialize_with = "time")]
    pub at: DateTime<Utc>,
    #[serde(serialize_with = "optional_time")]
    #[schema(required)]
    pub edited_at: Option<DateTime<Utc>>,
    pub deleted: bool,
    /// The seq of the event that last changed the message.
    pub last_seq: i64,
    #[schema(value_type = Vec<Reaction>)]
    pub reactions: Raw,
}

/// The reactions with one emoji to a message.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reaction {
    pub emoji: String,
    pub count: i64,
    /// Whether I reacted with this emoji.
    pub mine: bool,
    /// The first 20 users who reacted with this emoji.
    pub users: Vec<String>,
}

impl Message {
    /// Reads the message of a row of an outer join; None if the row has no message. The row has the columns of
    /// `message_columns!` in their order, and `m_reactions` anywhere. Columns are read by position, because a page has
    /// thousands of values and a look-up by name takes longer than reading the value.
    pub(super) fn of(row: &QueryResult, room: &str) -> Result<Option<Self>, DbErr> {
        let row = row.try_as_pg_row().ok_or_else(|| DbErr::Custom("not a row of PostgreSQL".to_owned()))?;
        let ordinal = |name| row.try_column(name).map(Column::ordinal).map_err(unreadable);
        let first = ordinal("m_seq")?;
        let Some(seq) = get(row, first)? else { return Ok(None) };
        let json = |column| get::<Option<String>>(row, column)?.map(Raw::new).transpose();
        let users: Option<Vec<String>> = get(row, first + 11)?;
        let roles: Option<Vec<String>> = get(row, first + 12)?;
        let visible_to = (users.is_some() || roles.is_some())
            .then(|| VisibleTo { users: users.unwrap_or_default(), roles: roles.unwrap_or_default() });
        let reactions: Option<String> = get(row, ordinal("m_reactions")?)?;
        let message = Self {
            id: get(row, first + 1)?,
            seq,
            room: room.to_owned(),
            client_id: get(row, first + 2)?,
            sender: Sender {
                id: get(row, first + 3)?,
                name: get(row, first + 4)?,
                picture: get(row, first + 5)?,
            },
            kind: get(row, first + 6)?,
            content: get(row, first + 7)?,
            reply_to: get(row, first + 8)?,
            attachments: json(first + 9)?,
            metadata: json(first + 10)?,
            visible_to,
            at: get(row, first + 13)?,
            edited_at: get(row, first + 14)?,
            deleted: get(row, first + 15)?,
            last_seq: get(row, first + 16)?,
            reactions: Raw::new(reactions.unwrap_or_else(|| "[]".to_owned()))?,
        };
        Ok(Some(message.blank_if_deleted()))
    }

    /// Removes content, attachments and metadata if the message is deleted.
    fn blank_if_deleted(self) -> Self {
        if !self.deleted {
            return self;
        }
        Self { content: String::new(), attachments: None, metadata: None, ..self }
    }

    /// The body of the message's event, in its present state. `id` and `edited_at` are those of the message as text.
    pub(super) fn event_body<'a>(&'a self, id: &'a str, edited_at: Option<&'a str>) -> MessageBody<'a> {
        let sender = &self.sender;
        MessageBody {
            id,
            client_id: &self.client_id,
            sender: EventSender {
                id: &sender.id,
                name: sender.name.as_deref(),
                picture: sender.picture.as_deref(),
            },
            kind: &self.kind,
            content: &self.content,
            reply_to: self.reply_to.map(|seq| Seq(seq.unsigned_abs())),
            attachments: self.attachments.as_deref(),
            metadata: self.metadata.as_deref(),
            visible_to: self
                .visible_to
                .as_ref()
                .map(|visible| Audience { users: &visible.users, roles: &visible.roles }),
            edited_at,
            deleted: self.deleted.then_some(true),
        }
    }
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
    visible!("m", "m.sender_id", "(SELECT role FROM me)")
);

/// The message at `seq`; None if there is no message or the viewer may not see it.
pub async fn message(
    db: &impl ConnectionTrait,
    viewer: Viewer<'_>,
    room: &RoomId,
    seq: i64,
) -> Result<Option<Message>, DbErr> {
    let values = [room.as_str().into(), viewer.user.as_str().into(), viewer.admin.into(), seq.into()];
    let Some(row) = db.query_one_raw(statement(ONE, values)).await? else { return Ok(None) };
    Message::of(&row, room.as_str())
}

fn get<'r, T>(row: &'r PgRow, column: usize) -> Result<T, DbErr>
where
    T: Decode<'r, Postgres> + Type<Postgres>,
{
    row.try_get(column).map_err(unreadable)
}

fn unreadable(error: SqlxError) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message with this seq, for tests.
    pub(in crate::query) fn sample(seq: i64) -> Message {
        let raw = |text: &str| Raw::new(text.to_owned()).unwrap();
        Message {
            id: Uuid::nil(),
            seq,
            room: "r".into(),
            client_id: "c".into(),
            sender: Sender { id: "alice".into(), name: None, picture: None },
            kind: "text".into(),
            content: "hello".into(),
            reply_to: None,
            attachments: Some(raw(r#"[{"name":"a"}]"#)),
            metadata: None,
            visible_to: Some(VisibleTo { users: Vec::new(), roles: vec!["admin".into()] }),
            at: DateTime::UNIX_EPOCH,
            edited_at: None,
            deleted: false,
            last_seq: seq,
            reactions: raw("[]"),
        }
    }

    #[test]
    fn deleted_message_has_no_content() {
        let message = Message { deleted: true, ..sample(1) }.blank_if_deleted();
        assert_eq!((message.content.as_str(), message.attachments.is_none()), ("", true));
    }

    #[test]
    fn message_object_has_every_field_of_the_contract() {
        let value = serde_json::to_value(sample(3)).unwrap();
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
