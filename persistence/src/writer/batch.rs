//! One batch as one transaction: guard, rooms, rows, heads. Either all of it is committed, progress included, or
//! nothing is.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use thiserror::Error;
use tidings_shared::{
    ids::{Epoch, RoomId, Seq},
    log::{Bases, IngestId, keys::Partition},
};

use super::{
    changes, failure,
    members::{self, StoredMembership},
    room_updates, rows,
    sql::{bigint, epoch, ingest_id, partition, room as room_of, seq as seq_of, smallint, statement},
};
use crate::ingest::{
    batch::{Entry, EventRow, Hole, Plan, StoredRoom, classify},
    holdings::{Lease, Standing},
};

/// A partition's share of a batch: what its row must be, and where it stands afterwards.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    pub standing: Standing,
    pub upto: IngestId,
}

/// A record below the watermark that is not what its sender sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    pub partition: Partition,
    pub room: RoomId,
    pub seq: Seq,
    /// `<first seq> <first id> <first at_ms>`, or `rejected`.
    pub outcome: String,
}

/// What a committed batch came to.
#[derive(Debug, Default)]
pub struct Written {
    pub exceptions: Vec<Exception>,
    pub messages: usize,
    pub events: usize,
    pub voids: usize,
    pub dead_letters: usize,
    pub passed_over: usize,
    /// Memberships that changed, also those of records that were stored before.
    pub memberships: Vec<StoredMembership>,
}

/// Why nothing was written.
#[derive(Debug, Error)]
pub enum WriteError {
    #[error("the rows of {} partitions are not as expected", .0.len())]
    Lost(Vec<Partition>),
    #[error("{} would get a hole: its head is {}, and then comes {}", .0.room, .0.head, .0.found)]
    Hole(Hole),
    /// A record of the batch is refused, and will be again.
    #[error("{}", failure::without_data(.0))]
    Data(DbErr),
    /// Neither: a limit was met, or what was found is not as it must be. It may be for one record among many.
    #[error("{}", failure::without_data(.0))]
    Stuck(DbErr),
    /// The database is away: it may work later.
    #[error("{}", failure::without_data(.0))]
    Transient(DbErr),
}

impl From<DbErr> for WriteError {
    fn from(error: DbErr) -> Self {
        if failure::is_of_the_data(&error) {
            Self::Data(error)
        } else if failure::is_of_the_connection(&error) {
            Self::Transient(error)
        } else {
            Self::Stuck(error)
        }
    }
}

/// Writes a batch. With `poison` each of its records becomes a void and a dead letter for that reason.
///
/// # Errors
/// [`WriteError`]; nothing was written, unless the COMMIT itself went unanswered: then the guard of a repetition
/// finds the row moved on.
pub async fn write(
    db: &DatabaseConnection,
    claims: &[Claim],
    entries: &[Entry],
    poison: Option<&str>,
) -> Result<Written, WriteError> {
    let transaction = db.begin().await?;
    guard(&transaction, claims).await?;
    let rooms = load_rooms(&transaction, entries).await?;
    let mut plan = classify(entries, &rooms, poison).map_err(WriteError::Hole)?;
    let mut written = Written { passed_over: plan.passed_over, ..Written::default() };

    let duplicates = rows::insert_messages(&transaction, &plan.messages).await?;
    written.messages = plan.messages.len() - duplicates.len();
    take_back(&transaction, &mut plan, &duplicates, &mut written).await?;
    changes::apply(&transaction, &mut plan, &mut written).await?;
    rows::insert_events(&transaction, &plan.events).await?;
    written.events = plan.events.len();
    rows::mark_told(&transaction, &plan.told).await?;
    members::apply(&transaction, &plan).await?;
    rows::move_marks(&transaction, &plan.marks).await?;
    room_updates::apply(&transaction, &plan.updates).await?;
    rows::advance(&transaction, &plan.heads).await?;
    rows::keep_rejects(&transaction, claims, &plan.rejects).await?;
    again(&transaction, &plan, &mut written).await?;
    written.memberships = members::to_tell(&transaction, &mut plan, &written).await?;

    for reject in &plan.rejects {
        if let Some((room, seq)) = &reject.at {
            let (room, seq, partition) = (room.clone(), *seq, reject.entry.partition);
            written.exceptions.push(Exception { partition, room, seq, outcome: "rejected".to_owned() });
        }
    }
    written.dead_letters = plan.rejects.len();
    written.voids = plan.events.iter().filter(|event| event.void.is_some()).count();
    transaction.commit().await?;
    Ok(written)
}

