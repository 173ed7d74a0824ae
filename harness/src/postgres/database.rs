//! The database of one test: runs queries, waits for values, and drops the database at the end.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Postgres, identity::program, sql};

const VALUE_TIMEOUT: Duration = Duration::from_secs(120);
/// The pause between two polls grows from the first to the second, because each poll opens a connection.
const POLL_INTERVALS: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(200)];
/// Selects whether a statement in this database waits for a lock. Statements in other databases of a shared server do
/// not count.
const HAS_BLOCKED_STATEMENT: &str = "SELECT (count(*) > 0)::text FROM pg_stat_activity \
                       WHERE wait_event_type = 'Lock' AND datname = current_database()";
const HAS_SLEEPING_STATEMENT: &str = "SELECT (count(*) > 0)::text FROM pg_stat_activity \
                      WHERE wait_event = 'PgSleep' AND datname = current_database()";

/// A database of one test.
pub struct Database {
    pub(super) url: String,
    pub(super) server: Arc<Postgres>,
}

impl Database {
    /// `postgres://tidings@127.0.0.1:PORT/NAME`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server of the database.
    pub fn server(&self) -> &Arc<Postgres> {
        &self.server
    }

    /// Runs statements and returns the rows with their columns as text. NULL becomes an empty text.
    pub async fn query(&self, statements: &str) -> Result<Vec<Vec<String>>> {
        sql(&self.url, statements).await
    }

    /// The single value of a query.
    ///
    /// # Errors
    /// The error of PostgreSQL, or when there is no row.
    pub async fn value(&self, statement: &str) -> Result<String> {
        let rows = self.query(statement).await?;
        rows.into_iter().flatten().next().with_context(|| format!("no row from {statement}"))
    }

    /// Waits until a query returns this value.
    ///
    /// # Errors
    /// The error of PostgreSQL, or when the query does not return the value within two minutes.
    pub async fn until(&self, statement: &str, value: &str) -> Result<()> {
        let (begun, [mut pause, longest]) = (Instant::now(), POLL_INTERVALS);
        loop {
            let is = self.value(statement).await?;
            if is == value {
                return Ok(());
            }
            ensure!(begun.elapsed() < VALUE_TIMEOUT, "{statement} is {is}, not {value}");
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(longest);
        }
    }

    /// Waits until a statement in this database waits for a lock.
    pub async fn until_blocked(&self) -> Result<()> {
        self.until(HAS_BLOCKED_STATEMENT, "true").await
    }

    /// Waits until a statement in this database is in `pg_sleep`.
    pub async fn until_asleep(&self) -> Result<()> {
        self.until(HAS_SLEEPING_STATEMENT, "true").await
    }
}

impl Drop for Database {
    /// Drops the database, because the server may outlive the test.
    fn drop(&mut self) {
        if self.server.daemon.is_some() {
            return;
        }
        let name = self.url.rsplit('/').next().unwrap_or_default();
        let mut command = Command::new(program("psql"));
        command.args(["--no-psqlrc", "--quiet", "--command", &format!("DROP DATABASE {name} WITH (FORCE)")]);
        // A failure does not matter, because the whole server is removed at the end of the test run.
        let _ = command
            .arg(self.server.url_of("postgres"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
    }
}
