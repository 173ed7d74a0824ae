//! Jobs of this program, run beside the services: `retain`, `import` and `dead-letter`. Each ends by itself, may be
//! stopped at any moment and started again.

use std::ffi::OsString;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use sea_orm::DatabaseConnection;
use secrecy::{ExposeSecret, SecretString};
use tidings_shared::log::{self, Log, LogLimits, subscriber::Subscriber};

use crate::app::{self, database};
use crate::authority::PostgresAuthority;
use crate::{dead_letters, import, retention};

/// What is asked for when a job is named.
#[derive(Debug, Parser)]
#[command(name = "tidings-persistence", version, about = "Jobs of the persistence service")]
pub struct Program {
    #[command(subcommand)]
    pub job: Job,
}

#[derive(Debug, Subcommand)]
pub enum Job {
    /// Move or drop contents of messages that are older than a bound
    Retain(retention::Arguments),
    /// Bring rooms, members and messages of another system in
    Import(import::Arguments),
    /// See to records that could not be written
    DeadLetter(dead_letters::Arguments),
}

/// What every job needs.
#[derive(Debug, Clone, Args)]
pub struct Reach {
    /// PostgreSQL, `postgres://…`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: SecretString,
    /// Redis, `redis://…`: the one that the services use.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: SecretString,
    /// Records of one partition that may wait to be stored; a job waits above it.
    #[arg(long, env = "TIDINGS_MAX_BACKLOG_RECORDS", default_value_t = 10_000)]
    pub max_backlog_records: u64,
}

impl Reach {
    /// The database alone.
    ///
    /// # Errors
    /// When its address cannot be read.
    pub async fn database(&self) -> anyhow::Result<DatabaseConnection> {
        database::connect_job(&self.database_url).await
    }

    /// Connections as the services have them.
    ///
    /// # Errors
    /// When an address cannot be read.
    pub async fn connect(&self) -> anyhow::Result<(DatabaseConnection, Arc<Log>)> {
        let db = self.database().await?;
        let redis = log::client(self.redis_url.expose_secret()).context("--redis-url")?;
        let authority = PostgresAuthority::new(db.clone(), redis.clone());
        let limits = LogLimits { max_backlog_records: self.max_backlog_records };
        let log = Log::start(redis, authority.clone(), limits);
        authority.serve(&log);
        Ok((db, log))
    }

    /// Brings the notices of what is stored to those who wait, as long as the handle is kept.
    ///
    /// # Errors
    /// When the address cannot be read.
    pub fn follow(&self, log: &Arc<Log>) -> anyhow::Result<Subscriber> {
        let redis = log::client(self.redis_url.expose_secret()).context("--redis-url")?;
        Ok(app::follow_watermarks(&redis, log))
    }
}

/// The job that these arguments name; `None`: the service is meant. Ends the program when they name one badly.
#[must_use]
pub fn asked(arguments: impl Iterator<Item = OsString>) -> Option<Job> {
    let arguments: Vec<OsString> = arguments.collect();
    let named = arguments.get(1).and_then(|first| first.to_str());
    matches!(named, Some("retain" | "import" | "dead-letter")).then(|| Program::parse_from(arguments).job)
}

/// Does a job.
///
/// # Errors
/// Why it did not come to its end. What was done stays done.
pub async fn run(job: Job) -> anyhow::Result<()> {
    match job {
        Job::Retain(arguments) => retention::run(arguments).await,
        Job::Import(arguments) => import::run(arguments).await,
        Job::DeadLetter(arguments) => dead_letters::run(arguments).await,
    }
}
