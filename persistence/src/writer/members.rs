//! Writes membership events into `members`, and creates users whom an event names for the first time.
//! `rooms.member_count` changes by the numbers of rows that were actually inserted and deleted.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Value};
use tidings_shared::ids::{RoomId, UserId};

use super::outcome::{StoredMembership, Written};
use crate::batch::{FinalMembership, MembershipChange, MembershipKind, Plan};
use crate::sql::{column, room as room_of, statement, time, write_rows};

/// The room and user of a membership, and its state after the batch.
type FinalRow<'a> = (&'a (RoomId, UserId), &'a FinalMembership);

/// Writes the final memberships of a batch.
pub async fn apply(transaction: &DatabaseTransaction, plan: &Plan<'_>) -> Result<(), DbErr> {
    let ends: Vec<FinalRow<'_>> = plan.members.final_memberships.iter().collect();
    if ends.is_empty() {
        return Ok(());
    }
    let of = |keep: fn(&FinalMembership) -> bool| -> Vec<FinalRow<'_>> {
        ends.iter().copied().filter(|(_, end)| keep(end)).collect()
    };
    let (removed, added, remaining) =
        (of(|end| end.was_removed), of(|end| end.added_at_ms.is_some()), of(|end| end.role.is_some()));
    let mut count_changes: BTreeMap<RoomId, i32> = BTreeMap::new();
    for room in delete(transaction, &removed).await? {
        *count_changes.entry(room).or_default() -= 1;
    }
    for room in insert(transaction, &added).await? {
        *count_changes.entry(room).or_default() += 1;
    }
    update_roles(transaction, &remaining).await?;
    count_changes.retain(|_, by| *by != 0);
    count(transaction, &count_changes).await
}

fn keys(ends: &[FinalRow<'_>]) -> [Value; 2] {
    [
        column(ends, |((room, _), _)| room.as_str().to_owned()),
        column(ends, |((_, user), _)| user.as_str().to_owned()),
    ]
}

/// Deletes the rows of users whom the batch removed at least once. Returns the room of each deleted row.
async fn delete(transaction: &DatabaseTransaction, ends: &[FinalRow<'_>]) -> Result<Vec<RoomId>, DbErr> {
    if ends.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "DELETE FROM members m USING unnest($1::text[], $2::text[]) AS v (room, member) \
               WHERE m.room_id = v.room AND m.user_id = v.member RETURNING m.room_id";
    let rows = transaction.query_all_raw(statement(sql, keys(ends))).await?;
    rows.iter().map(|row| room_of(row, "room_id")).collect()
}

/// Inserts the rows of added members, and of users who are unknown. Returns the room of each inserted member.
async fn insert(transaction: &DatabaseTransaction, ends: &[FinalRow<'_>]) -> Result<Vec<RoomId>, DbErr> {
    if ends.is_empty() {
        return Ok(Vec::new());
    }
    // Users are created in the same order everywhere, so that transactions cannot deadlock.
    let [_, users] = keys(ends);
    let sql = "INSERT INTO users (id) SELECT DISTINCT u COLLATE \"C\" FROM unnest($1::text[]) AS v (u) \
               ORDER BY 1 ON CONFLICT DO NOTHING";
    transaction.execute_raw(statement(sql, [users])).await?;
    let [rooms, users] = keys(ends);
    let sql = "INSERT INTO members (room_id, user_id, role, joined_at) \
               SELECT room, member, role, at \
               FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS v (room, member, role, at) \
               ON CONFLICT DO NOTHING RETURNING room_id";
    let values = [
        rooms,
        users,
        column(ends, |(_, end)| end.role.clone().unwrap_or_default()),
        column(ends, |(_, end)| time(end.added_at_ms.unwrap_or_default())),
    ];
    let rows = transaction.query_all_raw(statement(sql, values)).await?;
    reopen_erasures(transaction, ends).await?;
    rows.iter().map(|row| room_of(row, "room_id")).collect()
}

/// Starts the erasures again of erased users whom a node added because it did not know of the erasure; the erasure then
/// removes them. Runs after the insert, whose foreign key check waits for an erasure that is about to finish.
async fn reopen_erasures(transaction: &DatabaseTransaction, added: &[FinalRow<'_>]) -> Result<(), DbErr> {
    let [_, users] = keys(added);
    let sql = "UPDATE users SET erased_at = NULL WHERE id IN (SELECT id FROM users \
               WHERE id = ANY ($1) AND erased_at IS NOT NULL ORDER BY id FOR NO KEY UPDATE)";
    transaction.execute_raw(statement(sql, [users])).await.map(drop)
}

/// Writes the roles after the batch of users who stay members.
async fn update_roles(transaction: &DatabaseTransaction, ends: &[FinalRow<'_>]) -> Result<(), DbErr> {
    let [rooms, users] = keys(ends);
    let sql = "UPDATE members m SET role = v.role \
               FROM unnest($1::text[], $2::text[], $3::text[]) AS v (room, member, role) \
               WHERE m.room_id = v.room AND m.user_id = v.member AND m.role <> v.role";
    let values = [rooms, users, column(ends, |(_, end)| end.role.clone().unwrap_or_default())];
    write_rows(transaction, ends.len(), sql, values).await
}

async fn count(
    transaction: &DatabaseTransaction,
    count_changes: &BTreeMap<RoomId, i32>,
) -> Result<(), DbErr> {
    let rows: Vec<(&RoomId, &i32)> = count_changes.iter().collect();
    let sql = "UPDATE rooms r SET member_count = r.member_count + v.by \
               FROM unnest($1::text[], $2::integer[]) AS v (room, by) WHERE r.id = v.room";
    let values = [column(&rows, |(room, _)| room.as_str().to_owned()), column(&rows, |(_, by)| **by)];
    write_rows(transaction, count_changes.len(), sql, values).await
}

/// The membership changes to announce: those of all records except those that became voids, which are exceptions.
pub async fn to_announce(
    transaction: &DatabaseTransaction,
    plan: &mut Plan<'_>,
    written: &Written,
) -> Result<Vec<StoredMembership>, DbErr> {
    let mut changes = std::mem::take(&mut plan.members.all);
    changes.retain(|change| {
        !written.exceptions.iter().any(|void| void.seq == change.seq && void.room == change.room)
    });
    let is_addition = |change: &MembershipChange| matches!(change.kind, MembershipKind::Added { .. });
    let added: BTreeSet<(String, String)> = changes
        .iter()
        .filter(|change| is_addition(change))
        .map(|change| (change.room.to_string(), change.user.to_string()))
        .collect();
    let mut added_rooms = HashMap::with_capacity(added.len());
    if !added.is_empty() {
        // Finds only present members, because a record that is read again may describe a membership that has ended.
        let sql = "SELECT r.id, m.user_id, r.kind, r.name FROM unnest($1::text[], $2::text[]) AS v (room, member) \
                   JOIN members m ON m.room_id = v.room AND m.user_id = v.member JOIN rooms r ON r.id = v.room";
        let (rooms, users): (Vec<String>, Vec<String>) = added.into_iter().unzip();
        for row in transaction.query_all_raw(statement(sql, [rooms.into(), users.into()])).await? {
            let member: String = row.try_get_by("user_id")?;
            added_rooms
                .insert((room_of(&row, "id")?, member), (row.try_get_by("kind")?, row.try_get_by("name")?));
        }
    }
    let stored = |change: MembershipChange| {
        let key = (change.room.clone(), change.user.to_string());
        let room = added_rooms.get(&key).filter(|_| is_addition(&change)).cloned();
        StoredMembership { change, room }
    };
    Ok(changes.into_iter().map(stored).collect())
}
