//! What a failed statement means for the batch it belongs to.

use sea_orm::{DbErr, RuntimeErr, SqlxError};

/// Whether the data itself was refused: trying again is of no use. SQLSTATE class 22 (data exception), 23502 (not null)
/// and 23514 (check) of a constraint. Keys that clash or are missing (23503, 23505) depend on other rows, and a missing
/// partition is a 23514 without a constraint: no message is given up for those.
#[must_use]
pub fn is_of_the_data(error: &DbErr) -> bool {
    let Some(SqlxError::Database(refusal)) = cause(error) else { return false };
    refusal.code().is_some_and(|state| match &*state {
        "23502" => true,
        "23514" => refusal.constraint().is_some(),
        other => other.starts_with("22"),
    })
}

/// SQLSTATEs of a server that is going, not there yet, has no connection left, or ended the connection since we stood
/// still; besides them class 08.
const NOT_THERE: [&str; 6] = ["57P01", "57P02", "57P03", "57P05", "53300", "25P03"];

/// SQLSTATEs of a server that takes no writes at all, whatever they hold: it is read-only, its disk is full. Not 58030: a
/// file that cannot be read fails those alone who need that page.
const TAKES_NOTHING: [&str; 2] = ["25006", "53100"];

/// Whether the server was not reached, left, or takes nothing from anybody just now: nothing is known of the statement,
/// and the next try may work.
#[must_use]
pub fn is_of_the_connection(error: &DbErr) -> bool {
    use SqlxError::{Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
    // Whatever a server says that lets nobody in, of passwords or databases: no statement was asked.
    if matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_)) {
        return true;
    }
    if let Some(state) = sqlstate(error) {
        let told = |states: &[&str]| states.contains(&state.as_str());
        return state.starts_with("08") || told(&NOT_THERE) || told(&TAKES_NOTHING);
    }
    let lost = |cause: &SqlxError| {
        matches!(cause, Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed)
    };
    cause(error).is_some_and(lost)
}

/// The SQLSTATE of the server's answer, when it answered.
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

/// The cause in words that quote nothing of statements, rows or settings: messages are private.
#[must_use]
pub fn without_data(error: &DbErr) -> String {
    if let Some(state) = sqlstate(error) {
        return format!("PostgreSQL refuses it: SQLSTATE {state}");
    }
    match (error, cause(error)) {
        (_, Some(SqlxError::Io(error))) => error.to_string(),
        (_, Some(error @ (SqlxError::Tls(_) | SqlxError::PoolTimedOut | SqlxError::PoolClosed))) => {
            error.to_string()
        }
        (DbErr::ConnectionAcquire(_), _) => error.to_string(),
        // Our own words: ids and numbers.
        (DbErr::Custom(text), _) => text.clone(),
        _ => "the answer of PostgreSQL cannot be read".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn only_a_server_that_was_not_reached_is_of_the_connection() {
        let of =
            |error: SqlxError| is_of_the_connection(&DbErr::Query(RuntimeErr::SqlxError(Arc::new(error))));
        assert!(
            of(SqlxError::Io(std::io::ErrorKind::ConnectionRefused.into())) && of(SqlxError::PoolTimedOut)
        );
        assert!(!of(SqlxError::Decode("x".into())));
        assert!(!is_of_the_connection(&DbErr::Custom("a head moved".to_owned())));
    }

    #[test]
    fn a_cause_tells_why_a_connection_failed_and_nothing_of_rows() {
        let told = |error: SqlxError| without_data(&DbErr::Query(RuntimeErr::SqlxError(Arc::new(error))));
        assert_eq!(told(SqlxError::Io(std::io::ErrorKind::ConnectionRefused.into())), "connection refused");
        assert!(told(SqlxError::PoolTimedOut).contains("timed out"));
        for error in [
            told(SqlxError::Decode("hunter2 is no number".into())),
            told(SqlxError::Protocol("hunter2".to_owned())),
            without_data(&DbErr::Type("hunter2".to_owned())),
            without_data(&DbErr::Json("hunter2".to_owned())),
        ] {
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
