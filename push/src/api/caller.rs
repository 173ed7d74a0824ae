//! The caller of a request: a user who exists, is not blocked, and has not sent too many requests.

use std::num::NonZeroU32;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use sea_orm::DatabaseTransaction;
use tidings_persistence::companion::caller::identify;
use tidings_persistence::http::caller::blocked;
use tidings_persistence::http::problem::Problem;
use tidings_shared::auth::{Identity, Reason};
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::UserId;

use super::ApiState;
use crate::store::devices;

/// A user who may use the API.
pub struct ApiUser(pub UserId);

impl FromRequest for ApiUser {
    type Error = Problem;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let (state, request) = (request.app_data::<web::Data<ApiState>>().cloned(), request.clone());
        Box::pin(async move {
            let state = state.ok_or_else(|| Problem::new(ErrorCode::Internal, "the service has no state"))?;
            let admit = |user: &Identity| {
                let taken = state.rate.take_permits(&user.user, NonZeroU32::MIN);
                taken.map_err(|wait_ms| {
                    Refusal::rate_limited("over the limit for requests; retry later", wait_ms)
                })
            };
            let (identity, is_known) = identify(&state.auth, &state.db, request.headers(), admit).await?;
            if is_known { Ok(Self(identity.user)) } else { Err(Refusal::from(Reason::UnknownUser).into()) }
        })
    }
}

impl ApiUser {
    /// Locks the account of the caller, and refuses a caller who was blocked in the meantime.
    pub async fn lock(&self, transaction: &DatabaseTransaction) -> Result<(), Problem> {
        if devices::lock_user(transaction, &self.0).await? { Ok(()) } else { Err(blocked()) }
    }
}
