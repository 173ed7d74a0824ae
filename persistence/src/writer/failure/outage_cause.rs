//! Why a statement got no usable connection to PostgreSQL, in the classes that need different actions of an operator.

use std::io::ErrorKind;

use sea_orm::{DbErr, SqlxError};

use super::{NO_ANSWER, cause, is_connection_error, sqlstate};

/// Why PostgreSQL cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutageCause {
    Refused,
    Unreachable,
    Tls,
    Authentication,
    NoDatabase,
    TooManyConnections,
    Starting,
    Stopping,
    ReadOnly,
    DiskFull,
    Other,
    // The next three say that a connection is missing, but not why: a new connection shows whether the server is at
    // fault.
    Lost,
    NoAnswer,
    PoolExhausted,
}

impl OutageCause {
    /// All causes, in the order of their declaration.
    pub const ALL: [Self; 14] = [
        Self::Refused,
        Self::Unreachable,
        Self::Tls,
        Self::Authentication,
        Self::NoDatabase,
        Self::TooManyConnections,
        Self::Starting,
        Self::Stopping,
        Self::ReadOnly,
        Self::DiskFull,
        Self::Other,
        Self::Lost,
        Self::NoAnswer,
        Self::PoolExhausted,
    ];

    /// The label of metrics, and the field `cause` of logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Authentication => "authentication",
            Self::NoDatabase => "no_database",
            Self::TooManyConnections => "too_many_connections",
            Self::Starting => "starting",
            Self::Stopping => "stopping",
            Self::ReadOnly => "read_only",
            Self::DiskFull => "disk_full",
            Self::Other => "other",
            Self::Lost => "lost",
            Self::NoAnswer => "no_answer",
            Self::PoolExhausted => "pool_exhausted",
        }
    }

    /// What is wrong and what to do, as the end of a sentence.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::Refused => "nothing listens at its address; start PostgreSQL or correct DATABASE_URL",
            Self::Unreachable => "its host cannot be reached; check the network, DNS and DATABASE_URL",
            Self::Tls => "TLS cannot be negotiated; check sslmode, sslrootcert and the server's certificate",
            Self::Authentication => {
                "it refuses the role; check user and password in DATABASE_URL, CONNECT rights and pg_hba.conf"
            }
            Self::NoDatabase => "it has no such database; create it or correct DATABASE_URL",
            Self::TooManyConnections => {
                "max_connections, or the limit of the role or database, is reached; close connections or raise it"
            }
            Self::Starting => "it is starting or recovering; wait, and read its log if this lasts",
            Self::Stopping => "it is shutting down; start it again",
            Self::ReadOnly => "it accepts no writes; let DATABASE_URL lead to the primary",
            Self::DiskFull => "its disk is full; free space",
            Self::Other => "it gives no connection; read its log",
            Self::Lost => "connections broke, but new ones work; read its log",
            Self::NoAnswer => "it does not answer in time; look for locks and load",
            Self::PoolExhausted => {
                "all connections of a pool are in use; look for slow statements, locks and load"
            }
        }
    }

    /// Whether only a new connection can tell why a connection is missing.
    #[must_use]
    pub fn is_symptom(self) -> bool {
        matches!(self, Self::Lost | Self::NoAnswer | Self::PoolExhausted)
    }

    /// The cause of an error; None if the error says nothing about connections, such as a refused row.
    #[must_use]
    pub fn of(error: &DbErr) -> Option<Self> {
        if matches!(error, DbErr::Custom(text) if text.starts_with(NO_ANSWER)) {
            return Some(Self::NoAnswer);
        }
        if !is_connection_error(error) {
            return None;
        }
        if let Some(state) = sqlstate(error) {
            return Some(Self::of_sqlstate(&state));
        }
        Some(match (error, cause(error)) {
            (DbErr::ConnectionAcquire(_), _) => Self::PoolExhausted,
            (_, Some(SqlxError::PoolTimedOut | SqlxError::PoolClosed)) => Self::PoolExhausted,
            (_, Some(SqlxError::Io(error))) => Self::of_io(error.kind()),
            (_, Some(SqlxError::Tls(_))) => Self::Tls,
            (_, Some(SqlxError::Protocol(_) | SqlxError::WorkerCrashed)) => Self::Lost,
            _ => Self::Other,
        })
    }

    fn of_sqlstate(state: &str) -> Self {
        match state {
            "3D000" => Self::NoDatabase,
            "53300" => Self::TooManyConnections,
            "57P03" => Self::Starting,
            "57P01" | "57P02" => Self::Stopping,
            "25006" => Self::ReadOnly,
            "53100" => Self::DiskFull,
            // PostgreSQL ended a connection that was idle for too long.
            "57P05" | "25P03" => Self::Lost,
            // A role without the right CONNECT gets 42501.
            _ if state.starts_with("28") || state == "42501" => Self::Authentication,
            _ if state.starts_with("08") => Self::Lost,
            _ => Self::Other,
        }
    }

    fn of_io(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof => Self::Lost,
            ErrorKind::TimedOut => Self::NoAnswer,
            _ => Self::Unreachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sea_orm::{ConnAcquireErr, RuntimeErr};

    use super::*;

    #[test]
    fn cause_of_each_failure_is_told_apart() {
        let of = |error: SqlxError| OutageCause::of(&DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))));
        assert_eq!(of(SqlxError::Io(ErrorKind::ConnectionRefused.into())), Some(OutageCause::Refused));
        assert_eq!(of(SqlxError::Io(ErrorKind::NotFound.into())), Some(OutageCause::Unreachable));
        assert_eq!(of(SqlxError::Io(ErrorKind::BrokenPipe.into())), Some(OutageCause::Lost));
        assert_eq!(of(SqlxError::Tls("hunter2".into())), Some(OutageCause::Tls));
        let timed_out = DbErr::ConnectionAcquire(ConnAcquireErr::Timeout);
        assert_eq!(OutageCause::of(&timed_out), Some(OutageCause::PoolExhausted));
        let silent = DbErr::Custom(format!("{NO_ANSWER} in 5s"));
        assert_eq!(OutageCause::of(&silent), Some(OutageCause::NoAnswer));
        assert_eq!(OutageCause::of(&DbErr::Custom("a head moved".to_owned())), None);
        for (state, cause) in [
            ("28P01", OutageCause::Authentication),
            ("28000", OutageCause::Authentication),
            ("42501", OutageCause::Authentication),
            ("3D000", OutageCause::NoDatabase),
            ("53300", OutageCause::TooManyConnections),
            ("57P03", OutageCause::Starting),
            ("57P01", OutageCause::Stopping),
            ("25006", OutageCause::ReadOnly),
            ("53100", OutageCause::DiskFull),
            ("XX000", OutageCause::Other),
        ] {
            assert_eq!(OutageCause::of_sqlstate(state), cause, "{state}");
        }
    }

    #[test]
    fn causes_have_distinct_names_in_the_order_of_their_numbers() {
        for (number, cause) in OutageCause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, number);
            let same = OutageCause::ALL.into_iter().filter(|other| other.name() == cause.name());
            assert_eq!(same.count(), 1, "{}", cause.name());
        }
    }
}
