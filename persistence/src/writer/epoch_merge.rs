//! Merges the bases of epochs that ended long ago, because `room_epochs` would grow for ever: each restart of Redis
//! adds a row for each room that is used afterwards.

use sea_orm::{ConnectionTrait, DbErr};
use tidings_shared::ids::Epoch;

use crate::sql::{bigint, epoch_column, newest_epoch, statement};

/// Number of rooms that one statement merges.
const MAX_ROOMS_PER_STATEMENT: i64 = 1000;
/// Number of epochs of a room whose bases stay exact, however old they are.
const MIN_EXACT_EPOCHS: i64 = 16;

/// The newest epoch up to which all bases of a room may be merged; None if there is none. It began more than 7 days
/// ago, and is below the present epoch of every partition. So a base that is merged is of an epoch that began more than
/// 7 days ago: all earlier epochs of its partition ended before that, and none of their records waits in Redis any more.
/// The base of a present epoch never changes.
pub async fn newest_mergeable(db: &impl ConnectionTrait) -> Result<Option<Epoch>, DbErr> {
    let sql = concat!(
        "SELECT epoch FROM epochs_opened WHERE opened_at < clock_timestamp() - interval '7 days' \
           AND epoch < (SELECT min(",
        newest_epoch!("p.partition"),
        ") FROM partitions p) ORDER BY epoch DESC LIMIT 1"
    );
    let row = db.query_one_raw(statement(sql, [])).await?;
    row.map(|row| epoch_column(&row, "epoch")).transpose()
}

/// Merges the bases of old epochs in the next rooms after the room id `after`. The merged epochs of a room are those up
/// to `upto`, except the first and the newest [`MIN_EXACT_EPOCHS`]. The last merged epoch gets the lowest of the merged
/// bases; the rows of the other merged epochs are deleted. Returns the last room of the page; None if no room is left.
///
/// Keeps the base invariant: a cursor is valid up to the lowest base of the epochs after its own, and a merged base is
/// not above any base that it replaces. So a client with a cursor of a merged epoch may have to read more events again
/// than necessary. The first base is not merged because it is 0, and no cursor is of an earlier epoch.
pub async fn merge_page(
    db: &impl ConnectionTrait,
    upto: Epoch,
    after: &str,
) -> Result<Option<String>, DbErr> {
    let sql = "WITH page AS MATERIALIZED (SELECT DISTINCT room_id FROM room_epochs WHERE room_id > $1 \
                 ORDER BY room_id LIMIT $3), \
               ranked AS (SELECT e.room_id, e.epoch, e.base, min(e.epoch) OVER (PARTITION BY e.room_id) AS first, \
                   row_number() OVER (PARTITION BY e.room_id ORDER BY e.epoch DESC) AS place \
                 FROM page JOIN room_epochs e USING (room_id)), \
               old AS MATERIALIZED (SELECT room_id, first, max(epoch) AS epoch, min(base) AS base FROM ranked \
                 WHERE epoch > first AND epoch <= $2 AND place > $4 GROUP BY room_id, first HAVING count(*) > 1), \
               lowered AS (UPDATE room_epochs e SET base = old.base FROM old \
                 WHERE e.room_id = old.room_id AND e.epoch = old.epoch AND e.base > old.base), \
               deleted AS (DELETE FROM room_epochs e USING old \
                 WHERE e.room_id = old.room_id AND e.epoch > old.first AND e.epoch < old.epoch) \
               SELECT max(room_id) AS last FROM page";
    let values =
        [after.into(), bigint(upto.0).into(), MAX_ROOMS_PER_STATEMENT.into(), MIN_EXACT_EPOCHS.into()];
    let row = db.query_one_raw(statement(sql, values)).await?;
    row.map_or(Ok(None), |row| row.try_get_by("last"))
}
