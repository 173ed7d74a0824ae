//! Creation of rooms: the room, its first members and the users it names, in one transaction.
//! Writes `rooms`, `members`, `users`. Promises that a direct room is one per pair and an id is given
//! once, however many ask at the same time. Creation is no event: the head of a new room is 0.

use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter, QuerySelect,
    TransactionTrait,
};
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::log::keys::Partition;

use super::{sql::statement, users};
use crate::account::Newcomers;
use crate::entity::{member, room};

/// Who may come in: `direct` (exactly two), `private`, `public`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Direct,
    Private,
    Public,
}

impl Kind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Private => "private",
            Self::Public => "public",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Direct, Self::Private, Self::Public].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A room to be created.
#[derive(Debug)]
pub struct NewRoom {
    pub id: RoomId,
    pub kind: Kind,
    pub name: Option<String>,
    pub creator: UserId,
    /// All first members with their roles, the creator among them, each once. Two in a direct room.
    pub members: Vec<(UserId, String)>,
    /// JSON text of an object.
    pub metadata: String,
}

/// How a creation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    New,
    /// The direct room of the two is there already.
    Exists(RoomId),
    IdTaken,
    /// A member is not known, and must be; or is erased.
    UnknownMember,
}

/// The direct room of the two whom `new` names, when it is there; None for any other kind.
///
/// # Errors
/// When the database cannot be read.
pub async fn existing(db: &impl ConnectionTrait, new: &NewRoom) -> Result<Option<RoomId>, DbErr> {
    match new.kind {
        Kind::Direct => direct_room(db, &direct_key(&new.members)).await,
        Kind::Private | Kind::Public => Ok(None),
    }
}

/// Creates a room with its members.
///
/// # Errors
/// When the database cannot be written; then nothing was.
pub async fn create(db: &DatabaseConnection, new: &NewRoom, newcomers: Newcomers) -> Result<Created, DbErr> {
    if let Some(id) = existing(db, new).await? {
        return Ok(Created::Exists(id));
    }
    let direct_key = (new.kind == Kind::Direct).then(|| direct_key(&new.members));
    let transaction = db.begin().await?;
    let members = || new.members.iter().map(|(user, _)| user);
    if !users::ensure(&transaction, members(), newcomers).await? {
        transaction.rollback().await?;
        return Ok(Created::UnknownMember);
    }
    let row = room::ActiveModel {
        id: Set(new.id.as_str().to_owned()),
        // Far below the sign bit.
        partition: Set(Partition::of(&new.id).0.cast_signed()),
        kind: Set(new.kind.as_str().to_owned()),
        name: Set(new.name.clone()),
        created_by: Set(new.creator.as_str().to_owned()),
        metadata: Set(new.metadata.clone()),
        direct_key: Set(direct_key.clone()),
        member_count: Set(new.members.len().try_into().unwrap_or(i32::MAX)),
        ..Default::default()
    };
    // Waits for whoever creates the same room at this moment, then sees that it is there. Without a named
    // constraint, since the id or the pair may be taken.
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
        return Ok(other.map_or(Created::IdTaken, Created::Exists));
    }
    if users::anyone_is_erased(&transaction, members()).await? {
        transaction.rollback().await?;
        return Ok(Created::UnknownMember);
    }
    let members = new.members.iter().map(|(user, role)| member::ActiveModel {
        room_id: Set(new.id.as_str().to_owned()),
        user_id: Set(user.as_str().to_owned()),
        role: Set(role.clone()),
        ..Default::default()
    });
    member::Entity::insert_many(members).exec_without_returning(&transaction).await?;
    transaction.commit().await?;
    Ok(Created::New)
}

/// Whether one of these users is in `many` rooms or more.
///
/// # Errors
/// When the database cannot be read.
pub async fn anyone_is_in_many(
    db: &impl ConnectionTrait,
    users: &[UserId],
    many: u32,
) -> Result<bool, DbErr> {
    let users: Vec<String> = users.iter().map(UserId::to_string).collect();
    let sql = "SELECT FROM unnest($1::text[]) AS v (u) WHERE (SELECT count(*) FROM (SELECT FROM members m \
               WHERE m.user_id = v.u COLLATE \"C\" LIMIT $2) m) >= $2 LIMIT 1";
    Ok(db.query_one_raw(statement(sql, [users.into(), i64::from(many).into()])).await?.is_some())
}

/// One text per pair of users, whoever of them asks. No user id holds a control character.
fn direct_key(members: &[(UserId, String)]) -> String {
    let mut pair: Vec<&str> = members.iter().map(|(user, _)| user.as_str()).collect();
    pair.sort_unstable();
    pair.join("\u{1f}")
}

async fn direct_room(db: &impl ConnectionTrait, key: &str) -> Result<Option<RoomId>, DbErr> {
    let id: Option<String> = room::Entity::find()
        .select_only()
        .column(room::Column::Id)
        .filter(room::Column::DirectKey.eq(key))
        .into_tuple()
        .one(db)
        .await?;
    id.map(|id| RoomId::parse(&id).map_err(|error| DbErr::Custom(error.to_string()))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_has_one_key_whoever_of_them_asks() {
        let member = |id: &str| (UserId::parse(id).unwrap(), "member".to_owned());
        assert_eq!(direct_key(&[member("bob"), member("alice")]), "alice\u{1f}bob");
        assert_eq!(direct_key(&[member("alice"), member("bob")]), "alice\u{1f}bob");
    }

    #[test]
    fn a_kind_is_read_as_it_is_written() {
        for kind in [Kind::Direct, Kind::Private, Kind::Public] {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::parse("Direct"), None);
    }
}
