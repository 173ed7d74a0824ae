//! What membership events come to in `members`, with the rows of users who are named for the first time.
//! Promises that `rooms.member_count` grows and shrinks by what was inserted and deleted, never by what was meant.

use std::collections::{BTreeMap, HashMap};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Value};
use tidings_shared::ids::{RoomId, UserId};

use super::{
    batch::Written,
    rows::column,
    sql::{room as room_of, statement, time},
};
use crate::ingest::batch::{MemberEnd, MembershipChange, MembershipKind, Plan};

/// A member and how they stand behind the batch.
type End<'a> = (&'a (RoomId, UserId), &'a MemberEnd);

/// A change of a membership that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMembership {
    pub change: MembershipChange,
    /// Of a room that somebody was added to: its kind and name.
    pub room: Option<(String, Option<String>)>,
}

/// Writes how members stand behind the batch.
pub async fn apply(transaction: &DatabaseTransaction, plan: &Plan<'_>) -> Result<(), DbErr> {
    let ends: Vec<End<'_>> = plan.members.ends.iter().collect();
    if ends.is_empty() {
        return Ok(());
    }
    let of = |keep: fn(&MemberEnd) -> bool| -> Vec<End<'_>> {
        ends.iter().copied().filter(|(_, end)| keep(end)).collect()
    };
    let (went, added, stand) =
        (of(|end| end.went), of(|end| end.added_at_ms.is_some()), of(|end| end.role.is_some()));
    let mut grown: BTreeMap<RoomId, i32> = BTreeMap::new();
    for room in delete(transaction, &went).await? {
        *grown.entry(room).or_default() -= 1;
    }
    for room in insert(transaction, &added).await? {
        *grown.entry(room).or_default() += 1;
    }
    give_roles(transaction, &stand).await?;
    grown.retain(|_, by| *by != 0);
    count(transaction, &grown).await
}

