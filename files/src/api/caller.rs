//! The caller of a request: a user with a valid token who may use the service and is within the rate limit.

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use tidings_persistence::companion::caller::require_admin;
use tidings_persistence::http::problem::Problem;
use tidings_persistence::query::Viewer;
use tidings_shared::auth::Identity;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::UserId;

use super::ApiState;

/// A user who may use the API.
pub struct Caller {
    pub user: UserId,
    /// Whether the token has the scope `tidings.admin`.
    pub admin: bool,
}

impl Caller {
    /// The caller for queries.
    pub fn viewer(&self) -> Viewer<'_> {
        Viewer { user: &self.user, admin: self.admin }
    }

    /// Refuses a caller whose token has no admin scope.
    pub fn require_admin(&self) -> Result<(), Problem> {
        require_admin(self.admin).map_err(Problem::from)
    }
}

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let (state, request) = (request.app_data::<web::Data<ApiState>>().cloned(), request.clone());
        Box::pin(async move {
            let state = state.ok_or_else(|| Problem::new(ErrorCode::Internal, "the service has no state"))?;
            // Admins are back ends, such as scanners, and are not limited.
            let admit = |user: &Identity| if user.admin { Ok(()) } else { take_request(&state, &user.user) };
            let identity = state.callers.identify(request.headers(), admit).await?;
            Ok(Self { user: identity.user, admin: identity.admin })
        })
    }
}

fn take_request(state: &ApiState, user: &UserId) -> Result<(), Refusal> {
    let taken = state.requests.take_permits(user, NonZeroU32::MIN);
    taken.map_err(|wait_ms| {
        Refusal::rate_limited("over the limit for requests of files; retry later", wait_ms)
    })
}
