//! Writes membership events into `members` and `rejoin_roles`, and creates users whom an event names for the first
//! time. Also writes the notification level of a member, which is no event.
//! `rooms.member_count` changes by the numbers of rows that were actually inserted and deleted.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, Value};
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::role::{GUEST, REMOVED};

use super::outcome::{StoredMembership, WrittenBatch};
use crate::batch::{BatchPlan, FinalMembership, MembershipChange, MembershipChangeKind};
use crate::query::room::NotifyLevel;
use crate::sql::{bigint, column, room_column, statement, timestamp_from_ms, write_rows};

/// The room and user of a membership, and its state after the batch.
type FinalRow<'a> = (&'a (RoomId, UserId), &'a FinalMembership);

/// Writes the final memberships of a batch.
pub async fn apply_memberships(transaction: &DatabaseTransaction, plan: &BatchPlan<'_>) -> Result<(), DbErr> {
    let finals: Vec<FinalRow<'_>> = plan.members.final_memberships.iter().collect();
    if finals.is_empty() {
        return Ok(());
    }
    let of = |keep: fn(&FinalMembership) -> bool| -> Vec<FinalRow<'_>> {
        finals.iter().copied().filter(|(_, state)| keep(state)).collect()
    };
    let (removed, added, remaining) =
        (of(|state| state.was_removed), of(|state| state.added.is_some()), of(|state| state.role.is_some()));
    // A later addition or departure replaces what an earlier one stored.
    delete_rejoin_roles(transaction, &of(|state| state.was_removed || state.added.is_some())).await?;
    let mut count_changes: BTreeMap<RoomId, i32> = BTreeMap::new();
    for room in delete_removed(transaction, &removed).await? {
        *count_changes.entry(room).or_default() -= 1;
    }
    for room in insert_added(transaction, &added).await? {
        *count_changes.entry(room).or_default() += 1;
    }
    update_roles(transaction, &remaining).await?;
    count_changes.retain(|_, by| *by != 0);
    update_member_counts(transaction, &count_changes).await
}