fn keys(ends: &[End<'_>]) -> [Value; 2] {
    [
        column(ends, |((room, _), _)| room.as_str().to_owned()),
        column(ends, |((_, user), _)| user.as_str().to_owned()),
    ]
}

/// Deletes those who went at least once; the room of each who was there.
async fn delete(transaction: &DatabaseTransaction, ends: &[End<'_>]) -> Result<Vec<RoomId>, DbErr> {
    if ends.is_empty() {
        return Ok(Vec::new());
    }
    let rows = transaction
        .query_all_raw(statement(
            "DELETE FROM members m USING unnest($1::text[], $2::text[]) AS v (room, member) \
             WHERE m.room_id = v.room AND m.user_id = v.member RETURNING m.room_id",
            keys(ends),
        ))
        .await?;
    rows.iter().map(|row| room_of(row, 0)).collect()
}

/// Inserts those who were added, and the users that nobody knows; the room of each who was not there.
async fn insert(transaction: &DatabaseTransaction, ends: &[End<'_>]) -> Result<Vec<RoomId>, DbErr> {
    if ends.is_empty() {
        return Ok(Vec::new());
    }
    // In one order wherever users are created, so that two transactions never wait for each other in a ring.
    let [_, users] = keys(ends);
    transaction
        .execute_raw(statement(
            "INSERT INTO users (id) SELECT DISTINCT u COLLATE \"C\" FROM unnest($1::text[]) AS v (u) \
             ORDER BY 1 ON CONFLICT DO NOTHING",
            [users],
        ))
        .await?;
    let [rooms, users] = keys(ends);
    let rows = transaction
        .query_all_raw(statement(
            "INSERT INTO members (room_id, user_id, role, joined_at) \
             SELECT room, member, role, at \
             FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS v (room, member, role, at) \
             ON CONFLICT DO NOTHING RETURNING room_id",
            [
                rooms,
                users,
                column(ends, |(_, end)| end.role.clone().unwrap_or_default()),
                column(ends, |(_, end)| time(end.added_at_ms.unwrap_or_default())),
            ],
        ))
        .await?;
    reopen_erasures(transaction, ends).await?;
    rows.iter().map(|row| room_of(row, 0)).collect()
}

/// Who was erased is added by whoever had not heard of it when they appended it: their erasure goes on, and they leave
/// again. Behind the insert, whose foreign key waits for an erasure that is about to end.
async fn reopen_erasures(transaction: &DatabaseTransaction, added: &[End<'_>]) -> Result<(), DbErr> {
    let [_, users] = keys(added);
    let sql = "UPDATE users SET erased_at = NULL WHERE id IN (SELECT id FROM users \
               WHERE id = ANY ($1) AND erased_at IS NOT NULL ORDER BY id FOR NO KEY UPDATE)";
    transaction.execute_raw(statement(sql, [users])).await.map(drop)
}

/// Gives those who are members the role they have now.
async fn give_roles(transaction: &DatabaseTransaction, ends: &[End<'_>]) -> Result<(), DbErr> {
    if ends.is_empty() {
        return Ok(());
    }
    let [rooms, users] = keys(ends);
    transaction
        .execute_raw(statement(
            "UPDATE members m SET role = v.role \
             FROM unnest($1::text[], $2::text[], $3::text[]) AS v (room, member, role) \
             WHERE m.room_id = v.room AND m.user_id = v.member AND m.role <> v.role",
            [rooms, users, column(ends, |(_, end)| end.role.clone().unwrap_or_default())],
        ))
        .await
        .map(drop)
}

async fn count(transaction: &DatabaseTransaction, grown: &BTreeMap<RoomId, i32>) -> Result<(), DbErr> {
    if grown.is_empty() {
        return Ok(());
    }
    let rows: Vec<(&RoomId, &i32)> = grown.iter().collect();
    transaction
        .execute_raw(statement(
            "UPDATE rooms r SET member_count = r.member_count + v.by \
             FROM unnest($1::text[], $2::integer[]) AS v (room, by) WHERE r.id = v.room",
            [column(&rows, |(room, _)| room.as_str().to_owned()), column(&rows, |(_, by)| **by)],
        ))
        .await
        .map(drop)
}

/// Whom to tell what of their memberships: of all records but those that came to nothing, which are among the
/// exceptions.
pub async fn to_tell(
    transaction: &DatabaseTransaction,
    plan: &mut Plan<'_>,
    written: &Written,
) -> Result<Vec<StoredMembership>, DbErr> {
    let mut changes = std::mem::take(&mut plan.members.all);
    changes.retain(|change| {
        !written.exceptions.iter().any(|void| void.seq == change.seq && void.room == change.room)
    });
    let is_addition = |change: &MembershipChange| matches!(change.kind, MembershipKind::Added { .. });
    let mut added: Vec<(String, String)> = changes
        .iter()
        .filter(|change| is_addition(change))
        .map(|change| (change.room.to_string(), change.user.to_string()))
        .collect();
    added.sort_unstable();
    added.dedup();
    let mut told = HashMap::with_capacity(added.len());
    if !added.is_empty() {
        // Only who is a member now: a record that is read again may be of an addition that was taken back since.
        let sql = "SELECT r.id, m.user_id, r.kind, r.name FROM unnest($1::text[], $2::text[]) AS v (room, member) \
                   JOIN members m ON m.room_id = v.room AND m.user_id = v.member JOIN rooms r ON r.id = v.room";
        let (rooms, users): (Vec<String>, Vec<String>) = added.into_iter().unzip();
        for row in transaction.query_all_raw(statement(sql, [rooms.into(), users.into()])).await? {
            let member: String = row.try_get_by_index(1)?;
            told.insert((room_of(&row, 0)?, member), (row.try_get_by_index(2)?, row.try_get_by_index(3)?));
        }
    }
    let stored = |change: MembershipChange| {
        let key = (change.room.clone(), change.user.to_string());
        let room = told.get(&key).filter(|_| is_addition(&change)).cloned();
        StoredMembership { change, room }
    };
    Ok(changes.into_iter().map(stored).collect())
}
