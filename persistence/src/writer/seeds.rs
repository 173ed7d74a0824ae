//! Decides seeds: writes the bases of rooms under the locks of their partitions. A partition is locked only when no batch
//! of it is being written, and the new epoch in the row stops later batches of an earlier epoch. A written base never
//! changes.

pub mod plan;
mod tampering;

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use tidings_shared::{
    ids::{Epoch, RoomId},
    log::{Bases, RoomHead, keys::Partition},
};

use crate::sql::{
    bigint, column, epoch_column, partition_column, room_column, seq_column, smallint, statement,
};
use crate::writer::failure;
use plan::{SeedPlan, SurvivingState, plan_seed};

/// Limits how long a seed waits for a batch that holds the lock of the partition. After this time the requester must
/// retry.
pub(super) const SET_LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '200ms'";
/// Limits how long a seed that waits for one partition holds the locks of the others.
const SET_SHARED_LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '40ms'";

/// A room to be seeded, and its state in Redis.
pub type RoomToSeed = (RoomId, SurvivingState);
/// The decision for each room to be seeded. Contains no room that does not exist.
pub type SeedDecisions = HashMap<RoomId, (RoomHead, SeedPlan)>;

/// What a seed does about a partition whose lock another transaction holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockWait {
    /// Leaves the partition out at once.
    Skip,
    /// Waits for the locks of all partitions, at most 40 ms for each. Leaves all partitions out if one lock is not free
    /// by then.
    ShortForAll,
    /// Waits for the lock of the only partition, at most 200 ms.
    Short,
}

/// The result of the seeds of some rooms.
#[derive(Debug)]
pub enum Seeds {
    Decided {
        decided: SeedDecisions,
        /// The partitions whose lock another transaction holds. Nothing is decided for their rooms.
        locked: HashSet<Partition>,
    },
    EpochEnded,
}

/// Decides the seeds of rooms and writes their bases, in one transaction. With [`LockWait::Short`] all rooms must be of
/// one partition.
pub async fn decide(
    db: &DatabaseConnection,
    epoch: Epoch,
    wanted: &[RoomToSeed],
    wait: LockWait,
) -> Result<Seeds, DbErr> {
    let mut locked: HashSet<Partition> = wanted.iter().map(|(room, _)| Partition::of(room)).collect();
    let transaction = db.begin().await?;
    let obtained = match lock_partitions(&transaction, epoch, &locked, wait).await {
        Ok(Some(obtained)) => obtained,
        Ok(None) => return Ok(Seeds::EpochEnded),
        Err(error) if failure::is_lock_timeout(&error) => HashSet::new(),
        Err(error) => return Err(error),
    };
    locked.retain(|partition| !obtained.contains(partition));
    if obtained.is_empty() {
        return Ok(Seeds::Decided { decided: SeedDecisions::new(), locked });
    }
    let free: HashMap<&RoomId, &SurvivingState> = wanted
        .iter()
        .filter(|(room, _)| obtained.contains(&Partition::of(room)))
        .map(|(room, survived)| (room, survived))
        .collect();
    let mut decided = decide_seeds(&transaction, epoch, &free).await?;
    let new = decided.iter().filter(|(_, (_, plan))| plan.is_new);
    let new: Vec<(&RoomId, &SeedPlan)> = new.map(|(room, (_, plan))| (room, plan)).collect();
    if !new.is_empty() {
        write_bases(&transaction, epoch, &new).await?;
    }
    transaction.commit().await?;
    for (head, plan) in decided.values_mut() {
        (head.epoch, head.seq, head.bases) = (epoch, plan.seq, plan.bases.clone());
    }
    Ok(Seeds::Decided { decided, locked })
}

