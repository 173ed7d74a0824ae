//! Checks that PostgreSQL can be reached, before a command opens a pool. A pool repeats refused attempts for half a
//! minute and then reports only that the time is up.

use std::io::ErrorKind;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Error};

use crate::sqlstate;

/// How long attempts are repeated if nothing listens, or the server is starting or has no free connection.
const RETRY_DEADLINE: Duration = Duration::from_millis(1_500);
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// How long one attempt may take, for a host that does not answer.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens a connection and closes it. Fails after about two seconds if the server refuses, and after at most seven if
/// its host is silent. The error names address and cause, and contains no password.
pub async fn check_reachable(url: &str) -> anyhow::Result<()> {
    let options = PgConnectOptions::from_str(url).map_err(|_| anyhow!("--database-url cannot be read"))?;
    let begun = Instant::now();
    let cause = loop {
        match tokio::time::timeout(ATTEMPT_TIMEOUT, options.connect()).await {
            Ok(Ok(connection)) => {
                // An error is ignored, because the connection is no longer needed.
                let _ = tokio::time::timeout(ATTEMPT_TIMEOUT, connection.close()).await;
                return Ok(());
            }
            Ok(Err(error)) if is_transient(&error) && begun.elapsed() < RETRY_DEADLINE => {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Ok(Err(error)) => break describe(&error),
            Err(_) => break format!("no answer within {ATTEMPT_TIMEOUT:?}"),
        }
    };
    let address = format!("{}:{}", options.get_host(), options.get_port());
    Err(anyhow!(cause)).with_context(|| format!("cannot connect to PostgreSQL at {address}"))
}

/// Whether the same attempt may succeed within seconds.
fn is_transient(error: &Error) -> bool {
    match error {
        Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
        Error::Database(error) => matches!(error.code().as_deref(), Some("53300" | "57P03")),
        _ => false,
    }
}

fn describe(error: &Error) -> String {
    match error {
        Error::Io(error) => error.to_string(),
        Error::Database(error) => {
            format!("{}: {}", sqlstate::describe(&error.code().unwrap_or_default()), error.message())
        }
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn closed_port_is_reported_within_seconds() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let begun = Instant::now();
        let error = check_reachable(&format!("postgres://u:hunter2@127.0.0.1:{port}/x")).await.unwrap_err();
        let text = format!("{error:#}");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        assert!(text.contains(&format!("127.0.0.1:{port}")) && text.contains("refused"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
