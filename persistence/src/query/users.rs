//! Who the users are: made known by their first token or by being named, never refused for being new.
//! Reads and writes `users` only.

use sea_orm::sea_query::{Alias, Expr, Func, OnConflict};
use sea_orm::{ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait, TryInsertResult};
use tidings_shared::ids::UserId;
use tidings_shared::membership::Account;

use crate::entity::user::{ActiveModel, Column, Entity, Model};

/// What became of a user who proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    pub account: Account,
    /// Their token told something new, and it was written.
    pub written: bool,
}

/// Takes over what a user's token tells: given and another than known overwrites, not given leaves what is there.
/// One not known yet is created. Nothing is written when nothing differs. Blocked users are not refused here:
/// whether they are is in the answer.
///
/// # Errors
/// When the database cannot be read or written.
pub async fn admit(
    db: &impl ConnectionTrait,
    user: &UserId,
    name: Option<&str>,
    picture: Option<&str>,
) -> Result<Admitted, DbErr> {
    let (name, picture) = (name.map(storable), picture.map(storable));
    let says_nothing_new = |given: &Option<String>, known: &Option<String>| given.is_none() || given == known;
    let known = Entity::find_by_id(user.as_str()).one(db).await?;
    let known = known
        .filter(|known| says_nothing_new(&name, &known.name) && says_nothing_new(&picture, &known.picture));
    if let Some(known) = known {
        return Ok(Admitted { account: account(known), written: false });
    }
    let given_or_known = |column: Column| {
        Func::coalesce([Expr::col((Alias::new("excluded"), column)), Expr::col((Entity, column))])
    };
    let row = ActiveModel {
        id: Set(user.as_str().to_owned()),
        name: Set(name),
        picture: Set(picture),
        ..Default::default()
    };
    let take_over = OnConflict::column(Column::Id)
        .value(Column::Name, given_or_known(Column::Name))
        .value(Column::Picture, given_or_known(Column::Picture))
        .value(Column::UpdatedAt, Expr::current_timestamp())
        .to_owned();
    let row = Entity::insert(row).on_conflict(take_over).exec_with_returning(db).await?;
    Ok(Admitted { account: account(row), written: true })
}

fn account(row: Model) -> Account {
    Account { name: row.name, picture: row.picture, blocked: row.blocked }
}

/// PostgreSQL's text holds no NUL.
fn storable(text: &str) -> String {
    text.replace('\0', "")
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
