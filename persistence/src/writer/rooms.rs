//! Creates rooms: writes the room, its first members and the users it names, in one transaction.
//! Writes `rooms`, `members`, `users` and the counts of the daily limits. Each pair of users has at most one direct
//! room and each id is used once, even under concurrent requests. A creation is not an event, so the head of a new room
//! is 0.

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, TransactionTrait};
use tidings_shared::error::Refusal;
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::log::keys::Partition;

use super::audit::{self, NewAuditEntry};
use super::daily_limits::{DailyLimits, DailyUse, count_use};
use super::users::{self, UnknownUserPolicy};
pub use crate::query::room::RoomKind;
use crate::sql::{room_column, smallint, statement, timestamp_from_ms};

/// A room to create. Its fields are already checked.
#[derive(Debug)]
pub struct NewRoom {
    pub id: RoomId,
    pub kind: RoomKind,
    pub name: Option<String>,
    pub creator: UserId,
    /// When an imported room was created, ms since 1970; None for the present time.
    pub created_at_ms: Option<i64>,
    /// All first members with their roles, each once, including the creator. A direct room has two.
    pub members: Vec<(UserId, String)>,
    /// The metadata as the JSON text of an object.
    pub metadata: String,
    /// Whether the creation needs the scope `tidings.admin`. Then it is recorded in the audit log.
    pub by_admin: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreationOutcome {
    Created,
    /// The direct room of the two users already exists, with this id.
    Exists(RoomId),
    IdTaken,
    /// A member is erased, or a member is unknown and the policy requires known users.
    UnknownMember,
    /// The creator is above a daily limit.
    OverDailyLimit(Refusal),
}

/// The existing direct room of the two members of `new`; None if it does not exist or `new` is of another kind.
pub async fn find_direct_room(db: &impl ConnectionTrait, new: &NewRoom) -> Result<Option<RoomId>, DbErr> {
    match new.kind {
        RoomKind::Direct => room_with_direct_key(db, &direct_key(&new.members)).await,
        RoomKind::Private | RoomKind::Public => Ok(None),
    }
}

/// Creates a room with its first members, within the daily limits of the creator if there are any. Creates and counts
/// nothing unless the outcome is `Created`.
pub async fn create_room(
    db: &DatabaseConnection,
    new: &NewRoom,
    unknown_users: UnknownUserPolicy,
    limits: Option<&DailyLimits>,
) -> Result<CreationOutcome, DbErr> {
    if let Some(id) = find_direct_room(db, new).await? {
        return Ok(CreationOutcome::Exists(id));
    }
    let direct_key = (new.kind == RoomKind::Direct).then(|| direct_key(&new.members));
    let transaction = db.begin().await?;
    let members = || new.members.iter().map(|(user, _)| user);
    let Some(new_users) = users::create_unknown_users(&transaction, members(), unknown_users).await? else {
        transaction.rollback().await?;
        return Ok(CreationOutcome::UnknownMember);
    };
    if let Some(limits) = limits {
        let others = members().filter(|user| **user != new.creator).count() as u64;
        let usage = DailyUse { rooms: 1, members: others, new_users };
        if let Some(refusal) = count_use(&transaction, &new.creator, limits, usage).await? {
            transaction.rollback().await?;
            return Ok(CreationOutcome::OverDailyLimit(refusal));
        }
    }
    // The insert waits for a concurrent creation of the same room. Its conflict clause names no constraint, because the
    // id or the pair of users may already be used.
    let sql = "INSERT INTO rooms (id, partition, kind, name, created_by, metadata, direct_key, member_count, created_at, \
                 updated_at) \
               VALUES ($1, $2, $3, $4, $5, $6::json, $7, $8, COALESCE($9, now()), COALESCE($9, now())) \
               ON CONFLICT DO NOTHING";
    let values = [
        new.id.as_str().into(),
        smallint(Partition::of(&new.id)).into(),
        new.kind.as_str().into(),
        new.name.clone().into(),
        new.creator.as_str().into(),
        new.metadata.as_str().into(),
        direct_key.clone().into(),
        i32::try_from(new.members.len()).unwrap_or(i32::MAX).into(),
        new.created_at_ms.map(timestamp_from_ms).into(),
    ];
    if transaction.execute_raw(statement(sql, values)).await?.rows_affected() == 0 {
        transaction.rollback().await?;
        let other = match &direct_key {
            Some(key) => room_with_direct_key(db, key).await?,
            None => None,
        };
        return Ok(other.map_or(CreationOutcome::IdTaken, CreationOutcome::Exists));
    }
    if users::any_user_is_erased(&transaction, members()).await? {
        transaction.rollback().await?;
        return Ok(CreationOutcome::UnknownMember);
    }
    let members = new.members.iter().map(|(user, role)| (user.to_string(), role.clone()));
    let (users, roles): (Vec<String>, Vec<String>) = members.unzip();
    let sql = "INSERT INTO members (room_id, user_id, role, by_others) SELECT $1, v.member, v.role, v.member <> $4 \
               FROM unnest($2::text[], $3::text[]) AS v (member, role)";
    let values = [new.id.as_str().into(), users.into(), roles.into(), new.creator.as_str().into()];
    transaction.execute_raw(statement(sql, values)).await?;
    if new.by_admin {
        let (actor, room) = (Some(&new.creator), Some(&new.id));
        let entry = NewAuditEntry { actor, action: audit::ROOM_CREATE, room, ..NewAuditEntry::default() };
        audit::record(&transaction, &entry).await?;
    }
    transaction.commit().await?;
    Ok(CreationOutcome::Created)
}

/// Whether one of these users is a member of at least `limit` rooms. Counts the rooms to which others added the user if
/// `by_others`, else those that the user created or joined.
pub async fn any_user_at_room_limit(
    db: &impl ConnectionTrait,
    users: &[UserId],
    by_others: bool,
    limit: u32,
) -> Result<bool, DbErr> {
    let users: Vec<String> = users.iter().map(UserId::to_string).collect();
    let sql = "SELECT FROM unnest($1::text[]) AS v (u) WHERE (SELECT count(*) FROM (SELECT FROM members m \
               WHERE m.user_id = v.u COLLATE \"C\" AND m.by_others = $3 LIMIT $2) m) >= $2 LIMIT 1";
    let values = [users.into(), i64::from(limit).into(), by_others.into()];
    Ok(db.query_one_raw(statement(sql, values)).await?.is_some())
}

/// The key of a pair of users, the same for both orders. The separator U+001F occurs in no user id.
fn direct_key(members: &[(UserId, String)]) -> String {
    let mut pair: Vec<&str> = members.iter().map(|(user, _)| user.as_str()).collect();
    pair.sort_unstable();
    pair.join("\u{1f}")
}

async fn room_with_direct_key(db: &impl ConnectionTrait, key: &str) -> Result<Option<RoomId>, DbErr> {
    let sql = "SELECT id FROM rooms WHERE direct_key = $1";
    let row = db.query_one_raw(statement(sql, [key.into()])).await?;
    row.map(|row| room_column(&row, "id")).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_key_ignores_the_order_of_the_pair() {
        let member = |id: &str| (UserId::parse(id).unwrap(), "member".to_owned());
        assert_eq!(direct_key(&[member("bob"), member("alice")]), "alice\u{1f}bob");
        assert_eq!(direct_key(&[member("alice"), member("bob")]), "alice\u{1f}bob");
    }
}
