//! Decides seeds: writes the bases of rooms under the lock of their partition. The lock waits for a batch that is being
//! written, and the new epoch in the row stops later batches of an earlier epoch. A written base never changes.

pub mod plan;

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use tidings_shared::{
    ids::{Epoch, RoomId},
    log::{Bases, RoomHead, keys::Partition},
};

use crate::sql::{bigint, column, epoch as epoch_of, room as room_of, seq as seq_of, smallint, statement};
use plan::{SeedPlan, SurvivingState, plan};

/// How long a seed waits for a batch that holds the lock. After that the seed fails, and its requester retries.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '1s'";

/// A room to be seeded, and its state in Redis.
pub type RoomToSeed = (RoomId, SurvivingState);
/// The decision for each room to be seeded. Contains no room that does not exist.
pub type SeedDecisions = HashMap<RoomId, (RoomHead, SeedPlan)>;

/// Decides the seeds of rooms of one partition and writes their bases. None if the epoch has ended.
pub async fn decide(
    db: &DatabaseConnection,
    epoch: Epoch,
    partition: Partition,
    wanted: &[RoomToSeed],
) -> Result<Option<SeedDecisions>, DbErr> {
    let transaction = db.begin().await?;
    transaction.execute_unprepared(LOCK_TIMEOUT).await?;
    if !lock_partition(&transaction, epoch, partition).await? {
        return Ok(None);
    }
    let mut decided = read(&transaction, epoch, wanted).await?;
    let new = decided.iter().filter(|(_, (_, plan))| plan.is_new);
    let new: Vec<(&RoomId, &SeedPlan)> = new.map(|(room, (_, plan))| (room, plan)).collect();
    if !new.is_empty() {
        write(&transaction, epoch, &new).await?;
    }
    transaction.commit().await?;
    for (head, plan) in decided.values_mut() {
        (head.epoch, head.seq, head.bases) = (epoch, plan.seq, plan.bases.clone());
    }
    Ok(Some(decided))
}

/// Locks the partition's row and moves it to the epoch. Returns false if the row is already in a later epoch.
async fn lock_partition(
    transaction: &DatabaseTransaction,
    epoch: Epoch,
    partition: Partition,
) -> Result<bool, DbErr> {
    let sql = "SELECT epoch FROM partitions WHERE partition = $1 FOR UPDATE";
    let values = [smallint(partition).into()];
    let row = transaction
        .query_one_raw(statement(sql, values))
        .await?
        .ok_or_else(|| DbErr::Custom(format!("no row of partition {}", partition.0)))?;
    let present = epoch_of(&row, "epoch")?;
    if present > epoch {
        return Ok(false);
    }
    if present < epoch {
        let sql = "UPDATE partitions SET epoch = $2, last_id = '0-0' WHERE partition = $1";
        let values = [smallint(partition).into(), bigint(epoch.0).into()];
        transaction.execute_raw(statement(sql, values)).await?;
    }
    Ok(true)
}

/// Reads the stored rooms and decides their seeds. A separate statement after the lock, so that it sees what a batch
/// committed while the lock waited.
async fn read(
    transaction: &DatabaseTransaction,
    epoch: Epoch,
    wanted: &[RoomToSeed],
) -> Result<SeedDecisions, DbErr> {
    let ids: Vec<String> = wanted.iter().map(|(room, _)| room.as_str().to_owned()).collect();
    let sql = "SELECT r.id, r.head_seq, r.kind, r.name, r.member_count, r.archived, \
                 COALESCE((SELECT string_agg(e.epoch || ':' || e.base, ',' ORDER BY e.epoch) \
                   FROM room_epochs e WHERE e.room_id = r.id), '') AS bases \
               FROM rooms r WHERE r.id = ANY ($1)";
    let rows = transaction.query_all_raw(statement(sql, [ids.into()])).await?;
    let survived: HashMap<&RoomId, &SurvivingState> =
        wanted.iter().map(|(room, survived)| (room, survived)).collect();
    let mut decided = HashMap::with_capacity(rows.len());
    for row in &rows {
        let room = room_of(row, "id")?;
        let Some(survived) = survived.get(&room) else { continue };
        let bases: String = row.try_get_by("bases")?;
        let members: i32 = row.try_get_by("member_count")?;
        let head = RoomHead {
            kind: row.try_get_by("kind")?,
            name: row.try_get_by("name")?,
            members: u64::try_from(members).unwrap_or(0),
            archived: row.try_get_by("archived")?,
            ..RoomHead::default()
        };
        let plan = plan(epoch, survived, seq_of(row, "head_seq")?, &Bases::decode(&bases));
        decided.insert(room, (head, plan));
    }
    Ok(decided)
}

async fn write(
    transaction: &DatabaseTransaction,
    epoch: Epoch,
    new: &[(&RoomId, &SeedPlan)],
) -> Result<(), DbErr> {
    let rooms = column(new, |(room, _)| room.to_string());
    let sql = "INSERT INTO room_epochs (room_id, epoch, base) \
               SELECT v.room, $1, v.base FROM unnest($2::text[], $3::bigint[]) AS v (room, base)";
    let values = [bigint(epoch.0).into(), rooms.clone(), column(new, |(_, plan)| bigint(plan.base.0))];
    transaction.execute_raw(statement(sql, values)).await?;
    // Lowers marks above the new head. They belong to lost events of the previous epoch, and new events at these seqs
    // would count as read.
    let sql = "UPDATE members m SET read_seq = LEAST(m.read_seq, v.seq), \
                 delivered_seq = LEAST(m.delivered_seq, v.seq) \
               FROM unnest($1::text[], $2::bigint[]) AS v (room, seq) \
               WHERE m.room_id = v.room AND (m.read_seq > v.seq OR m.delivered_seq > v.seq)";
    let values = [rooms, column(new, |(_, plan)| bigint(plan.seq.0))];
    transaction.execute_raw(statement(sql, values)).await.map(drop)
}
