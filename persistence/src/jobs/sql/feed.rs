//! Merges old rows of the feed, so that its table grows with the rooms, not with all batches that were ever stored.

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::log::keys::Partition;

use crate::sql::{smallint, statement};

/// How many rows that are not merged yet one statement merges.
const ROWS_PER_STATEMENT: i64 = 50_000;

/// Of each room keeps the last row that was stored before `bound`, and lets it cover the events of the earlier ones. So a
/// cursor from before `bound` still leads to every event: a consumer may read some of them twice, but misses none.
/// Begins with the oldest rows, and continues there if it was interrupted.
pub async fn merge_rows(
    db: &impl ConnectionTrait,
    partition: Partition,
    bound: DateTime<Utc>,
) -> Result<u64, DbErr> {
    let (bound, mut merged, mut kept) = (bound.timestamp_micros(), 0, 0);
    loop {
        let sql = "SELECT position FROM feed WHERE partition = $1 AND position < $2 ORDER BY position OFFSET $3 LIMIT 1";
        let values = [smallint(partition).into(), bound.into(), (kept + ROWS_PER_STATEMENT).into()];
        let row = db.query_one_raw(statement(sql, values)).await?;
        let end: i64 = row.map_or(Ok(bound), |row| row.try_get_by("position"))?;
        merged += merge_rows_before(db, partition, end).await?;
        if end == bound {
            return Ok(merged);
        }
        let sql = "SELECT count(*) AS kept FROM feed WHERE partition = $1 AND position < $2";
        let row = db.query_one_raw(statement(sql, [smallint(partition).into(), end.into()])).await?;
        kept = row.map_or(Ok(0), |row| row.try_get_by("kept"))?;
    }
}

async fn merge_rows_before(db: &impl ConnectionTrait, partition: Partition, end: i64) -> Result<u64, DbErr> {
    let sql = "WITH kept AS (SELECT room_id, max(position) AS position, min(after_seq) AS after_seq FROM feed \
                 WHERE partition = $1 AND position < $2 GROUP BY room_id HAVING count(*) > 1), \
               widened AS (UPDATE feed f SET after_seq = k.after_seq FROM kept k \
                 WHERE f.partition = $1 AND f.position = k.position) \
               DELETE FROM feed f USING kept k \
                 WHERE f.partition = $1 AND f.room_id = k.room_id AND f.position < k.position";
    let values = [smallint(partition).into(), end.into()];
    Ok(db.execute_raw(statement(sql, values)).await?.rows_affected())
}
