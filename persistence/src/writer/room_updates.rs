//! Writes `room:updated` events into `rooms`. An update counts as activity in the room, like a message.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};
use tidings_shared::ids::RoomId;

use super::rows::column;
use crate::batch::RoomUpdate;
use crate::sql::{statement, time};

/// Updates rooms. Fields that an update omits stay as they are.
pub async fn apply(
    transaction: &DatabaseTransaction,
    updates: &BTreeMap<RoomId, RoomUpdate>,
) -> Result<(), DbErr> {
    if updates.is_empty() {
        return Ok(());
    }
    let rows: Vec<(&RoomId, &RoomUpdate)> = updates.iter().collect();
    let sql = "UPDATE rooms r SET \
                 name = CASE WHEN v.has_name THEN NULLIF(v.name, '') ELSE r.name END, \
                 metadata = CASE WHEN v.metadata <> '' THEN v.metadata::json ELSE r.metadata END, \
                 archived = CASE WHEN v.has_archived THEN v.archived ELSE r.archived END, \
                 updated_at = GREATEST(r.updated_at, v.at) \
               FROM unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::boolean[], $6::boolean[], \
                 $7::timestamptz[]) AS v (room, has_name, name, metadata, has_archived, archived, at) \
               WHERE r.id = v.room";
    let values = [
        column(&rows, |(room, _)| room.as_str().to_owned()),
        column(&rows, |(_, update)| update.name.is_some()),
        column(&rows, |(_, update)| update.name.clone().unwrap_or_default()),
        column(&rows, |(_, update)| update.metadata.clone().unwrap_or_default()),
        column(&rows, |(_, update)| update.archived.is_some()),
        column(&rows, |(_, update)| update.archived.unwrap_or_default()),
        column(&rows, |(_, update)| time(update.at_ms)),
    ];
    transaction.execute_raw(statement(sql, values)).await.map(drop)
}
