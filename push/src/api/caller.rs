//! The caller of a request: a user with a valid token who may use the service and is within the rate limit.

use std::num::NonZeroU32;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use sea_orm::DatabaseTransaction;
use tidings_persistence::http::problem::Problem;
use tidings_shared::auth::Identity;
use tidings_shared::error::{ErrorCode, Refusal};
use tidings_shared::ids::UserId;
use tidings_shared::membership::Account;

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
            Ok(Self(state.callers.identify(request.headers(), admit).await?.user))
        })
    }
}

impl ApiUser {
    /// Locks the account of the caller, and refuses a caller who was blocked in the meantime.
    pub async fn lock(&self, transaction: &DatabaseTransaction) -> Result<(), Problem> {
        Account::admitted(devices::lock_user(transaction, &self.0).await?)?;
        Ok(())
    }
}
