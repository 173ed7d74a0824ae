//! What a failed statement means for the batch it belongs to.

use sea_orm::{DbErr, RuntimeErr, SqlxError};

/// Whether the data itself was refused: trying again is of no use. SQLSTATE classes 22 (data exception) and 23
/// (integrity constraint violation).
#[must_use]
pub fn is_of_the_data(error: &DbErr) -> bool {
    sqlstate(error).is_some_and(|state| state.starts_with("22") || state.starts_with("23"))
}

/// The SQLSTATE of the server's answer, when it answered.
#[must_use]
pub fn sqlstate(error: &DbErr) -> Option<String> {
    let (DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause))) = error
    else {
        return None;
    };
    match cause.as_ref() {
        SqlxError::Database(error) => error.code().map(std::borrow::Cow::into_owned),
        _ => None,
    }
}

/// The cause without what the server quotes of the data: messages are private.
#[must_use]
pub fn without_data(error: &DbErr) -> String {
    sqlstate(error)
        .map_or_else(|| error.to_string(), |state| format!("PostgreSQL refuses it: SQLSTATE {state}"))
}
