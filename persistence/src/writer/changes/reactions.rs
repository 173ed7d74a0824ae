//! Reactions of a batch: what was given before, what is taken away, what is given now. How often each emoji was given
//! is counted by the table itself.

use std::collections::{BTreeSet, HashMap};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};

use super::{Changed, columns};
use crate::ingest::batch::{
    Action, ChangeRow,
    folding::{Place, Standing},
};
use crate::writer::{
    rows::column,
    sql::{bigint, room as room_of, seq as seq_of, statement, time},
};

/// Adds to the messages at which reactions are aimed what was given to them already.
pub(super) async fn read(
    transaction: &DatabaseTransaction,
    changes: &[ChangeRow<'_>],
    standings: &mut HashMap<Place, Standing>,
) -> Result<(), DbErr> {
    let mut named = BTreeSet::new();
    for change in changes {
        let place = (change.room.clone(), change.target);
        if let Action::AddReaction(emoji) | Action::RemoveReaction(emoji) = &change.action
            && standings.contains_key(&place)
        {
            named.insert((place, emoji.as_ref(), change.record.sender()));
        }
    }
    if named.is_empty() {
        return Ok(());
    }
    let places: BTreeSet<&Place> = named.iter().map(|(place, ..)| place).collect();
    let places: Vec<&Place> = places.into_iter().collect();
    let counts = transaction
        .query_all_raw(statement(
            "SELECT c.room_id, c.seq, c.emoji, c.count FROM unnest($1::text[], $2::bigint[]) AS v (room, seq) \
             JOIN reaction_counts c ON c.room_id = v.room AND c.seq = v.seq",
            columns(&places, |place| place),
        ))
        .await?;
    for row in &counts {
        if let Some(standing) = standings.get_mut(&(room_of(row, 0)?, seq_of(row, 1)?)) {
            standing.emoji.insert(row.try_get_by_index(2)?, row.try_get_by_index(3)?);
        }
    }
    let named: Vec<(Place, &str, &str)> = named.into_iter().collect();
    let [rooms, seqs] = columns(&named, |(place, ..)| place);
    let given = transaction
        .query_all_raw(statement(
            "SELECT r.room_id, r.seq, r.emoji, r.user_id \
             FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS v (room, seq, emoji, giver) \
             JOIN reactions r ON r.room_id = v.room AND r.seq = v.seq AND r.emoji = v.emoji AND r.user_id = v.giver",
            [
                rooms,
                seqs,
                column(&named, |(_, emoji, _)| (*emoji).to_owned()),
                column(&named, |(.., user)| (*user).to_owned()),
            ],
        ))
        .await?;
    for row in &given {
        if let Some(standing) = standings.get_mut(&(room_of(row, 0)?, seq_of(row, 1)?)) {
            standing.given.insert((row.try_get_by_index(2)?, row.try_get_by_index(3)?));
        }
    }
    Ok(())
}

/// Reactions that one batch removes with their messages, so that a delete never holds the log up: 20 µs each. What is
/// left of more is not seen, since it is not counted.
const REMOVED_AT_ONCE: i64 = 20_000;

/// Takes reactions away: all of deleted messages, and those that were taken back.
pub(super) async fn take(transaction: &DatabaseTransaction, changed: &[Changed<'_>]) -> Result<(), DbErr> {
    let deleted: Vec<&Changed<'_>> = changed.iter().filter(|(_, outcome)| outcome.deleted).collect();
    if !deleted.is_empty() {
        let [rooms, seqs] = columns(&deleted, |(place, _)| place);
        transaction
            .execute_raw(statement(
                "DELETE FROM reactions WHERE ctid = ANY (ARRAY(SELECT r.ctid \
                   FROM unnest($1::text[], $2::bigint[]) AS v (room, seq) \
                   JOIN reactions r ON r.room_id = v.room AND r.seq = v.seq LIMIT $3))",
                [rooms, seqs, REMOVED_AT_ONCE.into()],
            ))
            .await?;
        transaction
            .execute_raw(statement(
                "DELETE FROM reaction_counts c USING unnest($1::text[], $2::bigint[]) AS v (room, seq) \
                 WHERE c.room_id = v.room AND c.seq = v.seq",
                columns(&deleted, |(place, _)| place),
            ))
            .await?;
    }
    let taken =
        changed.iter().flat_map(|(place, outcome)| outcome.taken.iter().map(move |pair| (*place, pair)));
    let taken: Vec<(&Place, &(String, String))> = taken.collect();
    if taken.is_empty() {
        return Ok(());
    }
    let [rooms, seqs] = columns(&taken, |(place, _)| place);
    transaction
        .execute_raw(statement(
            "DELETE FROM reactions r \
             USING unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS v (room, seq, emoji, giver) \
             WHERE r.room_id = v.room AND r.seq = v.seq AND r.emoji = v.emoji AND r.user_id = v.giver",
            [
                rooms,
                seqs,
                column(&taken, |(_, (emoji, _))| emoji.clone()),
                column(&taken, |(_, (_, user))| user.clone()),
            ],
        ))
        .await
        .map(drop)
}

/// Writes those that were given.
pub(super) async fn give(transaction: &DatabaseTransaction, changed: &[Changed<'_>]) -> Result<(), DbErr> {
    let mut given = Vec::new();
    for (place, outcome) in changed {
        given.extend(outcome.given.iter().map(|(pair, given)| (*place, pair, *given)));
    }
    if given.is_empty() {
        return Ok(());
    }
    let [rooms, seqs] = columns(&given, |(place, ..)| place);
    transaction
        .execute_raw(statement(
            "INSERT INTO reactions (room_id, seq, emoji, user_id, at, event_seq) \
             SELECT room, seq, emoji, giver, at, event_seq \
             FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[]) \
               AS v (room, seq, emoji, giver, at, event_seq) ON CONFLICT DO NOTHING",
            [
                rooms,
                seqs,
                column(&given, |(_, (emoji, _), _)| emoji.clone()),
                column(&given, |(_, (_, user), _)| user.clone()),
                column(&given, |(.., given)| time(given.at_ms)),
                column(&given, |(.., given)| bigint(given.seq.0)),
            ],
        ))
        .await
        .map(drop)
}
