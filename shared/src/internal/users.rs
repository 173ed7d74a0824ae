//! Requests of gateways for many users at once: their roles in a room, and their accounts.

pub use super::{ACCOUNTS_PATH, ROLES_PATH};

use super::{InternalClient, MAX_USERS, UsersOfRoom};
use crate::{
    ids::{RoomId, UserId},
    log::AuthorityError,
    membership::Account,
};

json_types! {
    /// Asks for the stored roles of users in rooms, of at most [`MAX_USERS`] users in all.
    pub struct RolesRequest {
        #[serde(flatten)]
        pub first: UsersOfRoom,
        #[serde(default)]
        pub more: Vec<UsersOfRoom>,
    }

    /// For each room one role per user, in the order of the request. The role of a user who is not a member is `None`.
    /// Earlier versions of persistence answer only for the first room.
    pub struct RolesAnswer {
        pub roles: Vec<Option<String>>,
        #[serde(default)]
        pub more: Vec<Vec<Option<String>>>,
    }

    /// Asks for the stored accounts of at most [`MAX_USERS`] users. Unknown users are not created.
    pub struct AccountsRequest {
        pub users: Vec<UserId>,
        /// Whether persistence also caches the accounts.
        #[serde(default)]
        pub fills_cache: bool,
    }

    /// One account per user, in the order of the request, or `None` if the user is unknown.
    pub struct AccountsAnswer { pub accounts: Vec<Option<Account>> }
}

impl InternalClient {
    /// Loads the stored roles of users in a room, in the same order. The role of a user who is not a member is `None`.
    /// If the caller has read the room's head before this call, the roles include all changes up to the base of the
    /// head's epoch.
    pub async fn roles(
        &self,
        room: &RoomId,
        users: &[UserId],
    ) -> Result<Vec<Option<String>>, AuthorityError> {
        let mut roles = Vec::with_capacity(users.len());
        for users in users.chunks(MAX_USERS) {
            let question = UsersOfRoom { room: room.clone(), users: users.to_vec() };
            let request = |mut rooms: Vec<UsersOfRoom>| async move {
                let request = RolesRequest { more: rooms.split_off(1), first: rooms.remove(0) };
                let answer: RolesAnswer = self.send_request(ROLES_PATH, &request).await?;
                Ok::<Vec<_>, AuthorityError>(std::iter::once(answer.roles).chain(answer.more).collect())
            };
            let answer = self.role_look_ups.ask(question, request).await?;
            roles.extend(check_complete(answer, users)?);
        }
        Ok(roles)
    }

    /// Loads the stored accounts of users, in the same order. The account of an unknown user is `None`.
    pub async fn accounts(&self, users: &[UserId]) -> Result<Vec<Option<Account>>, AuthorityError> {
        let mut accounts = Vec::with_capacity(users.len());
        for users in users.chunks(MAX_USERS) {
            let request = AccountsRequest { users: users.to_vec(), fills_cache: false };
            let answer: AccountsAnswer = self.send_request(ACCOUNTS_PATH, &request).await?;
            accounts.extend(check_complete(answer.accounts, users)?);
        }
        Ok(accounts)
    }

    /// Loads and caches the stored account of a user, together with those of other callers. The account of an unknown
    /// user is `None`.
    pub async fn load_account(&self, user: &UserId) -> Result<Option<Account>, AuthorityError> {
        let request = |users: Vec<UserId>| async move {
            let request = AccountsRequest { users, fills_cache: true };
            let answer: AccountsAnswer = self.send_request(ACCOUNTS_PATH, &request).await?;
            check_complete(answer.accounts, &request.users)
        };
        self.account_loads.ask(user.clone(), request).await
    }
}

/// Returns the entries of an answer, or an error if their number is not the number of users.
fn check_complete<T>(answers: Vec<T>, users: &[UserId]) -> Result<Vec<T>, AuthorityError> {
    let all = answers.len() == users.len();
    all.then_some(answers).ok_or_else(|| AuthorityError::Unavailable("the answer is incomplete".to_owned()))
}
