//! Reads users, rooms, members, and messages in their present state, for the job `export`. Each function returns one
//! page in the order of the key. Reads the tables `users`, `rooms`, `members` and `messages`.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use serde::Serialize;

use crate::query::json::RawJson;
use crate::sql::{role_rank_sql, statement};

pub const MAX_PAGE_ROWS: i64 = 500;

#[derive(Debug, FromQueryResult, Serialize)]
pub struct ExportedUser {
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
}

/// A row of the table `rooms`. `ExportLine::of_room` converts it into a line.
#[derive(Debug, FromQueryResult)]
pub struct ExportedRoom {
    pub id: String,
    pub kind: String,
    pub name: Option<String>,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
    pub metadata: RawJson,
}

/// A member of a room, without the room.
#[derive(Debug, FromQueryResult)]
pub struct ExportedMember {
    pub user_id: String,
    pub role: String,
}

/// A message in its present state. `ExportLine` writes the fields that serde skips here, because it changes them.
#[derive(Debug, FromQueryResult, Serialize)]
pub struct ExportedMessage {
    #[serde(rename = "id")]
    pub seq: i64,
    pub sender: String,
    pub kind: String,
    pub content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attachments: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mentions: Option<Vec<String>>,
    #[serde(skip)]
    pub metadata: Option<RawJson>,
    #[serde(skip)]
    pub visible_users: Option<Vec<String>>,
    #[serde(skip)]
    pub visible_roles: Option<Vec<String>>,
    #[serde(skip)]
    pub at: DateTime<Utc>,
    #[serde(skip)]
    pub client_id: String,
}

/// The next page of users who are not erased, after the user id `after`.
pub async fn users(db: &impl ConnectionTrait, after: &str) -> Result<Vec<ExportedUser>, DbErr> {
    let sql = "SELECT id, name, picture FROM users WHERE id > $1 AND erasing_at IS NULL ORDER BY id LIMIT $2";
    ExportedUser::find_by_statement(statement(sql, [after.into(), MAX_PAGE_ROWS.into()])).all(db).await
}

/// The next page of rooms, after the room id `after`.
pub async fn rooms(db: &impl ConnectionTrait, after: &str) -> Result<Vec<ExportedRoom>, DbErr> {
    let sql = "SELECT id, kind, name, created_by, created_at, metadata::text AS metadata FROM rooms \
               WHERE id > $1 ORDER BY id LIMIT $2";
    ExportedRoom::find_by_statement(statement(sql, [after.into(), MAX_PAGE_ROWS.into()])).all(db).await
}

/// The room with this id, or None if it does not exist.
pub async fn room(db: &impl ConnectionTrait, room: &str) -> Result<Option<ExportedRoom>, DbErr> {
    let sql =
        "SELECT id, kind, name, created_by, created_at, metadata::text AS metadata FROM rooms WHERE id = $1";
    ExportedRoom::find_by_statement(statement(sql, [room.into()])).one(db).await
}

/// The user whom the export names as a room's creator. An import makes the creator the owner, so the export names a
/// current owner, if possible the original creator. If the room has no owner, it names a member with the highest role.
/// Returns None if the room has no member.
pub async fn creator_for_import(
    db: &impl ConnectionTrait,
    room: &ExportedRoom,
) -> Result<Option<String>, DbErr> {
    let sql = format!(
        "SELECT m.user_id FROM members m JOIN users u ON u.id = m.user_id AND u.erasing_at IS NULL \
         WHERE m.room_id = $1 ORDER BY {} DESC, m.user_id <> $2, u.blocked, m.user_id LIMIT 1",
        role_rank_sql("m.role")
    );
    let values = [room.id.as_str().into(), room.created_by.as_str().into()];
    let row = db.query_one_raw(statement(&sql, values)).await?;
    row.map(|row| row.try_get_by("user_id")).transpose()
}

/// The next page of a room's members who are not erased, after the user id `after`.
pub async fn members(
    db: &impl ConnectionTrait,
    room: &str,
    after: &str,
) -> Result<Vec<ExportedMember>, DbErr> {
    let sql = "SELECT m.user_id, m.role FROM members m JOIN users u ON u.id = m.user_id AND u.erasing_at IS NULL \
               WHERE m.room_id = $1 AND m.user_id > $2 ORDER BY m.user_id LIMIT $3";
    ExportedMember::find_by_statement(statement(sql, [room.into(), after.into(), MAX_PAGE_ROWS.into()]))
        .all(db)
        .await
}

/// The next page of a room's messages, after the seq `after`. Omits deleted messages, which include those of erased
/// users, and messages of users whose erasure has begun. Omits erased users from the audiences and the mentions.
pub async fn messages(
    db: &impl ConnectionTrait,
    room: &str,
    after: i64,
) -> Result<Vec<ExportedMessage>, DbErr> {
    let sql = "SELECT m.seq, m.sender_id AS sender, m.kind, m.content, m.reply_to, m.attachments::text AS attachments, \
                 m.metadata::text AS metadata, \
                 CASE WHEN m.visible_users IS NOT NULL THEN ARRAY(\
                   SELECT v.id FROM unnest(m.visible_users) WITH ORDINALITY AS v (id, place) \
                   WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = v.id AND u.erasing_at IS NOT NULL) \
                   ORDER BY v.place) END AS visible_users, \
                 m.visible_roles, NULLIF(ARRAY(SELECT v.id FROM unnest(m.mentions) WITH ORDINALITY AS v (id, place) \
                   WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = v.id AND u.erasing_at IS NOT NULL) \
                   ORDER BY v.place), '{}') AS mentions, m.at, m.client_id FROM messages m \
               WHERE m.room_id = $1 AND m.seq > $2 AND NOT m.deleted \
                 AND NOT EXISTS (SELECT FROM users u \
                   WHERE u.id = m.sender_id AND u.erasing_at IS NOT NULL AND u.erased_at IS NULL) \
               ORDER BY m.seq LIMIT $3";
    let values = [room.into(), after.into(), MAX_PAGE_ROWS.into()];
    ExportedMessage::find_by_statement(statement(sql, values)).all(db).await
}

#[cfg(test)]
pub fn sample_message() -> ExportedMessage {
    ExportedMessage {
        seq: 1,
        sender: "alice".into(),
        kind: "text".into(),
        content: "hi".into(),
        reply_to: None,
        attachments: None,
        mentions: None,
        metadata: None,
        visible_users: None,
        visible_roles: None,
        at: DateTime::UNIX_EPOCH,
        client_id: "c".into(),
    }
}
