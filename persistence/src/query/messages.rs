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
use super::json::{RawJson, serialize_optional_time, serialize_time};
use super::sql::{epoch_of, me, message_columns, reactions, visible};
use crate::sql::statement;

pub use page::{MessagePage, Window, read_page};

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
    pub attachments: Option<RawJson>,
    #[schema(required, value_type = Option<MetadataForm>)]
    pub metadata: Option<RawJson>,
    /// Who may see the message; null if everyone in the room may.
    #[schema(required)]
    pub visible_to: Option<VisibleTo>,
    /// The ids of the users whom the message mentions; null if it mentions nobody.
    #[schema(required)]
    pub mentions: Option<Vec<String>>,
    #[serde(serialize_with = "serialize_time")]
    pub at: DateTime<Utc>,
    #[serde(serialize_with = "serialize_optional_time")]
    #[schema(required)]
    pub edited_at: Option<DateTime<Utc>>,
    pub deleted: bool,
    /// The user who deleted the message; absent if the message is not deleted, or its content was removed otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub deleted_by: Option<String>,
    /// The seq of the event that last changed the message.
    pub last_seq: i64,
    #[schema(value_type = Vec<Reaction>)]
    pub reactions: RawJson,
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
    pub(super) fn from_row(row: &QueryResult, room: &str) -> Result<Option<Self>, DbErr> {
        let row = row.try_as_pg_row().ok_or_else(|| DbErr::Custom("not a row of PostgreSQL".to_owned()))?;
        let ordinal = |name| row.try_column(name).map(Column::ordinal).map_err(column_error);
        let first = ordinal("m_seq")?;
        let Some(seq) = decode_column(row, first)? else { return Ok(None) };
        let json = |column| decode_column::<Option<String>>(row, column)?.map(RawJson::new).transpose();
        let users: Option<Vec<String>> = decode_column(row, first + 11)?;
        let roles: Option<Vec<String>> = decode_column(row, first + 12)?;
        let visible_to = (users.is_some() || roles.is_some())
            .then(|| VisibleTo { users: users.unwrap_or_default(), roles: roles.unwrap_or_default() });
        let reactions: Option<String> = decode_column(row, ordinal("m_reactions")?)?;
        let message = Self {
            id: decode_column(row, first + 1)?,
            seq,
            room: room.to_owned(),
            client_id: decode_column(row, first + 2)?,
            sender: Sender {
                id: decode_column(row, first + 3)?,
                name: decode_column(row, first + 4)?,
                picture: decode_column(row, first + 5)?,
            },
            kind: decode_column(row, first + 6)?,
            content: decode_column(row, first + 7)?,
            reply_to: decode_column(row, first + 8)?,
            attachments: json(first + 9)?,
            metadata: json(first + 10)?,
            visible_to,
            mentions: decode_column(row, first + 17)?,
            at: decode_column(row, first + 13)?,
            edited_at: decode_column(row, first + 14)?,
            deleted: decode_column(row, first + 15)?,
            deleted_by: decode_column(row, first + 18)?,
            last_seq: decode_column(row, first + 16)?,
            reactions: RawJson::new(reactions.unwrap_or_else(|| "[]".to_owned()))?,
        };
        Ok(Some(message.blank_if_deleted()))
    }

    /// About the bytes of the message as JSON. Texts count without escapes, so that no text is read for it.
    fn json_bytes(&self) -> usize {
        /// The names of the fields, and the values of those that always have about the same length.
        const FIXED_BYTES: usize = 420;
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let list = |texts: &[String]| texts.iter().map(|text| text.len() + 3).sum::<usize>();
        let raw = |json: &Option<RawJson>| json.as_ref().map_or(0, |json| json.get().len());
        let Sender { id, name, picture } = &self.sender;
        let texts = [&self.room, &self.client_id, id, &self.kind, &self.content].map(String::len);
        let visible = self.visible_to.as_ref().map_or(0, |to| list(&to.users) + list(&to.roles));
        let optional = text(name) + text(picture) + text(&self.deleted_by);
        let json = raw(&self.attachments) + raw(&self.metadata) + self.reactions.get().len();
        let mentions = self.mentions.as_deref().map_or(0, list);
        FIXED_BYTES + texts.iter().sum::<usize>() + visible + optional + json + mentions
    }

    /// Removes content, attachments, metadata and mentions if the message is deleted.
    fn blank_if_deleted(self) -> Self {
        if !self.deleted {
            return self;
        }
        Self { content: String::new(), attachments: None, metadata: None, mentions: None, ..self }
    }

    /// The body of the `message:new` event, with the present state of the message. `id` and `edited_at` are fields of
    /// the message as text.
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
            mentions: self.mentions.as_deref(),
            edited_at,
            deleted: self.deleted.then_some(true),
            deleted_by: self.deleted_by.as_deref(),
        }
    }
}

const ONE_MESSAGE_SQL: &str = concat!(
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
    let Some(row) = db.query_one_raw(statement(ONE_MESSAGE_SQL, values)).await? else { return Ok(None) };
    Message::from_row(&row, room.as_str())
}

fn decode_column<'r, T>(row: &'r PgRow, column: usize) -> Result<T, DbErr>
where
    T: Decode<'r, Postgres> + Type<Postgres>,
{
    row.try_get(column).map_err(column_error)
}

fn column_error(error: SqlxError) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message with this seq, for tests.
    pub(in crate::query) fn sample(seq: i64) -> Message {
        let raw = |text: &str| RawJson::new(text.to_owned()).unwrap();
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
            mentions: Some(vec!["bob".into()]),
            at: DateTime::UNIX_EPOCH,
            edited_at: None,
            deleted: false,
            deleted_by: None,
            last_seq: seq,
            reactions: raw("[]"),
        }
    }

    #[test]
    fn estimated_bytes_are_a_little_above_those_of_the_json() {
        let full = Message {
            content: "🙂".repeat(100),
            deleted_by: Some("bob".into()),
            edited_at: Some(DateTime::UNIX_EPOCH),
            ..sample(i64::MAX)
        };
        for message in [sample(3), full] {
            let (estimate, json) = (message.json_bytes(), serde_json::to_vec(&message).unwrap().len());
            assert!((json..json + 250).contains(&estimate), "{estimate} for {json} bytes");
        }
    }

    #[test]
    fn deleted_message_has_no_content() {
        let message = Message { deleted: true, ..sample(1) }.blank_if_deleted();
        assert_eq!((message.content.as_str(), message.attachments.is_none()), ("", true));
        assert_eq!(message.mentions, None);
    }

    #[test]
    fn message_object_has_every_field_of_the_contract() {
        let value = serde_json::to_value(sample(3)).unwrap();
        let expected = serde_json::json!({
            "id": "00000000-0000-0000-0000-000000000000", "seq": 3, "room": "r", "client_id": "c",
            "sender": {"id": "alice", "name": null, "picture": null}, "kind": "text", "content": "hello",
            "reply_to": null, "attachments": [{"name": "a"}], "metadata": null,
            "visible_to": {"users": [], "roles": ["admin"]}, "mentions": ["bob"], "at": "1970-01-01T00:00:00.000Z",
            "edited_at": null, "deleted": false, "last_seq": 3, "reactions": []
        });
        assert_eq!(value, expected);
    }
}
