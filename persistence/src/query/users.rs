//! Accounts of users. Reads `users` only.

use std::collections::HashMap;

use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter};
use tidings_shared::ids::UserId;
use tidings_shared::membership::Account;

use crate::entity::user::{Column, Entity, Model};

impl From<Model> for Account {
    fn from(row: Model) -> Self {
        Self { name: row.name, picture: row.picture, blocked: row.blocked }
    }
}

/// The account of a user; None when the user is unknown.
pub async fn account_of(db: &impl ConnectionTrait, user: &UserId) -> Result<Option<Account>, DbErr> {
    Ok(Entity::find_by_id(user.as_str()).one(db).await?.map(Account::from))
}

/// Accounts as they are now, in the order of the users; `None`: unknown.
pub async fn accounts(db: &impl ConnectionTrait, users: &[UserId]) -> Result<Vec<Option<Account>>, DbErr> {
    let ids = users.iter().map(UserId::as_str);
    let rows = Entity::find().filter(Column::Id.is_in(ids)).all(db).await?;
    let known: HashMap<String, Account> = rows.into_iter().map(|row| (row.id.clone(), row.into())).collect();
    Ok(users.iter().map(|user| known.get(user.as_str()).cloned()).collect())
}
