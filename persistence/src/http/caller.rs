//! The caller of a request: checks the bearer token and the account of its user. A handler with an argument of type
//! [`Caller`] runs only for a user who may use the service. A read waits for one of the user's slots. Tokens are read
//! only from the `Authorization` header.

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use futures_util::future::LocalBoxFuture;
use tidings_shared::auth::Reason;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::UserId;
use tidings_shared::membership::Account;

use super::problem::Problem;
use super::state::State;
use crate::account::{self, CachePolicy};
use crate::query::{Viewer, users};

/// The authenticated user of a request, whose row exists in PostgreSQL.
#[derive(Clone, Debug)]
pub struct Caller {
    pub user: UserId,
    pub name: Option<String>,
    pub picture: Option<String>,
    /// Whether the token has the scope `tidings.admin`.
    pub admin: bool,
    /// Whether the token has the scope `tidings.feed`.
    pub feed: bool,
    /// When the token expires, in seconds since the Unix epoch, including the allowed clock difference.
    pub expires_at_s: i64,
}

impl Caller {
    /// Checks the token and the account again, after slow work between the first check and the change. Refuses with
    /// `unauthorized` if the token has expired since the first check, and with `forbidden` if the user is blocked or
    /// erased.
    pub(super) async fn recheck(&self, state: &State) -> Result<(), Problem> {
        if chrono::Utc::now().timestamp() >= self.expires_at_s {
            return Err(Refusal::from(Reason::Expired).into());
        }
        Account::admitted(users::account_of(&state.accounts_db, &self.user).await?)?;
        Ok(())
    }

    /// The caller for queries: the user, and whether they are an admin.
    #[must_use]
    pub fn viewer(&self) -> Viewer<'_> {
        Viewer { user: &self.user, admin: self.admin }
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let state = request.app_data::<web::Data<State>>().cloned();
        let token = bearer_token(request.headers()).map(str::to_owned);
        let request = request.clone();
        Box::pin(async move {
            let state = state.ok_or_else(|| Problem::new(ErrorCode::Internal, "the service has no state"))?;
            let identity = state.auth.verify_or_fetch(&token.map_err(Refusal::from)?).await?;
            if request.method().is_safe() {
                // Before the account is read, so that the slots also limit these statements of a user.
                let admitted = state.reads.admit(&identity.user, identity.admin || identity.feed).await?;
                request.extensions_mut().insert(admitted);
            }
            let claims = (identity.name.as_deref(), identity.picture.as_deref());
            let (user, unknown_users) = (&identity.user, state.unknown_users);
            let admitting = account::admit(
                &state.accounts_db,
                &state.log,
                user,
                claims,
                CachePolicy::WhenWritten,
                unknown_users,
            );
            let account = Account::admitted(admitting.await?)?;
            Ok(Self {
                user: identity.user,
                name: account.name,
                picture: account.picture,
                admin: identity.admin,
                feed: identity.feed,
                expires_at_s: identity.expires_at_s,
            })
        })
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750, 2.1).
pub fn bearer_token(headers: &HeaderMap) -> Result<&str, Reason> {
    let header = headers.get(AUTHORIZATION).ok_or(Reason::Missing)?;
    let (scheme, token) =
        header.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Reason::Malformed)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(Reason::Malformed) }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn token_is_read_only_from_a_bearer_header() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            bearer_token(&headers).map(str::to_owned)
        };
        assert_eq!(read("Bearer a.b.c").as_deref(), Ok("a.b.c"));
        assert_eq!(read("bearer  a.b.c").as_deref(), Ok("a.b.c"));
        assert_eq!(read("Basic YTpi"), Err(Reason::Malformed));
        assert_eq!(read("Bearer"), Err(Reason::Malformed));
        assert_eq!(bearer_token(&HeaderMap::new()), Err(Reason::Missing));
    }
}
