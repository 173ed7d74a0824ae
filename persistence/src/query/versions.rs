//! Reads the earlier texts of a message, for users who may change any message.
//! Reads `message_versions` and `messages`.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use serde::Serialize;
use tidings_shared::ids::RoomId;
use utoipa::ToSchema;

use super::access::Viewer;
use super::json::serialize_time;
use super::sql::{epoch_of, me, visible};
use crate::sql::statement;

/// The versions of a message, oldest first: the original and at most the last 199 edits.
#[derive(Debug, Serialize, ToSchema)]
pub struct Versions {
    pub versions: Vec<Version>,
}

/// The text of a message from the time `at` on.
#[derive(Debug, Serialize, ToSchema, FromQueryResult)]
pub struct Version {
    pub content: String,
    #[serde(serialize_with = "serialize_time")]
    pub at: DateTime<Utc>,
    /// The user who wrote this version.
    pub by: String,
}

/// Selects the versions of the message `$4`. A message that never changed has no rows in `message_versions`, so its
/// present text is its only version.
const VERSIONS_SQL: &str = concat!(
    "WITH ",
    me!(),
    ", m AS (SELECT m.* FROM messages m WHERE m.room_id = $1 AND m.seq = $4 AND EXISTS (SELECT FROM me) AND ",
    visible!("m", "m.sender_id", "(SELECT role FROM me)"),
    ") SELECT COALESCE(v.content, m.content) AS content, COALESCE(v.at, m.at) AS at, \
         COALESCE(v.by, m.sender_id) AS by \
       FROM m LEFT JOIN LATERAL (\
         (SELECT o.* FROM message_versions o WHERE o.room_id = m.room_id AND o.seq = m.seq AND o.version = m.seq) \
         UNION ALL (SELECT e.* FROM message_versions e WHERE e.room_id = m.room_id AND e.seq = m.seq \
           AND e.version > m.seq ORDER BY e.version DESC LIMIT 199)) v ON true \
       ORDER BY v.version"
);

/// The versions of the message at `seq`; None if there is no message or the viewer may not see it.
pub async fn versions(
    db: &impl ConnectionTrait,
    viewer: Viewer<'_>,
    room: &RoomId,
    seq: i64,
) -> Result<Option<Versions>, DbErr> {
    let values = [room.as_str().into(), viewer.user.as_str().into(), viewer.admin.into(), seq.into()];
    let versions = Version::find_by_statement(statement(VERSIONS_SQL, values)).all(db).await?;
    Ok((!versions.is_empty()).then_some(Versions { versions }))
}
