//! The caller of a request to a program beside persistence.

use std::sync::Arc;

use actix_web::http::header::HeaderMap;
use sea_orm::DatabaseConnection;
use tidings_shared::auth::{Identity, Verifier};
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::membership::Account;

use crate::http::caller::bearer_token;
use crate::http::problem::Problem;
use crate::query::users::account_of;
use crate::writer::users::{self, UnknownUserPolicy};

/// Checks the tokens of requests and the accounts of their users, by the rule of persistence.
#[derive(Clone)]
pub struct CallerCheck {
    pub(super) auth: Arc<Verifier>,
    pub(super) db: DatabaseConnection,
    pub(super) unknown_users: UnknownUserPolicy,
}

impl CallerCheck {
    /// Returns the user of a request. Creates an unknown user, or refuses them if users must be known. `admit` may
    /// refuse the user before the account is read, such as above a rate limit.
    ///
    /// # Errors
    /// When the token is not valid, `admit` refuses, the user is refused, or a dependency is unavailable.
    pub async fn identify(
        &self,
        headers: &HeaderMap,
        admit: impl FnOnce(&Identity) -> Result<(), Refusal>,
    ) -> Result<Identity, Problem> {
        let identity = self.auth.verify_or_fetch(bearer_token(headers).map_err(Refusal::from)?).await?;
        admit(&identity)?;
        let mut account = account_of(&self.db, &identity.user).await?;
        // The name of a known user does not change here, because only persistence replaces the cached account.
        if account.is_none() {
            let (name, picture) = (identity.name.as_deref(), identity.picture.as_deref());
            let admitted = users::admit(&self.db, &identity.user, name, picture, self.unknown_users).await?;
            account = admitted.map(|admitted| admitted.account);
        }
        Account::admitted(account)?;
        Ok(identity)
    }
}

/// Refuses users whose token lacks the scope `tidings.admin`.
///
/// # Errors
/// When it does.
pub fn require_admin(is_admin: bool) -> Result<(), Refusal> {
    if is_admin {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::Forbidden, "the token needs the scope tidings.admin"))
}
