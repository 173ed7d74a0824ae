//! Reads all data of one user, page by page: profile, memberships, messages, reactions, devices and mutes of push.
//! A page has a bounded number of rows and of bytes. Includes messages in rooms that the user has left.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Statement};
use serde::Serialize;
use tidings_shared::ids::UserId;
use uuid::Uuid;

use super::json::{RawJson, serialize_optional_time, serialize_time};
use super::messages::VisibleTo;
use super::page_budget::PageBudget;
use super::sql::{budget_begin, budget_end};
use crate::sql::statement;

pub const MAX_PAGE_ROWS: i64 = 500;
/// Maximum number of rooms that one statement finds.
const MAX_ROOMS_PER_STATEMENT: i64 = 1000;

/// The account of a user, with their last-seen time.
#[derive(Debug, Serialize, FromQueryResult)]
pub struct Profile {
    pub user: String,
    pub name: Option<String>,
    pub picture: Option<String>,
    #[serde(serialize_with = "serialize_time")]
    pub created_at: DateTime<Utc>,
    pub status: Option<String>,
    #[serde(serialize_with = "serialize_optional_time")]
    pub last_seen: Option<DateTime<Utc>>,
}

/// A membership of the user, with their read and delivered marks.
#[derive(Debug, Serialize, FromQueryResult)]
pub struct ExportedMembership {
    pub room: String,
    pub kind: String,
    pub name: Option<String>,
    pub role: String,
    #[serde(serialize_with = "serialize_time")]
    pub joined_at: DateTime<Utc>,
    pub read_seq: i64,
    #[serde(serialize_with = "serialize_optional_time")]
    pub read_at: Option<DateTime<Utc>>,
    pub delivered_seq: i64,
    #[serde(serialize_with = "serialize_optional_time")]
    pub delivered_at: Option<DateTime<Utc>>,
    /// For which messages of the room the user wants notifications.
    pub notify: String,
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
    pub attachments: Option<RawJson>,
    pub metadata: Option<RawJson>,
    #[sea_orm(nested)]
    pub visible_to: Option<VisibleTo>,
    pub mentions: Option<Vec<String>>,
    #[serde(serialize_with = "serialize_time")]
    pub at: DateTime<Utc>,
    #[serde(serialize_with = "serialize_optional_time")]
    pub edited_at: Option<DateTime<Utc>>,
    pub deleted: bool,
    pub archived: bool,
    /// The earlier versions of the message, if the archive holds them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub versions: Option<RawJson>,
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
    pub metadata: Option<RawJson>,
    #[serde(serialize_with = "serialize_time")]
    pub at: DateTime<Utc>,
    pub by: String,
}

/// A reaction that the user gave.
#[derive(Debug, Serialize, FromQueryResult)]
pub struct ExportedReaction {
    pub room: String,
    pub seq: i64,
    pub emoji: String,
    #[serde(serialize_with = "serialize_time")]
    pub at: DateTime<Utc>,
}

/// A device that gets notifications for the user. Its keys are secrets of the device.
#[derive(Debug, Serialize, FromQueryResult)]
pub struct ExportedDevice {
    pub id: String,
    pub kind: String,
    pub address: String,
    #[serde(serialize_with = "serialize_time")]
    pub created_at: DateTime<Utc>,
}

/// A room that the user has muted; for good if `until` is null.
#[derive(Debug, Serialize, FromQueryResult)]
pub struct ExportedMute {
    pub room: String,
    #[serde(serialize_with = "serialize_optional_time")]
    pub until: Option<DateTime<Utc>>,
}

/// A public room that the user may join only with this role, or not at all if the role is `removed`.
#[derive(Debug, Serialize, FromQueryResult)]
pub struct ExportedRejoin {
    pub room: String,
    pub role: String,
}

/// The profile of a user; None if the user is unknown.
pub async fn profile(db: &impl ConnectionTrait, user: &UserId) -> Result<Option<Profile>, DbErr> {
    let sql = "SELECT u.id AS user, u.name, u.picture, u.created_at, p.status, p.last_seen \
               FROM users u LEFT JOIN presence p ON p.user_id = u.id WHERE u.id = $1";
    Profile::find_by_statement(statement(sql, [user.as_str().into()])).one(db).await
}

/// The next page of the user's memberships, ordered by room, after the room id `after`.
pub fn memberships(user: &UserId, after: String) -> Statement {
    let sql = "SELECT mb.room_id AS room, r.kind, r.name, mb.role, mb.joined_at, mb.read_seq, mb.read_at, \
                 mb.delivered_seq, mb.delivered_at, mb.notify FROM members mb JOIN rooms r ON r.id = mb.room_id \
               WHERE mb.user_id = $1 AND mb.room_id > $2 ORDER BY mb.room_id LIMIT $3";
    statement(sql, [user.as_str().into(), after.into(), MAX_PAGE_ROWS.into()])
}

/// The next rooms with messages of the user, ordered by id, after the room id `after`; empty if no room is left. The
/// user may have left a room. Each step of the recursion finds the next room by one index look-up, which does not
/// depend on the number of messages in a room.
pub async fn rooms_with_messages(
    db: &impl ConnectionTrait,
    user: &UserId,
    after: &str,
) -> Result<Vec<String>, DbErr> {
    let sql = "WITH RECURSIVE found AS ( \
                 (SELECT m.room_id, 1 AS place FROM messages m WHERE m.sender_id = $1 AND m.room_id > $2 \
                   ORDER BY m.room_id LIMIT 1) \
                 UNION ALL SELECT n.room_id, f.place + 1 FROM found f CROSS JOIN LATERAL (SELECT m.room_id FROM messages m \
                   WHERE m.sender_id = $1 AND m.room_id > f.room_id ORDER BY m.room_id LIMIT 1) n \
                 WHERE f.place < $3) \
               SELECT room_id FROM found ORDER BY room_id";
    let values = [user.as_str().into(), after.into(), MAX_ROOMS_PER_STATEMENT.into()];
    let rows = db.query_all_raw(statement(sql, values)).await?;
    rows.iter().map(|row| row.try_get_by("room_id")).collect()
}

