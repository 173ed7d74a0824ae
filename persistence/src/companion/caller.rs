//! The caller of a request to a program beside persistence.

use actix_web::http::header::HeaderMap;
use sea_orm::ConnectionTrait;
use tidings_shared::auth::{Identity, Verifier};
use tidings_shared::error::{ErrorCode, Refusal};

use crate::http::caller::{bearer_token, blocked};
use crate::http::problem::Problem;
use crate::query::users::account_of;

/// Checks the token of a request and the account of its user. `admit` may refuse the user before the account is read, such
/// as above a rate limit. Returns the user, and whether there is an account: a token may belong to a machine without one.
///
/// # Errors
/// When the token is not valid, `admit` refuses, the user is blocked, or a dependency is unavailable.
pub async fn identify(
    auth: &Verifier,
    db: &impl ConnectionTrait,
    headers: &HeaderMap,
    admit: impl FnOnce(&Identity) -> Result<(), Refusal>,
) -> Result<(Identity, bool), Problem> {
    let identity = auth.verify_or_fetch(bearer_token(headers).map_err(Refusal::from)?).await?;
    admit(&identity)?;
    let account = account_of(db, &identity.user).await?;
    if account.as_ref().is_some_and(|account| account.blocked) {
        return Err(blocked());
    }
    Ok((identity, account.is_some()))
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
