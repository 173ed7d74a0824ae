//! Reads all data of one user, page by page: profile, memberships, messages, reactions.
//! A page has a bounded number of rows. Also searches the rooms that the user has left.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use serde::Serialize;
use tidings_shared::ids::UserId;
use uuid::Uuid;

use super::json::{Raw, optional_time, time};
use super::messages::VisibleTo;
use crate::sql::{flagged_ids, statement};

/// Number of rows in a page.
pub const PAGE_ROWS: i64 = 500;
/// Number of rooms in which one statement searches for messages of the user.
const ROOMS_PER_STATEMENT: i64 = 1000;

/// The account of a user, with their last-seen time.
#[derive(Debug, Serialize, FromQueryResult)]
pub struct Profile {
    pub user: String,
    pub name: Option<String>,
    pub picture: Option<String>,
    #[serde(serialize_with = "time")]
    pub created_at: DateTime<Utc>,
    pub status: Option<String>,
    #[serde(serialize_with = "optional_time")]
    pub last_seen: Option<DateTime<Utc>>,
}

/// A membership of the user, with their read and delivered marks.
#[derive(Debug, Serialize, FromQueryResult)]
pub struct ExportedMembership {
    pub room: String,
    pub kind: String,
    pub name: Option<String>,
    pub role: String,
    #[serde(serialize_with = "time")]
    pub joined_at: DateTime<Utc>,
    pub read_seq: i64,
    #[serde(serialize_with = "optional_time")]
    pub read_at: Option<DateTime<Utc>>,
    pub delivered_seq: i64,
    #[serde(serialize_with = "optional_time")]
    pub delivered_at: Option<DateTime<Utc>>,
}

/// A message that the user sent. Its content comes from the archive if retention archived it.
#[derive(Debug, Serialize, FromQueryResult)]
pub struct SentMessage {
    pub room: String,
    pub seq: i64,
    pub id: Uuid,
    pub client_id: String,
    pub kind: String,
    pub content: String,
    pub reply_to: Option<i64>,
    pub attachments: Option<Raw>,
    pub metadata: Option<Raw>,
    #[sea_orm(nested)]
    pub visible_to: Option<VisibleTo>,
    #[serde(serialize_with = "time")]
    pub at: DateTime<Utc>,
    #[serde(serialize_with = "optional_time")]
    pub edited_at: Option<DateTime<Utc>>,
    pub deleted: bool,
    pub archived: bool,
    /// The earlier versions of the message, if the archive holds them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versions: Option<Raw>,
}

/// An earlier text of one of the user's messages.
#[derive(Debug, Serialize, FromQueryResult)]
pub struct ExportedVersion {
    pub room: String,
    pub seq: i64,
    /// The seq of the event that made the version; it orders the versions of a message.
    #[serde(skip)]
    pub version: i64,
    pub content: String,
    pub metadata: Option<Raw>,
    #[serde(serialize_with = "time")]
    pub at: DateTime<Utc>,
    pub by: String,
}

/// A reaction that the user gave.
#[derive(Debug, Serialize, FromQueryResult)]
pub struct ExportedReaction {
    pub room: String,
    pub seq: i64,
    pub emoji: String,
    #[serde(serialize_with = "time")]
    pub at: DateTime<Utc>,
}

/// The profile of a user; None if the user is unknown.
pub async fn profile(db: &impl ConnectionTrait, user: &UserId) -> Result<Option<Profile>, DbErr> {
    let sql = "SELECT u.id AS user, u.name, u.picture, u.created_at, p.status, p.last_seen \
               FROM users u LEFT JOIN presence p ON p.user_id = u.id WHERE u.id = $1";
    Profile::find_by_statement(statement(sql, [user.as_str().into()])).one(db).await
}

/// The next page of the user's memberships, ordered by room, after the room id `after`.
pub async fn memberships(
    db: &impl ConnectionTrait,
    user: &UserId,
    after: &str,
) -> Result<Vec<ExportedMembership>, DbErr> {
    let sql = "SELECT mb.room_id AS room, r.kind, r.name, mb.role, mb.joined_at, mb.read_seq, mb.read_at, \
                 mb.delivered_seq, mb.delivered_at FROM members mb JOIN rooms r ON r.id = mb.room_id \
               WHERE mb.user_id = $1 AND mb.room_id > $2 ORDER BY mb.room_id LIMIT $3";
    let values = [user.as_str().into(), after.into(), PAGE_ROWS.into()];
    ExportedMembership::find_by_statement(statement(sql, values)).all(db).await
}

