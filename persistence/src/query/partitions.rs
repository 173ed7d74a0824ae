//! One room of each partition, for operations on whole partitions.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::ids::RoomId;

use super::sql::statement;

/// One room of each partition that has any.
///
/// # Errors
/// When the database cannot be read.
pub async fn one_room_of_each(db: &impl ConnectionTrait) -> Result<Vec<RoomId>, DbErr> {
    let sql = "SELECT r.id FROM partitions p CROSS JOIN LATERAL \
                 (SELECT id FROM rooms WHERE partition = p.partition LIMIT 1) r";
    let rows = db.query_all_raw(statement(sql, [])).await?;
    rows.iter()
        .map(|row| {
            let id: String = row.try_get_by("id")?;
            RoomId::parse(&id).map_err(|error| DbErr::Custom(error.to_string()))
        })
        .collect()
}
