//! Writes one batch in one transaction: locks and checks the rows of its partitions, records the number of the batch,
//! reads the rooms, writes the rows, moves the heads. Either all of the batch is committed, including its number, or
//! nothing. A batch of new messages needs one statement (`one_statement`), any other a transaction of several.

mod kept_connection;
mod number;
mod one_statement;

use std::collections::{BTreeSet, HashMap};
use std::time::SystemTime;

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, TransactionTrait};
use tidings_shared::{
    ids::{Epoch, RoomId, Seq},
    log::{Bases, keys::Partition},
    sabotage::{self, Sabotage},
};

use super::{
    audit, changes, members,
    outcome::{Exception, WriteError, WrittenBatch},
    rows,
};
use crate::batch::{BatchPlan, EventRow, Hole, IngestEntry, PartitionAdvance, StoredRoom, plan_records};
use crate::sql::{bigint, column, partition_column, room_column, seq_column, smallint, statement};
pub use kept_connection::KeptConnection;
pub use number::{BatchNumber, delete_numbers_without_replica, delete_old_numbers};

/// One attempt to write a batch.
pub struct BatchWrite<'a> {
    pub number: &'a BatchNumber,
    pub claims: &'a [PartitionAdvance],
    pub entries: &'a [IngestEntry],
    /// The heads that the caller remembers; the others are read.
    pub heads: &'a HashMap<RoomId, Seq>,
    /// If present, each record becomes a void and a dead letter for this reason.
    pub poison: Option<&'a str>,
    /// Whether the insert skips messages whose client ids are already used. If false, such a message fails the batch.
    /// Usually false, because duplicates are rare and the check costs a third of the insert.
    pub check_client_ids: bool,
}

impl BatchWrite<'_> {
    /// Writes the batch. After an error nothing was written, unless the answer to the COMMIT was lost. In that case the
    /// retry fails, because its number is taken.
    pub async fn write(&self, connection: &mut KeptConnection) -> Result<WrittenBatch, WriteError> {
        if self.poison.is_none()
            && !self.check_client_ids
            && let Some(written) = one_statement::try_write(connection, self).await?
        {
            return Ok(written);
        }
        let transaction = connection.pool().begin().await?;
        match self.write_in_transaction(&transaction).await {
            Ok(mut written) => {
                written.committing_at = Some(SystemTime::now());
                transaction.commit().await?;
                Ok(written)
            }
            Err(error) => {
                // Waits for the rollback, so that the caller never finds rows that this transaction still locks.
                let _ = transaction.rollback().await;
                Err(error)
            }
        }
    }

    async fn write_in_transaction(
        &self,
        transaction: &DatabaseTransaction,
    ) -> Result<WrittenBatch, WriteError> {
        let Self { number, claims, entries, heads, poison, check_client_ids } = *self;
        lock_and_number(transaction, number, claims).await?;
        let rooms = load_rooms(transaction, entries, heads).await?;
        let mut plan = plan_batch(entries, &rooms, poison).map_err(WriteError::Hole)?;
        let mut written = WrittenBatch { left_out: plan.left_out, ..WrittenBatch::default() };

        let duplicates = match check_client_ids {
            true => rows::insert_new_messages(transaction, &plan.messages).await?,
            false => rows::insert_messages(transaction, &plan.messages).await.map(|()| Vec::new())?,
        };
        written.messages = plan.messages.len() - duplicates.len();
        written.appended_at_ms = plan.messages.iter().map(|message| message.ingest.ms).collect();
        void_duplicates(transaction, &mut plan, &duplicates, &mut written).await?;
        changes::apply_changes(transaction, &mut plan, &mut written).await?;
        rows::insert_events(transaction, &plan.events).await?;
        written.events = plan.events.len();
        audit::record_events(transaction, &plan).await?;
        rows::mark_announced(transaction, &plan.announced_voids).await?;
        members::apply_memberships(transaction, &plan).await?;
        rows::move_marks(transaction, &plan.marks).await?;
        rows::update_rooms(transaction, &plan.updates).await?;
        rows::advance_heads(transaction, &plan.heads).await?;
        rows::store_dead_letters(transaction, claims, &plan.rejects).await?;
        // Reports voids that an earlier batch stored, so that their senders are notified again.
        written.exceptions.extend(rows::stored_voids(transaction, &plan.already_stored).await?);
        written.memberships = members::take_changes_to_announce(transaction, &mut plan, &written).await?;

        let rejected = plan.rejects.iter().filter_map(|reject| reject.at.clone());
        let rejected = rejected.map(|(room, seq)| Exception { room, seq, outcome: "rejected".to_owned() });
        written.exceptions.extend(rejected);
        written.dead_letters = plan.rejects.len();
        written.voids = plan.events.iter().filter(|event| event.void.is_some()).count();
        written.activity = plan.activity();
        written.heads = plan.heads;
        let stored_before = plan.already_stored.into_iter();
        written.stored_before =
            stored_before.map(|(record, room)| (Partition::of(&room), (room, record.seq))).collect();
        Ok(written)
    }
}

/// What the records of a batch write, decided from the stored state of their rooms.
fn plan_batch<'a>(
    entries: &'a [IngestEntry],
    rooms: &HashMap<RoomId, StoredRoom>,
    poison: Option<&str>,
) -> Result<BatchPlan<'a>, Hole> {
    let mut plan = plan_records(entries, rooms, poison)?;
    if sabotage::is_active(Sabotage::Prefix) {
        plan.messages.retain(|message| !message.record.seq.0.is_multiple_of(50));
    }
    Ok(plan)
}

