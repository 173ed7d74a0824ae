//! Who the users are: made known by their first token or by being named, never refused for being new.
//! Reads and writes `users` only.

use sea_orm::sea_query::{Alias, Expr, Func, OnConflict};
use sea_orm::{ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, TryInsertResult};
use tidings_shared::ids::UserId;
use tidings_shared::membership::Account;

use crate::entity::user::{ActiveModel, Column, Entity, Model};

/// Lets a user in who proved who they are. One not known yet is created from what their token tells;
/// one who was only named so far takes name and picture from it. Whether they are blocked is in the answer.
///
/// # Errors
/// When the database cannot be read or written.
pub async fn admit(
    db: &impl ConnectionTrait,
    user: &UserId,
    name: Option<&str>,
    picture: Option<&str>,
) -> Result<Account, DbErr> {
    let known = Entity::find_by_id(user.as_str()).one(db).await?;
    let complete = |known: &Model| {
        (known.name.is_some() || name.is_none()) && (known.picture.is_some() || picture.is_none())
    };
    if let Some(known) = known.filter(|known| known.blocked || complete(known)) {
        return Ok(account(known));
    }
    let kept = |column: Column| {
        Func::coalesce([Expr::col((Entity, column)), Expr::col((Alias::new("excluded"), column))])
    };
    let row = ActiveModel {
        id: Set(user.as_str().to_owned()),
        name: Set(name.map(str::to_owned)),
        picture: Set(picture.map(str::to_owned)),
        ..Default::default()
    };
    let complete_it = OnConflict::column(Column::Id)
        .value(Column::Name, kept(Column::Name))
        .value(Column::Picture, kept(Column::Picture))
        .value(Column::UpdatedAt, Expr::current_timestamp())
        .to_owned();
    Entity::insert(row).on_conflict(complete_it).exec_with_returning(db).await.map(account)
}

fn account(row: Model) -> Account {
    Account { name: row.name, picture: row.picture, blocked: row.blocked }
}

/// Creates those of the users who are not known yet, without a name.
///
/// # Errors
/// When the database cannot be written.
pub async fn ensure<'a>(
    db: &impl ConnectionTrait,
    users: impl IntoIterator<Item = &'a UserId>,
) -> Result<(), DbErr> {
    let mut ids: Vec<&str> = users.into_iter().map(UserId::as_str).collect();
    // Always in the same order, so that two creations at once never wait for each other in a ring.
    ids.sort_unstable();
    ids.dedup();
    let rows = ids.into_iter().map(|id| ActiveModel { id: Set(id.to_owned()), ..Default::default() });
    match Entity::insert_many(rows).on_conflict_do_nothing().exec_without_returning(db).await? {
        TryInsertResult::Empty | TryInsertResult::Conflicted | TryInsertResult::Inserted(_) => Ok(()),
    }
}
