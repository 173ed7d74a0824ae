//! One room of each partition, for operations on whole partitions.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_persistence::sql::{room, statement};
use tidings_shared::ids::RoomId;

/// One room of each partition that has any.
pub async fn one_room_of_each(db: &impl ConnectionTrait) -> Result<Vec<RoomId>, DbErr> {
    let sql = "SELECT r.id FROM partitions p CROSS JOIN LATERAL \
                 (SELECT id FROM rooms WHERE partition = p.partition LIMIT 1) r";
    let rows = db.query_all_raw(statement(sql, [])).await?;
    rows.iter().map(|row| room(row, "id")).collect()
}
