//! Writes the reactions of a batch: reads the stored reactions, deletes removed ones, inserts added ones. Triggers of
//! the table `reactions` count each emoji.

use std::collections::{BTreeSet, HashMap};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{ChangedMessage, position_columns};
use crate::batch::{
    Action, ChangeRow,
    folding::{MessagePosition, MessageState},
};
use crate::sql::{bigint, column, room_column, seq_column, statement, timestamp_from_ms, write_rows};

/// Reads into `states` the stored reactions of messages whose reactions change.
pub(super) async fn read_reactions(
    transaction: &DatabaseTransaction,
    changes: &[ChangeRow<'_>],
    states: &mut HashMap<MessagePosition, MessageState>,
) -> Result<(), DbErr> {
    let mut named = BTreeSet::new();
    for change in changes {
        let key = (change.room.clone(), change.target);
        if let Action::AddReaction(emoji) | Action::RemoveReaction(emoji) = &change.action
            && states.contains_key(&key)
        {
            named.insert((key, emoji.as_ref(), change.record.sender()));
        }
    }
    if named.is_empty() {
        return Ok(());
    }
    let keys: BTreeSet<&MessagePosition> = named.iter().map(|(key, ..)| key).collect();
    let keys: Vec<&MessagePosition> = keys.into_iter().collect();
    let sql = "SELECT c.room_id, c.seq, c.emoji, c.count FROM unnest($1::text[], $2::bigint[]) AS v (room, seq) \
               JOIN reaction_counts c ON c.room_id = v.room AND c.seq = v.seq";
    let counts = transaction.query_all_raw(statement(sql, position_columns(&keys, |key| key))).await?;
    for row in &counts {
        if let Some(state) = states.get_mut(&(room_column(row, "room_id")?, seq_column(row, "seq")?)) {
            state.emoji.insert(row.try_get_by("emoji")?, row.try_get_by("count")?);
        }
    }
    let named: Vec<(MessagePosition, &str, &str)> = named.into_iter().collect();
    let [rooms, seqs] = position_columns(&named, |(key, ..)| key);
    let sql = "SELECT r.room_id, r.seq, r.emoji, r.user_id \
               FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS v (room, seq, emoji, giver) \
               JOIN reactions r ON r.room_id = v.room AND r.seq = v.seq AND r.emoji = v.emoji AND r.user_id = v.giver";
    let values = [
        rooms,
        seqs,
        column(&named, |(_, emoji, _)| (*emoji).to_owned()),
        column(&named, |(.., user)| (*user).to_owned()),
    ];
    let existing = transaction.query_all_raw(statement(sql, values)).await?;
    for row in &existing {
        if let Some(state) = states.get_mut(&(room_column(row, "room_id")?, seq_column(row, "seq")?)) {
            state.existing.insert((row.try_get_by("emoji")?, row.try_get_by("user_id")?));
        }
    }
    Ok(())
}

/// Maximum number of reactions of deleted messages that one batch deletes. Each takes 20 µs, and a long batch would
/// delay the log. Further reactions stay, but they are invisible because their counts are deleted.
const MAX_REMOVED_PER_BATCH: i64 = 20_000;

/// Deletes all reactions of deleted messages, and single reactions that users removed.
pub(super) async fn remove_reactions(
    transaction: &DatabaseTransaction,
    changed: &[ChangedMessage<'_>],
) -> Result<(), DbErr> {
    let deleted: Vec<&ChangedMessage<'_>> = changed.iter().filter(|(_, outcome)| outcome.deleted).collect();
    if !deleted.is_empty() {
        let [rooms, seqs] = position_columns(&deleted, |(key, _)| key);
        let sql = "DELETE FROM reactions WHERE ctid = ANY (ARRAY(SELECT r.ctid \
                   FROM unnest($1::text[], $2::bigint[]) AS v (room, seq) \
                   JOIN reactions r ON r.room_id = v.room AND r.seq = v.seq LIMIT $3))";
        transaction.execute_raw(statement(sql, [rooms, seqs, MAX_REMOVED_PER_BATCH.into()])).await?;
        let sql = "DELETE FROM reaction_counts c USING unnest($1::text[], $2::bigint[]) AS v (room, seq) \
                   WHERE c.room_id = v.room AND c.seq = v.seq";
        transaction.execute_raw(statement(sql, position_columns(&deleted, |(key, _)| key))).await?;
    }
    let removed =
        changed.iter().flat_map(|(key, outcome)| outcome.removed.iter().map(move |pair| (*key, pair)));
    let removed: Vec<(&MessagePosition, &(String, String))> = removed.collect();
    let [rooms, seqs] = position_columns(&removed, |(key, _)| key);
    let sql = "DELETE FROM reactions r \
               USING unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS v (room, seq, emoji, giver) \
               WHERE r.room_id = v.room AND r.seq = v.seq AND r.emoji = v.emoji AND r.user_id = v.giver";
    let values = [
        rooms,
        seqs,
        column(&removed, |(_, (emoji, _))| emoji.clone()),
        column(&removed, |(_, (_, user))| user.clone()),
    ];
    write_rows(transaction, removed.len(), sql, values).await
}

/// Inserts the reactions that the batch added and did not remove again.
pub(super) async fn add_reactions(
    transaction: &DatabaseTransaction,
    changed: &[ChangedMessage<'_>],
) -> Result<(), DbErr> {
    let mut added = Vec::new();
    for (key, outcome) in changed {
        added.extend(outcome.added.iter().map(|(pair, added)| (*key, pair, *added)));
    }
    let [rooms, seqs] = position_columns(&added, |(key, ..)| key);
    let sql = "INSERT INTO reactions (room_id, seq, emoji, user_id, at, event_seq) \
               SELECT room, seq, emoji, giver, at, event_seq \
               FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[]) \
                 AS v (room, seq, emoji, giver, at, event_seq) ON CONFLICT DO NOTHING";
    let values = [
        rooms,
        seqs,
        column(&added, |(_, (emoji, _), _)| emoji.clone()),
        column(&added, |(_, (_, user), _)| user.clone()),
        column(&added, |(.., added)| timestamp_from_ms(added.at_ms)),
        column(&added, |(.., added)| bigint(added.seq.0)),
    ];
    write_rows(transaction, added.len(), sql, values).await
}
