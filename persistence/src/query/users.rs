//! Who the users are: made known by their first token or by being named, unless they must be known before.
//! Reads and writes `users` only.

use std::collections::HashMap;

use sea_orm::sea_query::{Alias, Expr, ExprTrait, Func, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, PaginatorTrait,
    QueryFilter, TryInsertResult,
};
use tidings_shared::ids::UserId;
use tidings_shared::membership::Account;

use super::sql::statement;
use crate::account::Newcomers;
use crate::entity::user::{ActiveModel, Column, Entity, Model};

/// What became of a user who proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    pub account: Account,
    /// Their token told something new, and it was written.
    pub written: bool,
}

/// Takes over what a user's token tells: given and another than known overwrites, not given leaves what is there.
/// One not known yet is created, or is `None` where users must be known. Nothing is written when nothing differs.
/// Blocked users are not refused here: whether they are is in the answer.
///
/// # Errors
/// When the database cannot be read or written.
pub async fn admit(
    db: &impl ConnectionTrait,
    user: &UserId,
    name: Option<&str>,
    picture: Option<&str>,
    newcomers: Newcomers,
) -> Result<Option<Admitted>, DbErr> {
    let (name, picture) = (name.map(storable), picture.map(storable));
    let says_nothing_new = |given: &Option<String>, known: &Option<String>| given.is_none() || given == known;
    let known = Entity::find_by_id(user.as_str()).one(db).await?;
    if known.is_none() && newcomers == Newcomers::Required {
        return Ok(None);
    }
    let known = known.filter(|known| {
        let nothing_new = says_nothing_new(&name, &known.name) && says_nothing_new(&picture, &known.picture);
        nothing_new || known.erasing_at.is_some()
    });
    if let Some(known) = known {
        return Ok(Some(Admitted { account: account(known), written: false }));
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
        .action_and_where(Expr::col((Entity, Column::ErasingAt)).is_null())
        .to_owned();
    match Entity::insert(row).on_conflict(take_over).exec_with_returning(db).await {
        Ok(row) => Ok(Some(Admitted { account: account(row), written: true })),
        // Their erasure has begun meanwhile.
        Err(DbErr::RecordNotFound(_)) => {
            Ok(account_of(db, user).await?.map(|account| Admitted { account, written: false }))
        }
        Err(error) => Err(error),
    }
}

/// The account of a user; None when they are not known.
///
/// # Errors
/// When the database cannot be read.
pub async fn account_of(db: &impl ConnectionTrait, user: &UserId) -> Result<Option<Account>, DbErr> {
    Ok(Entity::find_by_id(user.as_str()).one(db).await?.map(account))
}

/// What is to be written of a user; what is not given stays as it is, and an empty text takes away.
#[derive(Clone, Debug, Default)]
pub struct AccountChange {
    pub name: Option<String>,
    pub picture: Option<String>,
    pub blocked: Option<bool>,
}

/// Creates a user, or changes what is known of them; the account as it is now. `None`: they are being erased, or were,
/// which is for good.
///
/// # Errors
/// When the database cannot be written; then nothing was.
pub async fn put(
    db: &impl ConnectionTrait,
    user: &UserId,
    change: &AccountChange,
) -> Result<Option<Account>, DbErr> {
    let text = |given: &Option<String>| given.clone().filter(|text| !text.is_empty());
    let row = ActiveModel {
        id: Set(user.as_str().to_owned()),
        name: Set(text(&change.name)),
        picture: Set(text(&change.picture)),
        blocked: Set(change.blocked.unwrap_or(false)),
        ..Default::default()
    };
    let given = [
        (Column::Name, change.name.is_some()),
        (Column::Picture, change.picture.is_some()),
        (Column::Blocked, change.blocked.is_some()),
    ];
    let given = given.into_iter().filter_map(|(column, given)| given.then_some(column));
    let change = OnConflict::column(Column::Id)
        .update_columns(given)
        .value(Column::UpdatedAt, Expr::current_timestamp())
        .action_and_where(Expr::col((Entity, Column::ErasingAt)).is_null())
        .to_owned();
    match Entity::insert(row).on_conflict(change).exec_with_returning(db).await {
        Ok(row) => Ok(Some(account(row))),
        Err(DbErr::RecordNotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn account(row: Model) -> Account {
    Account { name: row.name, picture: row.picture, blocked: row.blocked }
}

/// PostgreSQL's text holds no NUL.
fn storable(text: &str) -> String {
    text.replace('\0', "")
}

/// Creates those of the users who are not known yet, without a name. Where users must be known nobody is created:
/// `false` when one of them is not known.
///
/// # Errors
/// When the database cannot be written.
pub async fn ensure<'a>(
    db: &impl ConnectionTrait,
    users: impl IntoIterator<Item = &'a UserId>,
    newcomers: Newcomers,
) -> Result<bool, DbErr> {
    let mut ids: Vec<&str> = users.into_iter().map(UserId::as_str).collect();
    // Always in the same order, so that two creations at once never wait for each other in a ring.
    ids.sort_unstable();
    ids.dedup();
    if newcomers == Newcomers::Required {
        let wanted = ids.len();
        let known = Entity::find().filter(Column::Id.is_in(ids)).count(db).await?;
        return Ok(usize::try_from(known).is_ok_and(|known| known == wanted));
    }
    let rows = ids.into_iter().map(|id| ActiveModel { id: Set(id.to_owned()), ..Default::default() });
    match Entity::insert_many(rows).on_conflict_do_nothing().exec_without_returning(db).await? {
        TryInsertResult::Empty | TryInsertResult::Conflicted | TryInsertResult::Inserted(_) => Ok(true),
    }
}

/// Whether one of these users is being erased, or was. No erasure of any of them begins before the transaction ends.
///
/// # Errors
/// When the database cannot be read.
pub async fn anyone_is_erased<'a>(
    transaction: &DatabaseTransaction,
    users: impl IntoIterator<Item = &'a UserId>,
) -> Result<bool, DbErr> {
    let users: Vec<String> = users.into_iter().map(UserId::to_string).collect();
    let sql = "SELECT erasing_at IS NOT NULL FROM users WHERE id = ANY ($1) ORDER BY id FOR SHARE";
    for row in transaction.query_all_raw(statement(sql, [users.into()])).await? {
        if row.try_get_by_index(0)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Accounts as they are now, in the order of the users; `None`: not known.
///
/// # Errors
/// When the database cannot be read.
pub async fn accounts(db: &impl ConnectionTrait, users: &[UserId]) -> Result<Vec<Option<Account>>, DbErr> {
    let ids = users.iter().map(UserId::as_str);
    let rows = Entity::find().filter(Column::Id.is_in(ids)).all(db).await?;
    let known: HashMap<String, Account> =
        rows.into_iter().map(|row| (row.id.clone(), account(row))).collect();
    Ok(users.iter().map(|user| known.get(user.as_str()).cloned()).collect())
}
