//! Users: created by their first token or when they are named, unless the policy requires known users.
//! Writes `users` only.

use sea_orm::sea_query::{Alias, Expr, ExprTrait, Func, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, PaginatorTrait,
    QueryFilter, TryInsertResult,
};
use tidings_shared::ids::UserId;
use tidings_shared::membership::Account;

use crate::entity::user::{ActiveModel, Column, Entity};
use crate::query::users::account_of;
use crate::sql::statement;

/// How users become known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum UnknownUserPolicy {
    /// Users are created by their first token, and when they are named as members.
    Create,
    /// Another system creates users; unknown users are refused.
    Required,
}

/// The result of admitting a user with a verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    pub account: Account,
    /// The user was created or changed.
    pub written: bool,
}

/// Updates a user from their token: a given value that differs overwrites the stored one, an omitted value keeps it. An
/// unknown user is created, or `None` if the policy requires known users. Writes nothing when nothing differs. Blocked
/// users are not refused here; the answer says whether they are blocked.
pub async fn admit(
    db: &impl ConnectionTrait,
    user: &UserId,
    name: Option<&str>,
    picture: Option<&str>,
    unknown_users: UnknownUserPolicy,
) -> Result<Option<Admitted>, DbErr> {
    let (name, picture) = (name.map(storable), picture.map(storable));
    let adds_nothing = |given: &Option<String>, known: &Option<String>| given.is_none() || given == known;
    let known = Entity::find_by_id(user.as_str()).one(db).await?;
    if known.is_none() && unknown_users == UnknownUserPolicy::Required {
        return Ok(None);
    }
    let known = known.filter(|known| {
        let is_unchanged = adds_nothing(&name, &known.name) && adds_nothing(&picture, &known.picture);
        is_unchanged || known.erasing_at.is_some()
    });
    if let Some(known) = known {
        return Ok(Some(Admitted { account: known.into(), written: false }));
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
        Ok(row) => Ok(Some(Admitted { account: row.into(), written: true })),
        // The user's erasure has begun meanwhile.
        Err(DbErr::RecordNotFound(_)) => {
            Ok(account_of(db, user).await?.map(|account| Admitted { account, written: false }))
        }
        Err(error) => Err(error),
    }
}

/// The fields of a user to write; None keeps the stored value, and an empty text removes it.
#[derive(Clone, Debug, Default)]
pub struct AccountChange {
    pub name: Option<String>,
    pub picture: Option<String>,
    pub blocked: Option<bool>,
}

/// Creates a user, or changes their account; returns the account as it is now. `None`: the user is erased or being
/// erased, which cannot be undone.
///
/// # Errors
/// When the database cannot be written; then nothing was written.
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
        Ok(row) => Ok(Some(row.into())),
        Err(DbErr::RecordNotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes NUL, because PostgreSQL's text cannot hold it.
fn storable(text: &str) -> String {
    text.replace('\0', "")
}

/// Creates those of these users who are unknown, without names. If the policy requires known users, creates nobody, and
/// returns false when a user is unknown.
pub async fn ensure<'a>(
    db: &impl ConnectionTrait,
    users: impl IntoIterator<Item = &'a UserId>,
    unknown_users: UnknownUserPolicy,
) -> Result<bool, DbErr> {
    let mut ids: Vec<&str> = users.into_iter().map(UserId::as_str).collect();
    // Always in the same order, so that concurrent creations cannot deadlock.
    ids.sort_unstable();
    ids.dedup();
    if unknown_users == UnknownUserPolicy::Required {
        let wanted = ids.len();
        let known = Entity::find().filter(Column::Id.is_in(ids)).count(db).await?;
        return Ok(usize::try_from(known).is_ok_and(|known| known == wanted));
    }
    let rows = ids.into_iter().map(|id| ActiveModel { id: Set(id.to_owned()), ..Default::default() });
    match Entity::insert_many(rows).on_conflict_do_nothing().exec_without_returning(db).await? {
        TryInsertResult::Empty | TryInsertResult::Conflicted | TryInsertResult::Inserted(_) => Ok(true),
    }
}

/// Whether one of these users is erased or being erased. No erasure of them can begin before the transaction ends.
pub async fn anyone_is_erased<'a>(
    transaction: &DatabaseTransaction,
    users: impl IntoIterator<Item = &'a UserId>,
) -> Result<bool, DbErr> {
    let users: Vec<String> = users.into_iter().map(UserId::to_string).collect();
    let sql = "SELECT erasing_at IS NOT NULL AS erasing FROM users WHERE id = ANY ($1) ORDER BY id FOR SHARE";
    for row in transaction.query_all_raw(statement(sql, [users.into()])).await? {
        if row.try_get_by("erasing")? {
            return Ok(true);
        }
    }
    Ok(false)
}
