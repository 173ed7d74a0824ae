//! Writes changes of messages: reads the stored state of the messages, folds the changes, and writes the outcome. Takes
//! a few statements per batch, and none for a batch without changes. The original content is kept as a version.

mod reactions;

use std::collections::{BTreeSet, HashMap};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Value};
use tidings_shared::ids::UserId;

use super::outcome::{Exception, WrittenBatch};
use crate::batch::{
    BatchPlan, ChangeRow, EventRow,
    folding::{EditedVersion, MessageOutcome, MessagePosition, MessageState, fold},
};
use crate::sql::{
    bigint, column, join_users, room_column, seq_column, statement, timestamp_from_ms, write_rows,
};

/// The key of a message and its new state.
type ChangedMessage<'a> = (&'a MessagePosition, &'a MessageOutcome);

/// Applies the changes of a batch whose messages are already inserted. A change refused because of `MAX_EMOJI` becomes
/// a void. An edit also becomes a void if the content of its message was removed before this batch, for example by
/// retention. The removal found only the edits that were stored at that time.
pub async fn apply_changes(
    transaction: &DatabaseTransaction,
    plan: &mut BatchPlan<'_>,
    written: &mut WrittenBatch,
) -> Result<(), DbErr> {
    if plan.changes.is_empty() {
        return Ok(());
    }
    let mut states = lock_and_load_states(transaction, &plan.changes).await?;
    reactions::read_reactions(transaction, &plan.changes, &mut states).await?;
    let folded = fold(&plan.changes, states);
    for change in folded.refused.iter().map(|index| &plan.changes[*index]) {
        plan.events[change.event] = EventRow::void(&change.room, change.record, None);
        let (room, seq) = (change.room.clone(), change.record.seq);
        written.exceptions.push(Exception { room, seq, outcome: "rejected".to_owned() });
    }
    for change in folded.late_edits.iter().map(|index| &plan.changes[*index]) {
        plan.events[change.event].remove_text();
    }
    let changed: Vec<ChangedMessage<'_>> = folded.outcomes.iter().collect();
    if changed.is_empty() {
        return Ok(());
    }
    store_originals(transaction, &changed).await?;
    store_versions(transaction, &changed).await?;
    change_messages(transaction, &changed).await?;
    reactions::remove_reactions(transaction, &changed).await?;
    reactions::add_reactions(transaction, &changed).await
}

/// The rooms and the seqs of message keys, as two array parameters.
fn position_columns<T>(rows: &[T], of: impl Fn(&T) -> &MessagePosition) -> [Value; 2] {
    [column(rows, |row| of(row).0.as_str().to_owned()), column(rows, |row| bigint(of(row).1.0))]
}