/// Locks the rows of partitions, and moves them to the epoch. Returns the partitions whose lock was obtained, or `None`
/// if a row is already in a later epoch.
async fn lock_partitions(
    transaction: &DatabaseTransaction,
    epoch: Epoch,
    partitions: &HashSet<Partition>,
    wait: LockWait,
) -> Result<Option<HashSet<Partition>>, DbErr> {
    let skip = if wait == LockWait::Skip { " SKIP LOCKED" } else { "" };
    let set_lock_timeout = match wait {
        LockWait::Skip => None,
        LockWait::ShortForAll => Some(SET_SHARED_LOCK_TIMEOUT),
        LockWait::Short => Some(SET_LOCK_TIMEOUT),
    };
    if let Some(set_lock_timeout) = set_lock_timeout {
        transaction.execute_unprepared(set_lock_timeout).await?;
    }
    let ids = |partitions: &[Partition]| column(partitions, |partition| smallint(*partition));
    let wanted: Vec<Partition> = partitions.iter().copied().collect();
    // The writer locks partitions in the same order.
    let sql = format!(
        "SELECT partition, epoch FROM partitions WHERE partition = ANY ($1::smallint[]) \
         ORDER BY partition FOR UPDATE{skip}"
    );
    let rows = transaction.query_all_raw(statement(&sql, [ids(&wanted)])).await?;
    if wait != LockWait::Skip && rows.len() < wanted.len() {
        return Err(DbErr::Custom(format!("a row of the partitions {wanted:?} is missing")));
    }
    let (mut obtained, mut earlier) = (HashSet::new(), Vec::new());
    for row in &rows {
        let partition = partition_column(row, "partition")?;
        match epoch_column(row, "epoch")?.cmp(&epoch) {
            Ordering::Greater => return Ok(None),
            Ordering::Less => earlier.push(partition),
            Ordering::Equal => {}
        }
        obtained.insert(partition);
    }
    if !earlier.is_empty() {
        let sql = "UPDATE partitions SET epoch = $2 WHERE partition = ANY ($1::smallint[])";
        transaction.execute_raw(statement(sql, [ids(&earlier), bigint(epoch.0).into()])).await?;
    }
    Ok(Some(obtained))
}

/// Reads the stored rooms and decides their seeds. Reads in a separate statement after the lock, to see what a batch
/// committed while the lock waited.
async fn decide_seeds(
    transaction: &DatabaseTransaction,
    epoch: Epoch,
    wanted: &HashMap<&RoomId, &SurvivingState>,
) -> Result<SeedDecisions, DbErr> {
    let ids: Vec<String> = wanted.keys().map(|room| room.as_str().to_owned()).collect();
    let sql = "SELECT r.id, r.head_seq, r.kind, r.name, r.member_count, r.archived, r.slow_mode_s, \
                 COALESCE((SELECT string_agg(e.epoch || ':' || e.base, ',' ORDER BY e.epoch) \
                   FROM room_epochs e WHERE e.room_id = r.id), '') AS bases \
               FROM rooms r WHERE r.id = ANY ($1)";
    let rows = transaction.query_all_raw(statement(sql, [ids.into()])).await?;
    let mut decided = HashMap::with_capacity(rows.len());
    for row in &rows {
        let room = room_column(row, "id")?;
        let Some(survived) = wanted.get(&room) else { continue };
        let bases: String = row.try_get_by("bases")?;
        let members: i32 = row.try_get_by("member_count")?;
        let slow_mode_s: i32 = row.try_get_by("slow_mode_s")?;
        let head = RoomHead {
            kind: row.try_get_by("kind")?,
            name: row.try_get_by("name")?,
            members: u64::try_from(members).unwrap_or(0),
            archived: row.try_get_by("archived")?,
            slow_mode_s: u16::try_from(slow_mode_s).unwrap_or(0),
            ..RoomHead::default()
        };
        let survived = tampering::tamper_with_survived(survived, epoch);
        let bases = tampering::tamper_with_bases(Bases::decode(&bases), epoch);
        let mut plan = plan_seed(epoch, &survived, seq_column(row, "head_seq")?, &bases);
        tampering::tamper_with_plan(&mut plan, &survived);
        decided.insert(room, (head, plan));
    }
    Ok(decided)
}

async fn write_bases(
    transaction: &DatabaseTransaction,
    epoch: Epoch,
    new: &[(&RoomId, &SeedPlan)],
) -> Result<(), DbErr> {
    let rooms = column(new, |(room, _)| room.to_string());
    let sql = "INSERT INTO room_epochs (room_id, epoch, base) \
               SELECT v.room, $1, v.base FROM unnest($2::text[], $3::bigint[]) AS v (room, base)";
    let values = [bigint(epoch.0).into(), rooms, column(new, |(_, plan)| bigint(plan.base.0))];
    // All marks are at or below the new head: the writer stores none above the stored head, and a seed never lowers it.
    transaction.execute_raw(statement(sql, values)).await.map(drop)
}
