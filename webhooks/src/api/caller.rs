//! The caller of a request: a user whose token has the scope `tidings.admin`, and who is not blocked.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use sea_orm::{DatabaseTransaction, DbErr};
use tidings_persistence::companion::caller::require_admin;
use tidings_persistence::http::problem::Problem;
use tidings_persistence::writer::audit::{self, NewAuditEntry};
use tidings_shared::error::ErrorCode;
use tidings_shared::ids::UserId;

use super::ApiState;

/// A caller who may use the API.
pub struct Admin(pub UserId);

impl Admin {
    /// Records an action on an endpoint, in the transaction of the action.
    pub async fn record(
        &self,
        transaction: &DatabaseTransaction,
        action: &'static str,
        webhook: &str,
    ) -> Result<(), DbErr> {
        let entry =
            NewAuditEntry { actor: Some(&self.0), action, detail: Some(webhook), ..NewAuditEntry::default() };
        audit::record(transaction, &entry).await
    }
}

impl FromRequest for Admin {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let (state, request) = (request.app_data::<web::Data<ApiState>>().cloned(), request.clone());
        Box::pin(async move {
            let state = state.ok_or_else(|| Problem::new(ErrorCode::Internal, "the service has no state"))?;
            let identity =
                state.callers.identify(request.headers(), |user| require_admin(user.admin)).await?;
            Ok(Self(identity.user))
        })
    }
}
