//! Connects the jobs to PostgreSQL and Redis. A job ends by itself, and may be stopped and started again at any moment.

use std::sync::Arc;

use clap::Args;
use sea_orm::DatabaseConnection;
use secrecy::ExposeSecret;
use tidings_migrations::reachable;
use tidings_shared::config::{problem::Problem, redis_args::RedisArgs};
use tidings_shared::log::{Log, LogLimits, subscriber::Subscriber};

use crate::app;
use crate::authority::PostgresAuthority;
use crate::database::{self, DatabaseArgs, IDLE_IN_TRANSACTION_MS, PoolPurpose};

/// Connection settings of every job.
#[derive(Debug, Clone, Args)]
pub struct ConnectionArgs {
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub redis: RedisArgs,
    /// Number of records of one partition that may wait to be stored; a job waits while there are more
    #[arg(long, env = "TIDINGS_MAX_BACKLOG_RECORDS", default_value_t = 10_000, value_name = "RECORDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_backlog_records: u64,
    /// Bytes of the records of one partition that may wait to be stored, at least 1,048,576; a job waits
    /// while there are more
    #[arg(long, env = "TIDINGS_MAX_BACKLOG_BYTES", default_value_t = LogLimits::DEFAULT_BACKLOG_BYTES, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(LogLimits::MIN_BACKLOG_BYTES..))]
    pub max_backlog_bytes: u64,
}

impl ConnectionArgs {
    /// The problems of the PostgreSQL and Redis addresses, empty if there are none. Connects to neither.
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        self.database.check().into_iter().chain(self.redis.check()).collect()
    }

    /// Connects to PostgreSQL, and opens the room log in Redis.
    pub async fn connect(&self) -> anyhow::Result<(DatabaseConnection, Arc<Log>)> {
        let db = connect_database(&self.database).await?;
        let redis = self.redis.client().map_err(anyhow::Error::msg)?.named("tidings-persistence", "job");
        let authority = PostgresAuthority::new(db.clone(), redis.clone());
        let limits = LogLimits {
            max_backlog_records: self.max_backlog_records,
            max_backlog_bytes: self.max_backlog_bytes,
        };
        let log = Log::start(redis, authority.clone(), limits);
        authority.attach_log(&log);
        Ok((db, log))
    }

    /// Subscribes to the stored watermarks. `Log::wait_stored` in this process needs this subscription. The
    /// subscription ends when the returned subscriber is dropped.
    pub fn subscribe_watermarks(&self, log: &Arc<Log>) -> anyhow::Result<Subscriber> {
        let redis = self.redis.client().map_err(anyhow::Error::msg)?.named("tidings-persistence", "job");
        Ok(app::subscribe_notices(&redis, log, &Arc::default()))
    }
}

/// Connects to PostgreSQL without Redis. Fails if PostgreSQL cannot be reached now.
pub async fn connect_database(database: &DatabaseArgs) -> anyhow::Result<DatabaseConnection> {
    reachable::check_reachable(database.database_url.expose_secret()).await?;
    database::make_pool(&database.database_url, IDLE_IN_TRANSACTION_MS, PoolPurpose::Job).await
}
