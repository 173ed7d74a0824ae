//! Classifies the errors of failed statements, and describes them without private data.

mod outage_cause;
mod reports;

use sea_orm::{DbErr, RuntimeErr, SqlxError};

pub use outage_cause::OutageCause;
pub use reports::{OutageReports, log_failure, report_outage};

/// The beginning of the text of an error that this process makes when PostgreSQL does not answer in time.
pub const NO_ANSWER: &str = "no answer of PostgreSQL";

/// Whether PostgreSQL refused the data itself, so that a retry is useless: SQLSTATE class 22 (data exception), 23502
/// (not null), and 23514 (check) with a constraint. Excludes errors after which no record may be given up: clashing and
/// missing keys (23503, 23505), because they depend on other rows, and 23514 without a constraint, which means a
/// missing table partition.
#[must_use]
pub fn is_data_error(error: &DbErr) -> bool {
    let Some(SqlxError::Database(refusal)) = cause(error) else { return false };
    refusal.code().is_some_and(|state| match &*state {
        "23502" => true,
        "23514" => refusal.constraint().is_some(),
        other => other.starts_with("22"),
    })
}

/// Whether the error says that a row with the same key already exists (SQLSTATE 23505).
#[must_use]
pub fn is_unique_violation(error: &DbErr) -> bool {
    sqlstate(error).is_some_and(|state| state == "23505")
}

/// Whether a lock was not free within the time limit for locks (SQLSTATE 55P03).
#[must_use]
pub fn is_lock_timeout(error: &DbErr) -> bool {
    sqlstate(error).is_some_and(|state| state == "55P03")
}

/// Whether PostgreSQL ended the statement because it, or its wait for a lock, took too long (SQLSTATE 57014 or 55P03).
#[must_use]
pub fn is_time_limit_error(error: &DbErr) -> bool {
    sqlstate(error).is_some_and(|state| state == "57014" || state == "55P03")
}

/// SQLSTATEs of a server that is stopping, not started yet, out of connections, or that ended an idle connection. All
/// SQLSTATEs of class 08 have this meaning too.
const UNAVAILABLE_STATES: [&str; 6] = ["57P01", "57P02", "57P03", "57P05", "53300", "25P03"];

/// SQLSTATEs of a server that accepts no writes at all: it is read-only, or its disk is full. 58030 is not among them,
/// because an unreadable file fails only the statements that need its pages.
const WRITES_REFUSED_STATES: [&str; 2] = ["25006", "53100"];

/// Whether the server was unreachable, or refuses all writes. Then the result of the statement is unknown, and a retry
/// may succeed.
#[must_use]
pub fn is_connection_error(error: &DbErr) -> bool {
    use SqlxError::{Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
    // Includes all errors of connecting, such as a wrong password, because no statement was sent.
    if matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_)) {
        return true;
    }
    if let Some(state) = sqlstate(error) {
        let is_in = |states: &[&str]| states.contains(&state.as_str());
        return state.starts_with("08") || is_in(&UNAVAILABLE_STATES) || is_in(&WRITES_REFUSED_STATES);
    }
    let lost = |cause: &SqlxError| {
        matches!(cause, Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed)
    };
    cause(error).is_some_and(lost)
}

/// The SQLSTATE of the server's answer; None if the server did not answer.
#[must_use]
pub fn sqlstate(error: &DbErr) -> Option<String> {
    match cause(error)? {
        SqlxError::Database(error) => error.code().map(std::borrow::Cow::into_owned),
        _ => None,
    }
}

fn cause(error: &DbErr) -> Option<&SqlxError> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(cause))
        | DbErr::Exec(RuntimeErr::SqlxError(cause))
        | DbErr::Query(RuntimeErr::SqlxError(cause)) => Some(cause.as_ref()),
        _ => None,
    }
}

/// Describes the cause of an error without any text from statements, rows or settings, because messages are private.
#[must_use]
pub fn redacted_cause(error: &DbErr) -> String {
    if let Some(state) = sqlstate(error) {
        return format!("PostgreSQL refuses it: {}", tidings_migrations::sqlstate::describe(&state));
    }
    match (error, cause(error)) {
        (_, Some(SqlxError::Io(error))) => error.to_string(),
        (_, Some(error @ (SqlxError::Tls(_) | SqlxError::PoolTimedOut | SqlxError::PoolClosed))) => {
            error.to_string()
        }
        (DbErr::ConnectionAcquire(_), _) => error.to_string(),
        // The text comes from this program, and contains only ids and numbers.
        (DbErr::Custom(text), _) => text.clone(),
        _ => "the answer of PostgreSQL cannot be read".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn only_unreachable_server_is_a_connection_error() {
        let of =
            |error: SqlxError| is_connection_error(&DbErr::Query(RuntimeErr::SqlxError(Arc::new(error))));
        assert!(
            of(SqlxError::Io(std::io::ErrorKind::ConnectionRefused.into())) && of(SqlxError::PoolTimedOut)
        );
        assert!(!of(SqlxError::Decode("x".into())));
        assert!(!is_connection_error(&DbErr::Custom("a head moved".to_owned())));
    }

    #[test]
    fn cause_names_connection_failure_but_no_row_data() {
        let cause_of =
            |error: SqlxError| redacted_cause(&DbErr::Query(RuntimeErr::SqlxError(Arc::new(error))));
        assert_eq!(
            cause_of(SqlxError::Io(std::io::ErrorKind::ConnectionRefused.into())),
            "connection refused"
        );
        assert!(cause_of(SqlxError::PoolTimedOut).contains("timed out"));
        for error in [
            cause_of(SqlxError::Decode("hunter2 is no number".into())),
            cause_of(SqlxError::Protocol("hunter2".to_owned())),
            redacted_cause(&DbErr::Type("hunter2".to_owned())),
            redacted_cause(&DbErr::Json("hunter2".to_owned())),
        ] {
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