/// Reads and locks the target messages. Other transactions can change these messages only before or after this batch.
async fn lock_and_load_states(
    transaction: &DatabaseTransaction,
    changes: &[ChangeRow<'_>],
) -> Result<HashMap<MessagePosition, MessageState>, DbErr> {
    let keys: BTreeSet<MessagePosition> =
        changes.iter().map(|change| (change.room.clone(), change.target)).collect();
    let keys: Vec<MessagePosition> = keys.into_iter().collect();
    let sql = "SELECT m.room_id, m.seq, m.id, m.deleted FROM unnest($1::text[], $2::bigint[]) AS v (room, seq) \
               JOIN messages m ON m.room_id = v.room AND m.seq = v.seq \
               ORDER BY m.room_id, m.seq FOR NO KEY UPDATE OF m";
    let rows = transaction.query_all_raw(statement(sql, position_columns(&keys, |key| key))).await?;
    let mut states = HashMap::with_capacity(rows.len());
    for row in &rows {
        let state = MessageState {
            id: row.try_get_by("id")?,
            deleted: row.try_get_by("deleted")?,
            ..MessageState::default()
        };
        states.insert((room_column(row, "room_id")?, seq_column(row, "seq")?), state);
    }
    Ok(states)
}

/// Stores the original content of messages as a version, before the first change overwrites the content.
async fn store_originals(
    transaction: &DatabaseTransaction,
    changed: &[ChangedMessage<'_>],
) -> Result<(), DbErr> {
    let overwritten = |(_, outcome): &&ChangedMessage<'_>| outcome.deleted || !outcome.versions.is_empty();
    let overwritten: Vec<&ChangedMessage<'_>> = changed.iter().filter(overwritten).collect();
    let sql = "INSERT INTO message_versions (room_id, seq, version, content, metadata, at, by) \
               SELECT m.room_id, m.seq, m.seq, m.content, m.metadata, m.at, m.sender_id \
               FROM unnest($1::text[], $2::bigint[]) AS v (room, seq) \
               JOIN messages m ON m.room_id = v.room AND m.seq = v.seq ON CONFLICT DO NOTHING";
    write_rows(transaction, overwritten.len(), sql, position_columns(&overwritten, |(key, _)| key)).await
}

async fn store_versions(
    transaction: &DatabaseTransaction,
    changed: &[ChangedMessage<'_>],
) -> Result<(), DbErr> {
    let mut versions: Vec<(&MessagePosition, &EditedVersion)> = Vec::new();
    for (key, outcome) in changed {
        versions.extend(outcome.versions.iter().map(|version| (*key, version)));
    }
    let [rooms, seqs] = position_columns(&versions, |(key, _)| key);
    let sql = "INSERT INTO message_versions (room_id, seq, version, content, metadata, at, by) \
               SELECT room, seq, version, content, NULLIF(metadata, '')::json, at, editor \
               FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[], \
                 $7::text[]) AS v (room, seq, version, content, metadata, at, editor) ON CONFLICT DO NOTHING";
    let values = [
        rooms,
        seqs,
        column(&versions, |(_, version)| bigint(version.seq.0)),
        column(&versions, |(_, version)| version.content.clone()),
        column(&versions, |(_, version)| version.metadata.clone().unwrap_or_default()),
        column(&versions, |(_, version)| timestamp_from_ms(version.at_ms)),
        column(&versions, |(_, version)| version.by.clone()),
    ];
    write_rows(transaction, versions.len(), sql, values).await
}

/// The users whom the message mentions after the last edit that set them; None if no edit did.
fn latest_mentions(outcome: &MessageOutcome) -> Option<&[UserId]> {
    outcome.versions.iter().rev().find_map(|version| version.mentions.as_deref())
}

/// Writes the new state of messages. A deleted message keeps no content.
async fn change_messages(
    transaction: &DatabaseTransaction,
    changed: &[ChangedMessage<'_>],
) -> Result<(), DbErr> {
    let [rooms, seqs] = position_columns(changed, |(key, _)| key);
    let last = |(_, outcome): &ChangedMessage<'_>| outcome.versions.last().cloned();
    let metadata = |(_, outcome): &ChangedMessage<'_>| {
        let latest = outcome.versions.iter().rev().find_map(|version| version.metadata.clone());
        latest.unwrap_or_default()
    };
    let sql = "UPDATE messages m SET last_seq = v.last, deleted = v.deleted, \
                 content = CASE WHEN v.deleted THEN '' WHEN v.edited THEN v.content ELSE m.content END, \
                 metadata = CASE WHEN NOT v.deleted THEN COALESCE(NULLIF(v.metadata, '')::json, m.metadata) END, \
                 attachments = CASE WHEN NOT v.deleted THEN m.attachments END, \
                 mentions = CASE WHEN v.deleted THEN NULL WHEN v.sets_mentions \
                   THEN string_to_array(NULLIF(v.mentions, ''), chr(30)) ELSE m.mentions END, \
                 edited_at = CASE WHEN v.edited THEN v.edited_at ELSE m.edited_at END \
               FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::boolean[], $5::boolean[], $6::text[], $7::text[], \
                 $8::timestamptz[], $9::boolean[], $10::text[]) \
                 AS v (room, seq, last, deleted, edited, content, metadata, edited_at, sets_mentions, mentions) \
               WHERE m.room_id = v.room AND m.seq = v.seq AND m.last_seq < v.last";
    let values = [
        rooms,
        seqs,
        column(changed, |(_, outcome)| bigint(outcome.last_seq.0)),
        column(changed, |(_, outcome)| outcome.deleted),
        column(changed, |(_, outcome)| !outcome.versions.is_empty()),
        column(changed, |row| last(row).map_or_else(String::new, |version| version.content)),
        column(changed, metadata),
        column(changed, |row| timestamp_from_ms(last(row).map_or(0, |version| version.at_ms))),
        column(changed, |(_, outcome)| latest_mentions(outcome).is_some()),
        column(changed, |(_, outcome)| join_users(latest_mentions(outcome))),
    ];
    transaction.execute_raw(statement(sql, values)).await.map(drop)
}