/// The next page of the user's messages in a room, ordered by client id, after the client id `after`.
pub async fn sent_messages(
    db: &impl ConnectionTrait,
    user: &UserId,
    room: &str,
    after: &str,
) -> Result<Vec<SentMessage>, DbErr> {
    let sql = concat!(
        budget_begin!("$5", "p.client_id"),
        "(SELECT m.room_id AS room, m.seq, m.id, m.client_id, m.kind, COALESCE(a.content, m.content) AS content, \
                 m.reply_to, COALESCE(a.attachments, m.attachments)::text AS attachments, \
                 COALESCE(a.metadata, m.metadata)::text AS metadata, COALESCE(a.mentions, m.mentions) AS mentions, m.at, m.edited_at, m.deleted, \
                 CASE WHEN m.visible_roles IS NULL THEN m.visible_users ELSE COALESCE(m.visible_users, '{}') END AS users, \
                 CASE WHEN m.visible_users IS NULL THEN m.visible_roles ELSE COALESCE(m.visible_roles, '{}') END AS roles, \
                 a.room_id IS NOT NULL AS archived, a.versions::text AS versions, \
                 octet_length(COALESCE(a.content, m.content)) \
                   + COALESCE(octet_length(COALESCE(a.attachments, m.attachments)::text), 0) \
                   + COALESCE(octet_length(COALESCE(a.metadata, m.metadata)::text), 0) \
                   + COALESCE(octet_length(a.versions::text), 0) AS bytes \
               FROM (SELECT * FROM messages m WHERE m.room_id = $1 AND m.sender_id = $2 AND m.client_id > $3 \
                 ORDER BY m.client_id LIMIT $4) m \
               LEFT JOIN LATERAL (SELECT * FROM messages_archive a \
                 WHERE a.room_id = m.room_id AND a.seq = m.seq LIMIT 1) a ON true)",
        budget_end!("$5"),
        " ORDER BY p.client_id"
    );
    let budget = PageBudget::default().sql_value();
    let values = [room.into(), user.as_str().into(), after.into(), MAX_PAGE_ROWS.into(), budget];
    SentMessage::find_by_statement(statement(sql, values)).all(db).await
}

/// The next page of the versions of these messages, after the version `after` (seq, version).
pub async fn versions(
    db: &impl ConnectionTrait,
    room: &str,
    seqs: &[i64],
    after: (i64, i64),
) -> Result<Vec<ExportedVersion>, DbErr> {
    let sql = concat!(
        budget_begin!("$6", "p.seq, p.version"),
        "(SELECT v.room_id AS room, v.seq, v.version, v.content, v.metadata::text AS metadata, v.at, v.by, \
            octet_length(v.content) + COALESCE(octet_length(v.metadata::text), 0) AS bytes \
          FROM message_versions v \
          WHERE v.room_id = $1 AND v.seq = ANY ($2) AND (v.seq, v.version) > ($3, $4) \
          ORDER BY v.seq, v.version LIMIT $5)",
        budget_end!("$6"),
        " ORDER BY p.seq, p.version"
    );
    let (seqs, budget) = (seqs.to_vec().into(), PageBudget::default().sql_value());
    let values = [room.into(), seqs, after.0.into(), after.1.into(), MAX_PAGE_ROWS.into(), budget];
    ExportedVersion::find_by_statement(statement(sql, values)).all(db).await
}

/// The next page of the user's reactions, after the reaction `after` (room, seq, emoji).
pub fn reactions(user: &UserId, (room, seq, emoji): (String, i64, String)) -> Statement {
    let sql = "SELECT x.room_id AS room, x.seq, x.emoji, x.at FROM reactions x \
               WHERE x.user_id = $1 AND (x.room_id, x.seq, x.emoji) > ($2, $3, $4) \
               ORDER BY x.room_id, x.seq, x.emoji LIMIT $5";
    let user = user.as_str().into();
    statement(sql, [user, room.into(), seq.into(), emoji.into(), MAX_PAGE_ROWS.into()])
}

/// The next page of the user's devices, ordered by id, after the id `after`.
pub fn devices(user: &UserId, after: String) -> Statement {
    let sql = "SELECT d.id, d.kind, d.address, d.created_at FROM push_devices d \
               WHERE d.user_id = $1 AND d.id > $2 ORDER BY d.id LIMIT $3";
    statement(sql, [user.as_str().into(), after.into(), MAX_PAGE_ROWS.into()])
}

/// The next page of the rooms that the user has muted, ordered by room, after the room id `after`.
pub fn mutes(user: &UserId, after: String) -> Statement {
    let sql = "SELECT x.room_id AS room, x.until FROM push_mutes x \
               WHERE x.user_id = $1 AND x.room_id > $2 ORDER BY x.room_id LIMIT $3";
    statement(sql, [user.as_str().into(), after.into(), MAX_PAGE_ROWS.into()])
}

/// The next page of the rooms in which a removal or the role `guest` outlives the user's membership, after the room id
/// `after`.
pub fn rejoin_roles(user: &UserId, after: String) -> Statement {
    let sql = "SELECT x.room_id AS room, x.role FROM rejoin_roles x \
               WHERE x.user_id = $1 AND x.room_id > $2 ORDER BY x.room_id LIMIT $3";
    statement(sql, [user.as_str().into(), after.into(), MAX_PAGE_ROWS.into()])
}