fn key_columns(finals: &[FinalRow<'_>]) -> [Value; 2] {
    [
        column(finals, |((room, _), _)| room.as_str().to_owned()),
        column(finals, |((_, user), _)| user.as_str().to_owned()),
    ]
}

async fn delete_rejoin_roles(
    transaction: &DatabaseTransaction,
    finals: &[FinalRow<'_>],
) -> Result<(), DbErr> {
    let sql = "DELETE FROM rejoin_roles j USING unnest($1::text[], $2::text[]) AS v (room, member) \
               WHERE j.room_id = v.room AND j.user_id = v.member";
    write_rows(transaction, finals.len(), sql, key_columns(finals)).await
}

/// Deletes the rows of users whom the batch removed at least once. Returns the room of each deleted row. For public
/// rooms stores who was removed by others, and who left as guest: such a user may not join as `member`.
async fn delete_removed(
    transaction: &DatabaseTransaction,
    finals: &[FinalRow<'_>],
) -> Result<Vec<RoomId>, DbErr> {
    if finals.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "WITH v AS (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS v (room, member, left_as)), \
           deleted AS (DELETE FROM members m USING v WHERE m.room_id = v.room AND m.user_id = v.member \
             RETURNING m.room_id, m.user_id, m.role), \
           kept AS (INSERT INTO rejoin_roles (user_id, room_id, role) SELECT l.member, l.room, l.role \
             FROM (SELECT v.member, v.room, COALESCE(NULLIF(v.left_as, ''), d.role) AS role \
               FROM v LEFT JOIN deleted d ON d.room_id = v.room AND d.user_id = v.member) l \
             WHERE l.role IN ('{REMOVED}', '{GUEST}') \
               AND (SELECT kind FROM rooms WHERE id = l.room) = 'public') \
         SELECT room_id FROM deleted"
    );
    let [rooms, users] = key_columns(finals);
    let left_as = column(finals, |(_, state)| state.left_as.clone().unwrap_or_default());
    let rows = transaction.query_all_raw(statement(&sql, [rooms, users, left_as])).await?;
    rows.iter().map(|row| room_column(row, "room_id")).collect()
}

/// Inserts the rows of added members, and the missing rows of their users. Earlier messages count as read: the read mark
/// begins at the event that added the member. Must run after [`delete_removed`], because a batch may remove a user and
/// add the user again. Returns the room of each inserted member.
async fn insert_added(
    transaction: &DatabaseTransaction,
    finals: &[FinalRow<'_>],
) -> Result<Vec<RoomId>, DbErr> {
    if finals.is_empty() {
        return Ok(Vec::new());
    }
    // Users are created in the same order everywhere, so that transactions cannot deadlock.
    let [_, users] = key_columns(finals);
    let sql = "INSERT INTO users (id) SELECT DISTINCT u COLLATE \"C\" FROM unnest($1::text[]) AS v (u) \
               ORDER BY 1 ON CONFLICT DO NOTHING";
    transaction.execute_raw(statement(sql, [users])).await?;
    let [rooms, users] = key_columns(finals);
    let sql = "INSERT INTO members (room_id, user_id, role, joined_at, read_seq, by_others) \
               SELECT room, member, role, at, seq, by_others \
               FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[], $6::boolean[]) \
                 AS v (room, member, role, at, seq, by_others) \
               ON CONFLICT DO NOTHING RETURNING room_id";
    let added = |state: &FinalMembership| state.added.unwrap_or_default();
    let values = [
        rooms,
        users,
        column(finals, |(_, state)| state.role.clone().unwrap_or_default()),
        column(finals, |(_, state)| timestamp_from_ms(added(state).1)),
        column(finals, |(_, state)| bigint(added(state).0.0)),
        column(finals, |(_, state)| state.added_by_other),
    ];
    let rows = transaction.query_all_raw(statement(sql, values)).await?;
    reopen_erasures(transaction, finals).await?;
    rows.iter().map(|row| room_column(row, "room_id")).collect()
}

/// Reopens the erasure of users who were added to a room after their erasure had finished; it then removes them from
/// the room. Must run after the insert: the insert's foreign key check waits for the `FOR UPDATE` lock of an erasure
/// that is finishing, so this statement sees its `erased_at`.
async fn reopen_erasures(transaction: &DatabaseTransaction, added: &[FinalRow<'_>]) -> Result<(), DbErr> {
    let [_, users] = key_columns(added);
    let sql = "UPDATE users SET erased_at = NULL WHERE id IN (SELECT id FROM users \
               WHERE id = ANY ($1) AND erased_at IS NOT NULL ORDER BY id FOR NO KEY UPDATE)";
    transaction.execute_raw(statement(sql, [users])).await.map(drop)
}

/// Writes the final roles of users who stay members.
async fn update_roles(transaction: &DatabaseTransaction, finals: &[FinalRow<'_>]) -> Result<(), DbErr> {
    let [rooms, users] = key_columns(finals);
    let sql = "UPDATE members m SET role = v.role \
               FROM unnest($1::text[], $2::text[], $3::text[]) AS v (room, member, role) \
               WHERE m.room_id = v.room AND m.user_id = v.member AND m.role <> v.role";
    let values = [rooms, users, column(finals, |(_, state)| state.role.clone().unwrap_or_default())];
    write_rows(transaction, finals.len(), sql, values).await
}

/// Sets for which messages of a room a member wants notifications. Returns whether this changed the stored level.
pub async fn set_notify_level(
    db: &impl ConnectionTrait,
    room: &RoomId,
    user: &UserId,
    level: NotifyLevel,
) -> Result<bool, DbErr> {
    let sql = "UPDATE members SET notify = $3 WHERE room_id = $1 AND user_id = $2 AND notify <> $3";
    let values = [room.as_str().into(), user.as_str().into(), level.as_str().into()];
    Ok(db.execute_raw(statement(sql, values)).await?.rows_affected() > 0)
}

async fn update_member_counts(
    transaction: &DatabaseTransaction,
    count_changes: &BTreeMap<RoomId, i32>,
) -> Result<(), DbErr> {
    let rows: Vec<(&RoomId, &i32)> = count_changes.iter().collect();
    let sql = "UPDATE rooms r SET member_count = r.member_count + v.by \
               FROM unnest($1::text[], $2::integer[]) AS v (room, by) WHERE r.id = v.room";
    let values = [column(&rows, |(room, _)| room.as_str().to_owned()), column(&rows, |(_, by)| **by)];
    write_rows(transaction, count_changes.len(), sql, values).await
}

/// Takes the membership changes to announce out of `plan`: all except those whose records became voids (`exceptions`).
pub async fn take_changes_to_announce(
    transaction: &DatabaseTransaction,
    plan: &mut BatchPlan<'_>,
    written: &WrittenBatch,
) -> Result<Vec<StoredMembership>, DbErr> {
    let mut changes = std::mem::take(&mut plan.members.all);
    changes.retain(|change| {
        !written.exceptions.iter().any(|void| void.seq == change.seq && void.room == change.room)
    });
    let is_addition = |change: &MembershipChange| matches!(change.kind, MembershipChangeKind::Added { .. });
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
            added_rooms.insert(
                (room_column(&row, "id")?, member),
                (row.try_get_by("kind")?, row.try_get_by("name")?),
            );
        }
    }
    let stored = |change: MembershipChange| {
        let key = (change.room.clone(), change.user.to_string());
        let room = added_rooms.get(&key).filter(|_| is_addition(&change)).cloned();
        StoredMembership { change, room }
    };
    Ok(changes.into_iter().map(stored).collect())
}
