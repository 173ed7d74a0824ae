//! Bulk requests of gateways about users: their roles in a room, and their accounts.

use serde::{Deserialize, Serialize};

pub use super::{ACCOUNTS, ROLES};

use super::{InternalClient, MAX_USERS};
use crate::{
    ids::{RoomId, UserId},
    log::AuthorityError,
    membership::Account,
};

/// Asks for the stored roles of users in a room; at most [`MAX_USERS`].
#[derive(Debug, Serialize, Deserialize)]
pub struct RolesRequest {
    pub room: RoomId,
    pub users: Vec<UserId>,
}

/// One entry per user, in order; `None`: not a member.
#[derive(Debug, Serialize, Deserialize)]
pub struct RolesAnswer {
    pub roles: Vec<Option<String>>,
}

/// Asks for accounts as PostgreSQL has them now; at most [`MAX_USERS`]. This creates no user.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccountsRequest {
    pub users: Vec<UserId>,
}

/// One entry per user, in order; `None`: unknown user.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccountsAnswer {
    pub accounts: Vec<Option<Account>>,
}

impl InternalClient {
    /// The stored roles of users in a room, in the same order; `None`: not a member. If the caller has read the room's
    /// head before, the roles include all changes up to the base of the head's epoch.
    pub async fn roles(
        &self,
        room: &RoomId,
        users: &[UserId],
    ) -> Result<Vec<Option<String>>, AuthorityError> {
        let mut roles = Vec::with_capacity(users.len());
        for users in users.chunks(MAX_USERS) {
            let request = RolesRequest { room: room.clone(), users: users.to_vec() };
            let answer: RolesAnswer = self.ask(ROLES, &request).await?;
            roles.extend(complete(answer.roles, users)?);
        }
        Ok(roles)
    }

    /// The accounts of users, in the same order; `None`: unknown user.
    pub async fn accounts(&self, users: &[UserId]) -> Result<Vec<Option<Account>>, AuthorityError> {
        let mut accounts = Vec::with_capacity(users.len());
        for users in users.chunks(MAX_USERS) {
            let request = AccountsRequest { users: users.to_vec() };
            let answer: AccountsAnswer = self.ask(ACCOUNTS, &request).await?;
            accounts.extend(complete(answer.accounts, users)?);
        }
        Ok(accounts)
    }
}

/// Refuses an answer that does not have one entry per user.
fn complete<T>(answers: Vec<T>, users: &[UserId]) -> Result<Vec<T>, AuthorityError> {
    let all = answers.len() == users.len();
    all.then_some(answers).ok_or_else(|| AuthorityError::Unavailable("the answer is incomplete".to_owned()))
}
