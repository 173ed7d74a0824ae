//! The error of a request that a user made.

use sea_orm::DbErr;
use tidings_shared::error::Refusal;
use tidings_shared::log::AppendError;

/// The request was refused by a rule, or a statement failed in the database.
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
