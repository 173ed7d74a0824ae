//! Reads the earlier texts of a message, for users who may change any message.
//! Reads `message_versions` and `messages`.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult};
use serde::Serialize;
use tidings_shared::ids::RoomId;
use utoipa::ToSchema;

use super::access::Viewer;
use super::json::serialize_time;
use super::page_budget::PageBudget;
use super::sql::{budget_begin, budget_end, epoch_of, me, visible};
use crate::sql::statement;

/// The number of versions in an answer.
const MAX_VERSIONS: usize = 200;

/// The versions of a message, oldest first: the original and the last edits, at most 200 and about 1 MiB together.
#[derive(Debug, Serialize, ToSchema)]
pub struct Versions {
    pub versions: Vec<Version>,
    /// Whether versions between the original and the last edits are left out.
    pub truncated: bool,
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
/// present text is its only version. The original comes first, then the newest edits, because these are kept if the
/// versions have more bytes than `$5`. It reads one edit more than wanted, to know whether there are more.
const VERSIONS_SQL: &str = concat!(
    "WITH ",
    me!(),
    ", m AS (SELECT m.* FROM messages m WHERE m.room_id = $1 AND m.seq = $4 AND EXISTS (SELECT FROM me) AND ",
    visible!("m", "m.sender_id", "(SELECT role FROM me)"),
    ") SELECT v.* FROM (",
    budget_begin!("$5", "p.is_edit, p.version DESC"),
    "(SELECT COALESCE(v.version, m.seq) AS version, COALESCE(v.version > m.seq, false) AS is_edit, \
         COALESCE(v.content, m.content) AS content, COALESCE(v.at, m.at) AS at, \
         COALESCE(v.by, m.sender_id) AS by, octet_length(COALESCE(v.content, m.content)) AS bytes \
       FROM m LEFT JOIN LATERAL (\
         (SELECT o.* FROM message_versions o WHERE o.room_id = m.room_id AND o.seq = m.seq AND o.version = m.seq) \
         UNION ALL (SELECT e.* FROM message_versions e WHERE e.room_id = m.room_id AND e.seq = m.seq \
           AND e.version > m.seq ORDER BY e.version DESC LIMIT 200)) v ON true)",
    budget_end!("$5"),
    ") v ORDER BY v.is_edit, v.version DESC"
);

/// The versions of the message at `seq`; None if there is no message or the viewer may not see it.
pub async fn versions(
    db: &impl ConnectionTrait,
    viewer: Viewer<'_>,
    room: &RoomId,
    seq: i64,
) -> Result<Option<Versions>, DbErr> {
    let mut budget = PageBudget::default();
    let user = viewer.user.as_str().into();
    let values = [room.as_str().into(), user, viewer.admin.into(), seq.into(), budget.sql_value()];
    let rows = db.query_all_raw(statement(VERSIONS_SQL, values)).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let edits_from = usize::from(!first.try_get::<bool>("", "is_edit")?);
    let mut versions = budget.admit_rows(&rows, |row| Version::from_query_result(row, ""))?;
    let truncated = budget.is_full() || versions.len() > MAX_VERSIONS;
    versions.truncate(MAX_VERSIONS);
    if let Some(edits) = versions.get_mut(edits_from..) {
        edits.reverse();
    }
    Ok(Some(Versions { versions, truncated }))
}
