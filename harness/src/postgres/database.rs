//! The database of one test: queries, waits for a value, and its removal.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Postgres, identity::program, sql};

const VALUE_PATIENCE: Duration = Duration::from_secs(60);
const VALUE_PAUSE: Duration = Duration::from_millis(20);
/// Whether statements of this database wait for a lock; ignores other databases of a shared server.
const BLOCKED: &str = "SELECT (count(*) > 0)::text FROM pg_stat_activity \
                       WHERE wait_event_type = 'Lock' AND datname = current_database()";
const ASLEEP: &str = "SELECT (count(*) > 0)::text FROM pg_stat_activity \
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

    /// Its server.
    pub fn server(&self) -> &Arc<Postgres> {
        &self.server
    }

    /// Runs statements and returns the rows of text (NULL is empty), columns split at U+001F.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn query(&self, statements: &str) -> Result<Vec<Vec<String>>> {
        sql(&self.url, statements).await
    }

    /// The single value of a query.
    ///
    /// # Errors
    /// What PostgreSQL says, or when there is no row.
    pub async fn value(&self, statement: &str) -> Result<String> {
        let rows = self.query(statement).await?;
        rows.into_iter().flatten().next().with_context(|| format!("no row from {statement}"))
    }

    /// Waits until a query's value is this one.
    ///
    /// # Errors
    /// What PostgreSQL says, or when the value is different for a minute.
    pub async fn until(&self, statement: &str, value: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let is = self.value(statement).await?;
            if is == value {
                return Ok(());
            }
            ensure!(begun.elapsed() < VALUE_PATIENCE, "{statement} is {is}, not {value}");
            tokio::time::sleep(VALUE_PAUSE).await;
        }
    }

    /// Waits until some statement in it waits for a lock.
    ///
    /// # Errors
    /// As [`Database::until`].
    pub async fn until_blocked(&self) -> Result<()> {
        self.until(BLOCKED, "true").await
    }

    /// Waits until some statement in it is in `pg_sleep`.
    ///
    /// # Errors
    /// As [`Database::until`].
    pub async fn until_asleep(&self) -> Result<()> {
        self.until(ASLEEP, "true").await
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
        // Nobody waits for this, and the whole server is removed at the end of the run.
        let _ = command
            .arg(self.server.url_of("postgres"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
    }
}
