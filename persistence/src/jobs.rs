//! Jobs of this program, run beside the services: `retain`, `import`, `export` and `dead-letter`. Each ends by itself, may
//! be stopped at any moment and started again.

use std::sync::Arc;

use clap::Args;
use sea_orm::DatabaseConnection;
use tidings_shared::config::{problem::Problem, redis_args::RedisArgs};
use tidings_shared::log::{Log, LogLimits, subscriber::Subscriber};

use crate::app::{self, database, database::DatabaseArgs};
use crate::authority::PostgresAuthority;

/// What every job needs.
#[derive(Debug, Clone, Args)]
pub struct Reach {
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub redis: RedisArgs,
    /// Records of one partition that may wait to be stored; a job waits above it
    #[arg(long, env = "TIDINGS_MAX_BACKLOG_RECORDS", default_value_t = 10_000, value_name = "RECORDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_backlog_records: u64,
}

impl Reach {
    /// What is wrong with the addresses.
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        self.database.check().into_iter().chain(self.redis.check()).collect()
    }

    /// The database alone.
    ///
    /// # Errors
    /// When its address cannot be read.
    pub async fn database(&self) -> anyhow::Result<DatabaseConnection> {
        database::connect_job(&self.database.database_url).await
    }

    /// Connections as the services have them.
    ///
    /// # Errors
    /// When an address cannot be read.
    pub async fn connect(&self) -> anyhow::Result<(DatabaseConnection, Arc<Log>)> {
        let db = self.database().await?;
        let redis = self.redis.client().map_err(anyhow::Error::msg)?;
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
        let redis = self.redis.client().map_err(anyhow::Error::msg)?;
        Ok(app::follow_watermarks(&redis, log))
    }
}