/// Locks the rows in order of partitions, and moves them on only when all are as expected.
async fn guard(transaction: &DatabaseTransaction, claims: &[Claim]) -> Result<(), WriteError> {
    let numbers: Vec<i16> = claims.iter().map(|claim| smallint(claim.standing.lease.partition)).collect();
    let found = transaction
        .query_all_raw(statement(
            "SELECT partition, token, epoch, last_id FROM partitions WHERE partition = ANY ($1) \
             ORDER BY partition FOR UPDATE",
            [numbers.clone().into()],
        ))
        .await?;
    let mut standings = Vec::with_capacity(found.len());
    for row in &found {
        let lease = Lease { partition: partition(row, 0)?, token: row.try_get_by_index(1)? };
        standings.push(Standing { lease, epoch: epoch(row, 2)?, committed: ingest_id(row, 3)? });
    }
    let lost = claims.iter().map(|claim| claim.standing).filter(|expected| !standings.contains(expected));
    let lost: Vec<Partition> = lost.map(|expected| expected.lease.partition).collect();
    if !lost.is_empty() {
        return Err(WriteError::Lost(lost));
    }
    let column = |of: fn(&Claim) -> String| -> Vec<String> { claims.iter().map(of).collect() };
    let number = |of: fn(&Claim) -> i64| -> Vec<i64> { claims.iter().map(of).collect() };
    let moved = transaction
        .execute_raw(statement(
            "UPDATE partitions p SET last_id = v.upto \
             FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[]) \
               AS v (partition, token, epoch, old, upto) \
             WHERE p.partition = v.partition AND p.token = v.token AND p.epoch = v.epoch AND p.last_id = v.old",
            [
                numbers.into(),
                number(|claim| claim.standing.lease.token).into(),
                number(|claim| bigint(claim.standing.epoch.0)).into(),
                column(|claim| claim.standing.committed.to_string()).into(),
                column(|claim| claim.upto.to_string()).into(),
            ],
        ))
        .await?;
    if moved.rows_affected() == claims.len() as u64 {
        Ok(())
    } else {
        Err(WriteError::Lost(claims.iter().map(|claim| claim.standing.lease.partition).collect()))
    }
}

/// What is stored of the rooms of a batch, read after the lock: seeds and earlier owners are waited for.
async fn load_rooms(
    transaction: &DatabaseTransaction,
    entries: &[Entry],
) -> Result<HashMap<RoomId, StoredRoom>, DbErr> {
    let mut ids: Vec<String> = entries.iter().filter_map(Entry::room).map(String::from).collect();
    ids.sort_unstable();
    ids.dedup();
    let epochs = entries.iter().filter_map(|entry| entry.record.as_ref().ok()).map(|record| record.epoch);
    let earliest = epochs.min().unwrap_or(Epoch(0));
    let rows = transaction
        .query_all_raw(statement(
            "SELECT r.id, r.head_seq, COALESCE((SELECT string_agg(e.epoch || ':' || e.base, ',') \
               FROM room_epochs e WHERE e.room_id = r.id AND e.epoch > $2), '') \
             FROM rooms r WHERE r.id = ANY ($1)",
            [ids.into(), bigint(earliest.0).into()],
        ))
        .await?;
    let mut rooms = HashMap::with_capacity(rows.len());
    for row in &rows {
        let bases: String = row.try_get_by_index(2)?;
        rooms.insert(room_of(row, 0)?, StoredRoom { head: seq_of(row, 1)?, bases: Bases::decode(&bases) });
    }
    Ok(rooms)
}

/// Turns messages that were not inserted into voids: late duplicates of what `firsts` tells, else rejected.
async fn take_back(
    transaction: &DatabaseTransaction,
    plan: &mut Plan<'_>,
    not_inserted: &[usize],
    written: &mut Written,
) -> Result<(), DbErr> {
    if not_inserted.is_empty() {
        return Ok(());
    }
    plan.date_heads(not_inserted);
    let firsts = rows::firsts_of(transaction, &plan.messages, not_inserted).await?;
    for index in not_inserted {
        let message = &plan.messages[*index];
        let (room, record) = (message.room.clone(), message.record);
        let first = firsts.get(index);
        plan.events.push(EventRow::void(&room, record, first.map(|first| first.seq)));
        let (partition, seq) = (Partition::of(&room), record.seq);
        let outcome = first.map_or_else(|| "rejected".to_owned(), ToString::to_string);
        written.exceptions.push(Exception { partition, room, seq, outcome });
    }
    Ok(())
}

/// Records stored before that are void: their senders are told again.
async fn again(
    transaction: &DatabaseTransaction,
    plan: &Plan<'_>,
    written: &mut Written,
) -> Result<(), DbErr> {
    if plan.again.is_empty() {
        return Ok(());
    }
    let voids = rows::voids_among(transaction, &plan.again).await?;
    for (entry, record, room) in &plan.again {
        if let Some(outcome) = voids.get(&(room.clone(), record.seq)) {
            let (room, seq, partition) = (room.clone(), record.seq, entry.partition);
            written.exceptions.push(Exception { partition, room, seq, outcome: outcome.clone() });
        }
    }
    Ok(())
}
