//! Why a job cannot continue, without any text from statements or rows, because messages are private.

use sea_orm::DbErr;
use tidings_persistence::writer::failure;
use tidings_shared::log::AppendError;

/// The text is shown to the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct JobError(pub String);

impl From<DbErr> for JobError {
    fn from(error: DbErr) -> Self {
        Self(failure::without_data(&error))
    }
}

impl From<AppendError> for JobError {
    fn from(error: AppendError) -> Self {
        Self(error.to_string())
    }
}
