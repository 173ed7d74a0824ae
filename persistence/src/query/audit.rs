//! Reads the audit log, newest entries first.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, Value};
use serde::Serialize;
use tidings_shared::ids::{RoomId, UserId};
use utoipa::ToSchema;

use super::cursor::{pack_id, unpack_id};
use super::json::serialize_time;
use super::page_budget::truncate_page;
use crate::sql::statement;

/// An action, who did it, and whom it concerns.
#[derive(Debug, Serialize, ToSchema, FromQueryResult)]
pub struct AuditEntry {
    #[serde(skip)]
    pub id: i64,
    #[serde(serialize_with = "serialize_time")]
    pub at: DateTime<Utc>,
    /// Null for an operator who used a job.
    #[schema(required)]
    pub actor: Option<String>,
    /// Such as `member.remove`.
    pub action: String,
    /// The user whom the action concerns.
    #[schema(required)]
    pub target: Option<String>,
    #[schema(required)]
    pub room: Option<String>,
    /// The seq of the event of the room that is the action.
    #[schema(required)]
    pub seq: Option<i64>,
    /// The new role of a member, or the id of a file or webhook.
    #[schema(required)]
    pub detail: Option<String>,
}

/// A page of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditPage {
    pub entries: Vec<AuditEntry>,
    /// The cursor of the next page, null on the last page.
    #[schema(required)]
    pub next: Option<String>,
}

/// Which entries a page has. An entry must match all given fields.
#[derive(Debug, Default)]
pub struct AuditFilter {
    pub actor: Option<UserId>,
    pub target: Option<UserId>,
    pub room: Option<RoomId>,
}

/// Unpacks the `next` of a page; None for a text that cannot be one.
#[must_use]
pub fn unpack_position(cursor: &str) -> Option<i64> {
    unpack_id(cursor)?.parse().ok().filter(|id| *id > 0)
}

/// The entries that match, older than the entry at the position `before`.
pub async fn audit_log(
    db: &impl ConnectionTrait,
    filter: &AuditFilter,
    before: Option<i64>,
    limit: i64,
) -> Result<AuditPage, DbErr> {
    let mut values: Vec<Value> = vec![limit.into(), before.unwrap_or(i64::MAX).into()];
    let mut conditions = String::new();
    let given = [
        ("actor", filter.actor.as_ref().map(UserId::as_str)),
        ("target", filter.target.as_ref().map(UserId::as_str)),
        ("room_id", filter.room.as_ref().map(RoomId::as_str)),
    ];
    for (column, value) in given {
        if let Some(value) = value {
            values.push(value.into());
            conditions.push_str(&format!(" AND {column} = ${}", values.len()));
        }
    }
    let sql = format!(
        "SELECT id, at, actor, action, target, room_id AS room, seq, detail FROM audit_log \
         WHERE id < $2{conditions} ORDER BY id DESC LIMIT $1 + 1"
    );
    let mut entries = AuditEntry::find_by_statement(statement(&sql, values)).all(db).await?;
    let more = truncate_page(&mut entries, limit);
    let next = entries.last().filter(|_| more).map(|last| pack_id(&last.id.to_string()));
    Ok(AuditPage { entries, next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_is_position_of_an_entry() {
        assert_eq!(unpack_position(&pack_id("17")), Some(17));
        for bad in ["", "x", &pack_id("alice"), &pack_id("0"), &pack_id("-1")] {
            assert_eq!(unpack_position(bad), None, "{bad}");
        }
    }
}