/// Locks the rows of the partitions in order, if token and epoch are as expected, and then records the number of the
/// batch. The conditions are on the locked row itself, so a row that changed while this statement waited for its lock
/// is checked again. The reads of the batch belong in later statements of the transaction, because they must see what
/// was committed during the wait.
///
/// The previous number must be there. PostgreSQL has lost the previous batch otherwise, and nothing may be written until
/// the partitions are compared with Redis again.
///
/// A lock writes no new row version and an insert reads none. So a batch costs the same while PostgreSQL keeps old row
/// versions for an open snapshot.
const LOCK_AND_NUMBER_SQL: &str = "\
    WITH locked AS MATERIALIZED (SELECT p.partition \
      FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS v (partition, token, epoch) \
      JOIN partitions p ON p.partition = v.partition AND p.token = v.token AND p.epoch = v.epoch \
      ORDER BY p.partition FOR NO KEY UPDATE OF p), \
    numbered AS (INSERT INTO batches (replica, number) SELECT $4::text, $5::bigint \
      WHERE (SELECT count(*) FROM locked) = cardinality($1::smallint[]) \
        AND ($5::bigint = 1 OR EXISTS (SELECT FROM batches b WHERE b.replica = $4::text AND b.number = $5::bigint - 1)) \
      ON CONFLICT DO NOTHING RETURNING number)";

/// Locks the rows of the batch's partitions and inserts its number. Fails unless this replica owns each partition in
/// the expected epoch, and no other batch of this replica has the number. The rows stay locked until the batch ends.
async fn lock_and_number(
    transaction: &DatabaseTransaction,
    number: &BatchNumber,
    claims: &[PartitionAdvance],
) -> Result<(), WriteError> {
    let sql = format!(
        "{LOCK_AND_NUMBER_SQL} SELECT partition, EXISTS (SELECT FROM numbered) AS is_numbered FROM locked"
    );
    let values = [
        column(claims, |claim| smallint(claim.expected.lease.partition)),
        column(claims, |claim| claim.expected.lease.token),
        column(claims, |claim| bigint(claim.expected.epoch.0)),
        number.replica().into(),
        number.value().into(),
    ];
    let rows = transaction.query_all_raw(statement(&sql, values)).await?;
    let owned =
        rows.iter().map(|row| partition_column(row, "partition")).collect::<Result<Vec<_>, DbErr>>()?;
    let lost = claims.iter().map(|claim| claim.expected.lease.partition);
    let lost: Vec<Partition> = lost.filter(|partition| !owned.contains(partition)).collect();
    if !lost.is_empty() {
        return Err(WriteError::Lost(lost));
    }
    let is_numbered = rows.first().map_or(Ok(false), |row| row.try_get_by("is_numbered"))?;
    match is_numbered {
        true => Ok(()),
        false if number.is_previous_missing(transaction).await? => Err(WriteError::PreviousMissing),
        false => Err(WriteError::NumberTaken),
    }
}

/// The state of the rooms whose heads the caller remembers. All their records are of the epochs that the batch expects,
/// so no base limits them.
fn remembered_rooms(heads: &HashMap<RoomId, Seq>) -> HashMap<RoomId, StoredRoom> {
    let known =
        |(room, head): (&RoomId, &Seq)| (room.clone(), StoredRoom { head: *head, ..StoredRoom::default() });
    heads.iter().map(known).collect()
}

/// The stored state of the rooms of a batch. Reads it for all rooms that are not in `heads`. Runs after the partitions
/// are locked, so that seeds and earlier owners have finished.
async fn load_rooms(
    transaction: &DatabaseTransaction,
    entries: &[IngestEntry],
    heads: &HashMap<RoomId, Seq>,
) -> Result<HashMap<RoomId, StoredRoom>, DbErr> {
    let mut rooms = remembered_rooms(heads);
    let unknown = entries.iter().filter_map(IngestEntry::room).filter(|room| !heads.contains_key(room));
    let ids: BTreeSet<String> = unknown.map(String::from).collect();
    if ids.is_empty() {
        return Ok(rooms);
    }
    let ids: Vec<String> = ids.into_iter().collect();
    let epochs = entries.iter().filter_map(|entry| entry.record.as_ref().ok()).map(|record| record.epoch);
    let earliest = epochs.min().unwrap_or(Epoch(0));
    let sql = "SELECT r.id, r.head_seq, COALESCE((SELECT string_agg(e.epoch || ':' || e.base, ',') \
                 FROM room_epochs e WHERE e.room_id = r.id AND e.epoch > $2), '') AS bases \
               FROM rooms r WHERE r.id = ANY ($1)";
    let rows = transaction.query_all_raw(statement(sql, [ids.into(), bigint(earliest.0).into()])).await?;
    for row in &rows {
        let bases: String = row.try_get_by("bases")?;
        rooms.insert(
            room_column(row, "id")?,
            StoredRoom { head: seq_column(row, "head_seq")?, bases: Bases::decode(&bases) },
        );
    }
    Ok(rooms)
}

/// Turns messages that were not inserted into voids: duplicates of the stored message with the same client id, or
/// rejected records if there is no such message.
async fn void_duplicates(
    transaction: &DatabaseTransaction,
    plan: &mut BatchPlan<'_>,
    duplicates: &[usize],
    written: &mut WrittenBatch,
) -> Result<(), DbErr> {
    if duplicates.is_empty() {
        return Ok(());
    }
    plan.set_last_message_times(duplicates);
    let firsts = rows::first_messages(transaction, &plan.messages, duplicates).await?;
    for index in duplicates {
        let message = &plan.messages[*index];
        let (room, record) = (message.room.clone(), message.record);
        let first = firsts.get(index);
        plan.events.push(EventRow::void(&room, record, first.map(|first| first.seq)));
        let outcome = first.map_or_else(|| "rejected".to_owned(), ToString::to_string);
        written.exceptions.push(Exception { room, seq: record.seq, outcome });
    }
    Ok(())
}
