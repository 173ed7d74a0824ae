//! The error of a job or of an erasure. It contains no text of statements or rows, because messages are private.

use sea_orm::DbErr;
use tidings_shared::log::AppendError;

use crate::writer::failure;

/// The reason why the work cannot continue, as text for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct JobError(pub String);

impl From<DbErr> for JobError {
    fn from(error: DbErr) -> Self {
        Self(failure::redacted_cause(&error))
    }
}

impl From<AppendError> for JobError {
    fn from(error: AppendError) -> Self {
        Self(error.to_string())
    }
}
