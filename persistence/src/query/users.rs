//! Reads accounts of users, from the table `users` only.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use tidings_shared::ids::UserId;
use tidings_shared::membership::Account;

use crate::sql::{column, statement};

/// Reads an account from a row with the columns `name`, `picture` and `blocked`.
pub fn read_account(row: &QueryResult) -> Result<Account, DbErr> {
    let (name, picture) = (row.try_get_by("name")?, row.try_get_by("picture")?);
    Ok(Account { name, picture, blocked: row.try_get_by("blocked")? })
}

/// The account of a user; None if the user is unknown.
pub async fn account_of(db: &impl ConnectionTrait, user: &UserId) -> Result<Option<Account>, DbErr> {
    let sql = "SELECT name, picture, blocked FROM users WHERE id = $1";
    let row = db.query_one_raw(statement(sql, [user.as_str().into()])).await?;
    row.as_ref().map(read_account).transpose()
}

/// The accounts of users, in the order of `users`. An account is None if the user is unknown.
pub async fn accounts(db: &impl ConnectionTrait, users: &[UserId]) -> Result<Vec<Option<Account>>, DbErr> {
    let sql = "SELECT id, name, picture, blocked FROM users WHERE id = ANY ($1)";
    let mut known: HashMap<String, Account> = HashMap::with_capacity(users.len());
    for row in &db.query_all_raw(statement(sql, [column(users, UserId::to_string)])).await? {
        known.insert(row.try_get_by("id")?, read_account(row)?);
    }
    Ok(users.iter().map(|user| known.get(user.as_str()).cloned()).collect())
}
