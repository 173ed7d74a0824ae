//! Writes one batch in one transaction: checks the rows of its partitions, reads the rooms, writes the rows, moves the
//! heads. Either all of the batch is committed, including the new positions in the streams, or nothing. A batch of new
//! messages needs one statement (`one_statement`), any other a transaction of several.

mod kept_connection;
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
    changes, members,
    outcome::{Exception, WriteError, Written},
    rows,
};
use crate::batch::{BatchClaim, Entry, EventRow, Hole, Plan, StoredRoom, classify};
use crate::sql::{bigint, column, partition, room as room_of, seq as seq_of, smallint, statement};
pub use kept_connection::KeptConnection;

/// Writes a batch. `heads` are the heads that the caller remembers; the others are read. With `poison` each record
/// becomes a void and a dead letter for that reason. Unless `client_ids_checked`, a client id that is already used
/// fails the batch, because that is rare and checking the client ids costs a third of the insert. After an error
/// nothing was written, unless the answer to the COMMIT was lost. In that case the retry fails, because the rows of the
/// partitions have other positions.
pub async fn write(
    connection: &mut KeptConnection,
    claims: &[BatchClaim],
    entries: &[Entry],
    heads: &HashMap<RoomId, Seq>,
    poison: Option<&str>,
    client_ids_checked: bool,
) -> Result<Written, WriteError> {
    if poison.is_none()
        && !client_ids_checked
        && let Some(written) = one_statement::write(connection, claims, entries, heads).await?
    {
        return Ok(written);
    }
    let transaction = connection.pool().begin().await?;
    guard(&transaction, claims).await?;
    let rooms = load_rooms(&transaction, entries, heads).await?;
    let mut plan = plan_of(entries, &rooms, poison).map_err(WriteError::Hole)?;
    let mut written = Written { left_out: plan.left_out, ..Written::default() };

    let duplicates = match client_ids_checked {
        true => rows::insert_new_messages(&transaction, &plan.messages).await?,
        false => rows::insert_messages(&transaction, &plan.messages).await.map(|()| Vec::new())?,
    };
    written.messages = plan.messages.len() - duplicates.len();
    written.appended_at_ms = plan.messages.iter().map(|message| message.record.at_ms).collect();
    void_duplicates(&transaction, &mut plan, &duplicates, &mut written).await?;
    changes::apply(&transaction, &mut plan, &mut written).await?;
    rows::insert_events(&transaction, &plan.events).await?;
    written.events = plan.events.len();
    rows::mark_announced(&transaction, &plan.announced_voids).await?;
    members::apply(&transaction, &plan).await?;
    rows::move_marks(&transaction, &plan.marks).await?;
    rows::update_rooms(&transaction, &plan.updates).await?;
    rows::advance_heads(&transaction, &plan.heads).await?;
    rows::store_dead_letters(&transaction, claims, &plan.rejects).await?;
    // Reports voids that an earlier batch stored, so that their senders are notified again.
    written.exceptions.extend(rows::stored_voids(&transaction, &plan.already_stored).await?);
    written.memberships = members::to_announce(&transaction, &mut plan, &written).await?;

    let rejected = plan.rejects.iter().filter_map(|reject| reject.at.clone());
    let rejected = rejected.map(|(room, seq)| Exception { room, seq, outcome: "rejected".to_owned() });
    written.exceptions.extend(rejected);
    written.dead_letters = plan.rejects.len();
    written.voids = plan.events.iter().filter(|event| event.void.is_some()).count();
    written.heads = plan.heads;
    written.committing_at = Some(SystemTime::now());
    transaction.commit().await?;
    Ok(written)
}

/// What the records of a batch write, decided from the stored state of their rooms.
fn plan_of<'a>(
    entries: &'a [Entry],
    rooms: &HashMap<RoomId, StoredRoom>,
    poison: Option<&str>,
) -> Result<Plan<'a>, Hole> {
    let mut plan = classify(entries, rooms, poison)?;
    if sabotage::is_active(Sabotage::Prefix) {
        plan.messages.retain(|message| !message.record.seq.0.is_multiple_of(50));
    }
    Ok(plan)
}

/// Locks the rows of the partitions in order, and advances those that are as expected. The conditions are on the
/// updated row itself, so a row that changed while this statement waited for its lock is not advanced. A row that
/// became as expected during the wait is not advanced either, and its partition is settled again. The reads of the
/// batch belong in later statements of the transaction, because they must see what was committed during the wait.
const GUARD: &str = "\
    WITH locked AS MATERIALIZED (SELECT partition FROM partitions WHERE partition = ANY ($1) \
      ORDER BY partition FOR UPDATE) \
    UPDATE partitions p SET last_id = v.upto \
    FROM locked JOIN unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[]) \
      AS v (partition, token, epoch, old, upto) ON v.partition = locked.partition \
    WHERE p.partition = locked.partition AND p.token = v.token AND p.epoch = v.epoch AND p.last_id = v.old \
    RETURNING p.partition";

/// Keeps the ownership invariant: advances `last_id` of every partition of the batch, or fails with the partitions
/// whose rows are not as expected. After this failure nothing of the batch may be written.
async fn guard(transaction: &DatabaseTransaction, claims: &[BatchClaim]) -> Result<(), WriteError> {
    let values = [
        column(claims, |claim| smallint(claim.expected.lease.partition)),
        column(claims, |claim| claim.expected.lease.token),
        column(claims, |claim| bigint(claim.expected.epoch.0)),
        column(claims, |claim| claim.expected.committed.to_string()),
        column(claims, |claim| claim.upto.to_string()),
    ];
    let rows = transaction.query_all_raw(statement(GUARD, values)).await?;
    let moved = rows.iter().map(|row| partition(row, "partition")).collect::<Result<Vec<_>, DbErr>>()?;
    let lost = claims.iter().map(|claim| claim.expected.lease.partition);
    let lost: Vec<Partition> = lost.filter(|partition| !moved.contains(partition)).collect();
    if lost.is_empty() { Ok(()) } else { Err(WriteError::Lost(lost)) }
}

/// The state of the rooms whose heads the caller remembers. All their records are of the claimed epochs, so no base
/// limits them.
fn known_rooms(heads: &HashMap<RoomId, Seq>) -> HashMap<RoomId, StoredRoom> {
    let known =
        |(room, head): (&RoomId, &Seq)| (room.clone(), StoredRoom { head: *head, ..StoredRoom::default() });
    heads.iter().map(known).collect()
}

/// Reads the stored state of the rooms of a batch, except of those in `heads`. Runs after the partitions are locked, so
/// that seeds and earlier owners have finished.
async fn load_rooms(
    transaction: &DatabaseTransaction,
    entries: &[Entry],
    heads: &HashMap<RoomId, Seq>,
) -> Result<HashMap<RoomId, StoredRoom>, DbErr> {
    let mut rooms = known_rooms(heads);
    let unknown = entries.iter().filter_map(Entry::room).filter(|room| !heads.contains_key(room));
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
            room_of(row, "id")?,
            StoredRoom { head: seq_of(row, "head_seq")?, bases: Bases::decode(&bases) },
        );
    }
    Ok(rooms)
}

/// Turns messages that were not inserted into voids: duplicates of the stored message with the same client id, or
/// rejected records if there is no such message.
async fn void_duplicates(
    transaction: &DatabaseTransaction,
    plan: &mut Plan<'_>,
    duplicates: &[usize],
    written: &mut Written,
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
