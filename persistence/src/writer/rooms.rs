//! Creates rooms: the room, its first members and the users it names, in one transaction.
//! Writes `rooms`, `members`, `users`. There is one direct room per pair, and an id is used once, even under concurrent
//! requests. A creation is not an event: the head of a new room is 0.

use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, TransactionTrait};
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::log::keys::Partition;

use super::users::{self, UnknownUserPolicy};
use crate::entity::{member, room};
pub use crate::query::room::RoomKind;
use crate::sql::{room as room_of, statement};

/// A room to be created.
#[derive(Debug)]
pub struct NewRoom {
    pub id: RoomId,
    pub kind: RoomKind,
    pub name: Option<String>,
    pub creator: UserId,
    /// All first members with their roles, including the creator, each once. Two in a direct room.
    pub members: Vec<(UserId, String)>,
    /// JSON text of an object.
    pub metadata: String,
}

/// The result of a creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreationOutcome {
    New,
    /// The direct room of the two users exists already.
    Exists(RoomId),
    IdTaken,
    /// A member is unknown and the policy requires known users; or a member is erased.
    UnknownMember,
}

/// The direct room of the two members of `new`, if it exists; None for any other kind.
pub async fn find_direct_room(db: &impl ConnectionTrait, new: &NewRoom) -> Result<Option<RoomId>, DbErr> {
    match new.kind {
        RoomKind::Direct => direct_room(db, &direct_key(&new.members)).await,
        RoomKind::Private | RoomKind::Public => Ok(None),
    }
}

/// Creates a room with its members.
///
/// # Errors
/// When the database cannot be written; then nothing was written.
pub async fn create(
    db: &DatabaseConnection,
    new: &NewRoom,
    unknown_users: UnknownUserPolicy,
) -> Result<CreationOutcome, DbErr> {
    if let Some(id) = find_direct_room(db, new).await? {
        return Ok(CreationOutcome::Exists(id));
    }
    let direct_key = (new.kind == RoomKind::Direct).then(|| direct_key(&new.members));
    let transaction = db.begin().await?;
    let members = || new.members.iter().map(|(user, _)| user);
    if !users::ensure(&transaction, members(), unknown_users).await? {
        transaction.rollback().await?;
        return Ok(CreationOutcome::UnknownMember);
    }
    let row = room::ActiveModel {
        id: Set(new.id.as_str().to_owned()),
        // Partition numbers are far below the sign bit.
        partition: Set(Partition::of(&new.id).0.cast_signed()),
        kind: Set(new.kind.as_str().to_owned()),
        name: Set(new.name.clone()),
        created_by: Set(new.creator.as_str().to_owned()),
        metadata: Set(new.metadata.clone()),
        direct_key: Set(direct_key.clone()),
        member_count: Set(new.members.len().try_into().unwrap_or(i32::MAX)),
        ..Default::default()
    };
    // The insert waits for a concurrent creation of the same room. It names no constraint, because either the id or the
    // pair may be taken.
    let inserted = room::Entity::insert(row)
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_without_returning(&transaction)
        .await?;
    if inserted == 0 {
        transaction.rollback().await?;
        let other = match &direct_key {
            Some(key) => direct_room(db, key).await?,
            None => None,
        };
        return Ok(other.map_or(CreationOutcome::IdTaken, CreationOutcome::Exists));
    }
    if users::anyone_is_erased(&transaction, members()).await? {
        transaction.rollback().await?;
        return Ok(CreationOutcome::UnknownMember);
    }
    let members = new.members.iter().map(|(user, role)| member::ActiveModel {
        room_id: Set(new.id.as_str().to_owned()),
        user_id: Set(user.as_str().to_owned()),
        role: Set(role.clone()),
        ..Default::default()
    });
    member::Entity::insert_many(members).exec_without_returning(&transaction).await?;
    transaction.commit().await?;
    Ok(CreationOutcome::New)
}

/// Whether one of these users is in `many` rooms or more.
pub async fn anyone_has_many_rooms(
    db: &impl ConnectionTrait,
    users: &[UserId],
    many: u32,
) -> Result<bool, DbErr> {
    let users: Vec<String> = users.iter().map(UserId::to_string).collect();
    let sql = "SELECT FROM unnest($1::text[]) AS v (u) WHERE (SELECT count(*) FROM (SELECT FROM members m \
               WHERE m.user_id = v.u COLLATE \"C\" LIMIT $2) m) >= $2 LIMIT 1";
    Ok(db.query_one_raw(statement(sql, [users.into(), i64::from(many).into()])).await?.is_some())
}

/// One key per pair of users, in any order. User ids hold no control characters.
fn direct_key(members: &[(UserId, String)]) -> String {
    let mut pair: Vec<&str> = members.iter().map(|(user, _)| user.as_str()).collect();
    pair.sort_unstable();
    pair.join("\u{1f}")
}

async fn direct_room(db: &impl ConnectionTrait, key: &str) -> Result<Option<RoomId>, DbErr> {
    let sql = "SELECT id FROM rooms WHERE direct_key = $1";
    let row = db.query_one_raw(statement(sql, [key.into()])).await?;
    row.map(|row| room_of(&row, "id")).transpose()
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
