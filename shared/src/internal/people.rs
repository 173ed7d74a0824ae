//! What gateways ask of people in bulk: their roles in a room, and their accounts.

use serde::{Deserialize, Serialize};

use super::{InternalClient, MAX_USERS};
use crate::{
    ids::{RoomId, UserId},
    log::AuthorityError,
    membership::Account,
};

pub const ROLES: &str = "/internal/v1/roles";
pub const ACCOUNTS: &str = "/internal/v1/accounts";

/// Asks for the stored roles of users in a room; at most [`MAX_USERS`].
#[derive(Debug, Serialize, Deserialize)]
pub struct RolesRequest {
    pub room: RoomId,
    pub users: Vec<UserId>,
}

/// In the order of the users; `None`: not a member.
#[derive(Debug, Serialize, Deserialize)]
pub struct RolesAnswer {
    pub roles: Vec<Option<String>>,
}

/// Asks for accounts as PostgreSQL has them now; at most [`MAX_USERS`]. Nobody is created.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccountsRequest {
    pub users: Vec<UserId>,
}

/// In the order of the users; `None`: not known.
#[derive(Debug, Serialize, Deserialize)]
pub struct AccountsAnswer {
    pub accounts: Vec<Option<Account>>,
}

impl InternalClient {
    /// The stored roles of users in a room, in their order; `None`: not a member. Asked after a head of the room was
    /// read they are as of a place at or above the base of its epoch.
    ///
    /// # Errors
    /// When no replica answers.
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

    /// Accounts, in the order of the users; `None`: not known.
    ///
    /// # Errors
    /// When no replica answers.
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

/// An answer with one entry for each who was asked for.
fn complete<T>(answers: Vec<T>, users: &[UserId]) -> Result<Vec<T>, AuthorityError> {
    let all = answers.len() == users.len();
    all.then_some(answers).ok_or_else(|| AuthorityError::Unavailable("an answer with gaps".to_owned()))
}
