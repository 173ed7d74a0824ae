//! Requests of gateways for many users at once: their roles in a room, and their accounts.

pub use super::{ACCOUNTS, ROLES};

use super::{InternalClient, MAX_USERS};
use crate::{
    ids::{RoomId, UserId},
    log::AuthorityError,
    membership::Account,
};

json_types! {
    /// Asks for the stored roles of at most [`MAX_USERS`] users in a room.
    pub struct RolesRequest { pub room: RoomId, pub users: Vec<UserId> }

    /// One role per user, in the order of the request; `None` if the user is not a member.
    pub struct RolesAnswer { pub roles: Vec<Option<String>> }

    /// Asks for the stored accounts of at most [`MAX_USERS`] users. Unknown users are not created.
    pub struct AccountsRequest { pub users: Vec<UserId> }

    /// One account per user, in the order of the request; `None` if the user is unknown.
    pub struct AccountsAnswer { pub accounts: Vec<Option<Account>> }
}

impl InternalClient {
    /// Loads the stored roles of users in a room, in the same order; `None` if the user is not a member. If the caller
    /// has read the room's head before this call, the roles include all changes up to the base of the head's epoch.
    pub async fn roles(
        &self,
        room: &RoomId,
        users: &[UserId],
    ) -> Result<Vec<Option<String>>, AuthorityError> {
        let mut roles = Vec::with_capacity(users.len());
        for users in users.chunks(MAX_USERS) {
            let request = RolesRequest { room: room.clone(), users: users.to_vec() };
            let answer: RolesAnswer = self.ask(ROLES, &request).await?;
            roles.extend(check_complete(answer.roles, users)?);
        }
        Ok(roles)
    }

    /// Loads the stored accounts of users, in the same order; `None` if the user is unknown.
    pub async fn accounts(&self, users: &[UserId]) -> Result<Vec<Option<Account>>, AuthorityError> {
        let mut accounts = Vec::with_capacity(users.len());
        for users in users.chunks(MAX_USERS) {
            let request = AccountsRequest { users: users.to_vec() };
            let answer: AccountsAnswer = self.ask(ACCOUNTS, &request).await?;
            accounts.extend(check_complete(answer.accounts, users)?);
        }
        Ok(accounts)
    }
}

/// Returns the entries of an answer. Fails if the number of entries is not the number of users.
fn check_complete<T>(answers: Vec<T>, users: &[UserId]) -> Result<Vec<T>, AuthorityError> {
    let all = answers.len() == users.len();
    all.then_some(answers).ok_or_else(|| AuthorityError::Unavailable("the answer is incomplete".to_owned()))
}
