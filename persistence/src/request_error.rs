//! Why a request on behalf of a user was not carried out.

use sea_orm::DbErr;
use tidings_shared::error::Refusal;
use tidings_shared::log::AppendError;

/// Refused by a rule, or failed in the database.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Database(#[from] DbErr),
}

impl From<AppendError> for RequestError {
    fn from(error: AppendError) -> Self {
        Self::Refused(error.into())
    }
}