/// Searches the next rooms, after the room id `after`, for messages of the user. Returns the last searched room and the
/// rooms with such messages; None if no room is left. There is no index of messages by sender, because it would make
/// every send slower, and this search is rare.
pub async fn rooms_with_messages(
    db: &impl ConnectionTrait,
    user: &UserId,
    after: &str,
) -> Result<Option<(String, Vec<String>)>, DbErr> {
    let sql = "SELECT r.id, m.there IS NOT NULL AS has_messages \
               FROM (SELECT id FROM rooms WHERE id > $2 ORDER BY id LIMIT $3) r \
               LEFT JOIN LATERAL (SELECT true AS there FROM messages m \
                 WHERE m.room_id = r.id AND m.sender_id = $1 LIMIT 1) m ON true ORDER BY r.id";
    let values = [user.as_str().into(), after.into(), ROOMS_PER_STATEMENT.into()];
    let rows = db.query_all_raw(statement(sql, values)).await?;
    flagged_ids(&rows, "has_messages")
}

/// The next page of the user's messages in a room, ordered by client id, after the client id `after`.
pub async fn sent_messages(
    db: &impl ConnectionTrait,
    user: &UserId,
    room: &str,
    after: &str,
) -> Result<Vec<SentMessage>, DbErr> {
    let sql = "SELECT m.room_id AS room, m.seq, m.id, m.client_id, m.kind, COALESCE(a.content, m.content) AS content, \
                 m.reply_to, COALESCE(a.attachments, m.attachments)::text AS attachments, \
                 COALESCE(a.metadata, m.metadata)::text AS metadata, m.at, m.edited_at, m.deleted, \
                 CASE WHEN m.visible_roles IS NULL THEN m.visible_users ELSE COALESCE(m.visible_users, '{}') END AS users, \
                 CASE WHEN m.visible_users IS NULL THEN m.visible_roles ELSE COALESCE(m.visible_roles, '{}') END AS roles, \
                 a.room_id IS NOT NULL AS archived, a.versions::text AS versions \
               FROM (SELECT * FROM messages m WHERE m.room_id = $1 AND m.sender_id = $2 AND m.client_id > $3 \
                 ORDER BY m.client_id LIMIT $4) m \
               LEFT JOIN LATERAL (SELECT * FROM messages_archive a \
                 WHERE a.room_id = m.room_id AND a.seq = m.seq LIMIT 1) a ON true ORDER BY m.client_id";
    let values = [room.into(), user.as_str().into(), after.into(), PAGE_ROWS.into()];
    SentMessage::find_by_statement(statement(sql, values)).all(db).await
}

/// The next page of the versions of these messages, at most [`PAGE_ROWS`], after the version `after` (seq, version).
pub async fn versions(
    db: &impl ConnectionTrait,
    room: &str,
    seqs: &[i64],
    after: (i64, i64),
) -> Result<Vec<ExportedVersion>, DbErr> {
    let sql = "SELECT v.room_id AS room, v.seq, v.version, v.content, v.metadata::text AS metadata, v.at, v.by \
               FROM message_versions v \
               WHERE v.room_id = $1 AND v.seq = ANY ($2) AND (v.seq, v.version) > ($3, $4) \
               ORDER BY v.seq, v.version LIMIT $5";
    let values = [room.into(), seqs.to_vec().into(), after.0.into(), after.1.into(), PAGE_ROWS.into()];
    ExportedVersion::find_by_statement(statement(sql, values)).all(db).await
}

/// The next page of the user's reactions, after the reaction `after` (room, seq, emoji).
pub async fn reactions(
    db: &impl ConnectionTrait,
    user: &UserId,
    after: (&str, i64, &str),
) -> Result<Vec<ExportedReaction>, DbErr> {
    let sql = "SELECT x.room_id AS room, x.seq, x.emoji, x.at FROM reactions x \
               WHERE x.user_id = $1 AND (x.room_id, x.seq, x.emoji) > ($2, $3, $4) \
               ORDER BY x.room_id, x.seq, x.emoji LIMIT $5";
    let values = [user.as_str().into(), after.0.into(), after.1.into(), after.2.into(), PAGE_ROWS.into()];
    ExportedReaction::find_by_statement(statement(sql, values)).all(db).await
}
