//! Connections to PostgreSQL: one pool to serve HTTP, one to write with, one for what follows behind the writer and one
//! for what gateways ask, so that none of them keeps another waiting. Every statement has a time limit, and so has a transaction whose owner stands still: the locks of a
//! paused replica would keep its partitions from others.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use sea_orm::sqlx::PgConnection;
use sea_orm::{ConnectOptions, Database, DatabaseConnection, SqlxError};
use secrecy::{ExposeSecret, SecretString};
use tidings_migrations::address;
use tidings_shared::config::problem::Problem;
use tidings_shared::log::keys::PARTITIONS;

use crate::config::Config;
use crate::metrics::Filled;
use crate::writer::{failure, leases, sql::takes_writes};

/// Writer, leases, voids and the end; one of them may be cut off and not be back yet.
const WRITING_CONNECTIONS: u32 = 6;
/// What follows behind the writer: the index of search, erasures.
const BEHIND_CONNECTIONS: u32 = 2;
/// The seeds of two requests side by side, and look-ups, memberships and accounts between them.
const AUTHORITY_CONNECTIONS: u32 = 10;
/// A job's own work, and the seeds that it may need.
const JOB_CONNECTIONS: u32 = 4;
const JOB_STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);
const JOB_STANDSTILL_MS: u64 = 10_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Of the authority: a gateway waits for 4 s, and to be told is better than to wait in vain.
const AUTHORITY_TIMEOUT: Duration = Duration::from_secs(2);
/// So long a connection is used that may only read.
const ONLY_READS_FOR: Duration = Duration::from_secs(5);
/// A connection that rested longer is tried before it is used.
const TRIED_AFTER_IDLE: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// How often what is waited for is told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Where PostgreSQL is, for the service and for jobs.
#[derive(Debug, Clone, Args)]
pub struct DatabaseArgs {
    /// PostgreSQL, `postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?sslmode=verify-full&sslrootcert=PATH]`: see
    /// docs/OPERATIONS.md#postgresql-with-tls-and-roles-of-its-own
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: SecretString,
}

impl DatabaseArgs {
    /// What is wrong with the address; no secret.
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        let why = address::check(self.database_url.expose_secret()).err();
        why.map(|why| Problem::new("database-url", why)).into_iter().collect()
    }
}

/// What a pool is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Use {
    Serving,
    Writing,
    /// What follows behind the writer.
    Behind,
    /// Epochs, seeds, look-ups, memberships and accounts.
    Authority,
}

/// Prepares a pool; nothing is connected yet.
///
/// # Errors
/// When the URL cannot be read.
pub async fn connect(config: &Config, purpose: Use) -> anyhow::Result<DatabaseConnection> {
    let (name, connections) = match purpose {
        Use::Serving => ("tidings-persistence http", config.database_connections),
        Use::Writing => ("tidings-persistence writer", WRITING_CONNECTIONS),
        Use::Behind => ("tidings-persistence behind", BEHIND_CONNECTIONS),
        Use::Authority => ("tidings-persistence authority", AUTHORITY_CONNECTIONS),
    };
    let [connect, acquire, statement] = match purpose {
        Use::Authority => [AUTHORITY_TIMEOUT; 3],
        Use::Serving | Use::Writing | Use::Behind => [CONNECT_TIMEOUT, ACQUIRE_TIMEOUT, STATEMENT_TIMEOUT],
    };
    open(&config.database.database_url, name, connections, [connect, acquire, statement], config.lease_ms)
        .await
}

/// Prepares a pool for a job that is run beside the services.
///
/// # Errors
/// When the URL cannot be read.
pub async fn connect_job(url: &SecretString) -> anyhow::Result<DatabaseConnection> {
    let times = [CONNECT_TIMEOUT, ACQUIRE_TIMEOUT, JOB_STATEMENT_TIMEOUT];
    open(url, "tidings-persistence job", JOB_CONNECTIONS, times, JOB_STANDSTILL_MS).await
}

async fn open(
    url: &SecretString,
    name: &str,
    connections: u32,
    [connect, acquire, statement]: [Duration; 3],
    standstill_ms: u64,
) -> anyhow::Result<DatabaseConnection> {
    let standstill_ms = standstill_ms.to_string();
    let mut options = ConnectOptions::new(url.expose_secret());
    options
        .max_connections(connections)
        .min_connections(0)
        .connect_timeout(connect)
        .acquire_timeout(acquire)
        .statement_timeout(statement)
        .test_before_acquire_if_idle_for(TRIED_AFTER_IDLE)
        .set_application_name(name)
        .sqlx_logging(false)
        .connect_lazy(true)
        .map_sqlx_postgres_pool_opts(|options| {
            options.after_release(|connection, known| Box::pin(returned(connection, known.age)))
        })
        .map_sqlx_postgres_opts(move |options| {
            // All our statements are short: to compile one takes longer than to run it.
            let standstill = ("idle_in_transaction_session_timeout", standstill_ms.as_str());
            options.options([standstill, ("jit", "off")])
        });
    Database::connect(options).await.context("--database-url cannot be read")
}

/// Takes a connection back only when it answers. Its last owner may have given it up because the server's host is
/// silent: without a limit here its place in the pool would be lost until the kernel gives it up. One that may only read
/// is not kept for long: behind the address there may be another server by now, which takes writes.
async fn returned(connection: &mut PgConnection, age: Duration) -> Result<bool, SqlxError> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, takes_writes(connection)).await;
    answer.unwrap_or(Err(SqlxError::PoolTimedOut)).map(|writes| writes || age < ONLY_READS_FOR)
}

/// Waits until the tables are there, however long the database is away or migrations run, and checks that this
/// installation has the partitions we count with.
///
/// # Errors
/// When it is another number.
pub async fn until_migrated(db: &DatabaseConnection) -> anyhow::Result<()> {
    let mut told: Option<Instant> = None;
    loop {
        match leases::partitions(db).await {
            Ok(rows) if rows == i64::from(PARTITIONS) => return Ok(()),
            Ok(rows) => bail!("the database has {rows} partitions, this program counts with {PARTITIONS}"),
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                    told = Some(Instant::now());
                    tracing::warn!(
                        cause = failure::without_data(&error),
                        "waiting for the database and its tables, which `tidings-persistence migrate up` makes"
                    );
                }
            }
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// How full these pools are, each with its name.
#[must_use]
pub fn filled(pools: &[(&'static str, DatabaseConnection)]) -> Vec<Filled> {
    let filled = |(name, db): &(&'static str, DatabaseConnection)| {
        let pool = db.get_postgres_connection_pool();
        let (all, idle) = (usize::try_from(pool.size()).unwrap_or(usize::MAX), pool.num_idle());
        let limit = pool.options().get_max_connections();
        Filled { name, idle, used: all.saturating_sub(idle), limit }
    };
    pools.iter().map(filled).collect()
}

/// Whether the database answers now.
pub async fn answers(db: &DatabaseConnection) -> bool {
    tokio::time::timeout(ANSWER_TIMEOUT, db.ping()).await.is_ok_and(|answer| answer.is_ok())
}
