//! Connection pools to PostgreSQL: one each for HTTP, the accounts of callers, the writer, background work, requests of
//! gateways and the readiness check. So none of them delays another. Statements and idle transactions have a time
//! limit, because the locks of a paused replica would keep other replicas from its partitions.

pub mod outage;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use sea_orm::sqlx::{Connection, PgConnection};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr, SqlxError};
use secrecy::{ExposeSecret, SecretString};
use tidings_migrations::address;
use tidings_shared::config::problem::Problem;
use tidings_shared::log::keys::PARTITIONS;

use crate::metrics::Metrics;
use crate::sql::accepts_writes;
use crate::writer::{failure, leases};

/// Pool size of the writer: for batches, leases, voids and the release of leases. One connection is spare, because a
/// broken connection may still count towards the pool.
const WRITER_CONNECTIONS: u32 = 6;
/// Pool size of background work: the search index and last-seen times.
const BACKGROUND_CONNECTIONS: u32 = 2;
/// Pool size of the authority: for the seeds of two simultaneous requests, look-ups, memberships and accounts.
const AUTHORITY_CONNECTIONS: u32 = 10;
/// Pool size of account look-ups: each is one short statement, so few connections serve all callers.
const ACCOUNT_CONNECTIONS: u32 = 4;
/// Pool size of the readiness check, which must not wait for anything else.
const READINESS_CONNECTIONS: u32 = 1;
/// Pool size of a job: for its work and the seeds that it may need.
const JOB_CONNECTIONS: u32 = 4;
/// Pool size of the webhooks: for their API, the feed, and the deliveries of all endpoints, which are short statements.
const WEBHOOK_CONNECTIONS: u32 = 10;
/// Pool size of the files: their requests and the sweep use short statements.
const FILES_CONNECTIONS: u32 = 10;
/// Pool size of push notifications: for their API, the feed, and the attempts, whose statements are short.
const PUSH_CONNECTIONS: u32 = 16;
const JOB_STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);
/// The time limit of an idle transaction of a program that has no leases. Without it, a paused process would keep its
/// locks, and others would wait for them.
pub const IDLE_IN_TRANSACTION_MS: u64 = 10_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of the authority's statements. It is below the 4 s that a gateway waits, because the gateway must get the
/// error in time. Account look-ups have the same limit, because a locked row of one user must not occupy all of their
/// connections.
const AUTHORITY_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection to a read-only server is closed when it is older than this.
const READ_ONLY_CONNECTION_MAX_AGE: Duration = Duration::from_secs(5);
/// A connection that was idle for longer than this is tested before use.
const IDLE_BEFORE_TEST: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
const MIGRATION_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// Interval between log lines while the service waits for the tables.
const SCHEMA_WAIT_WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The address of PostgreSQL, for the service and for jobs.
#[derive(Debug, Clone, Args)]
pub struct DatabaseArgs {
    /// PostgreSQL, `postgres://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?sslmode=verify-full&sslrootcert=PATH]`: see
    /// docs/OPERATIONS.md#postgresql-with-tls-and-roles-of-its-own
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: SecretString,
}

impl DatabaseArgs {
    /// Problems of the address, without secrets; empty if there are none.
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        let why = address::check_address(self.database_url.expose_secret()).err();
        why.map(|why| Problem::new("database-url", why)).into_iter().collect()
    }
}

/// What a connection pool is used for, which decides its size and time limits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PoolPurpose {
    Http {
        connections: u32,
    },
    Writer,
    /// For background work: the search index and last-seen times.
    Background,
    /// For requests of gateways: epochs, seeds, look-ups, memberships and accounts.
    Authority,
    /// For the accounts of callers over HTTP.
    Accounts,
    /// For the readiness check.
    Readiness,
    /// For a job that runs beside the services.
    Job,
    /// For the program that sends webhooks.
    Webhooks,
    /// For the program that stores files.
    Files,
    /// For the program that sends push notifications.
    Push,
}

/// Makes a pool. Its connections are opened when they are needed. PostgreSQL ends a transaction that stays idle for
/// `idle_in_transaction_ms`.
pub async fn make_pool(
    url: &SecretString,
    idle_in_transaction_ms: u64,
    purpose: PoolPurpose,
) -> anyhow::Result<DatabaseConnection> {
    let default_timeouts = [CONNECT_TIMEOUT, ACQUIRE_TIMEOUT, STATEMENT_TIMEOUT];
    let (name, connections, [connect, acquire, statement]) = match purpose {
        PoolPurpose::Http { connections } => ("tidings-persistence http", connections, default_timeouts),
        PoolPurpose::Writer => ("tidings-persistence writer", WRITER_CONNECTIONS, default_timeouts),
        PoolPurpose::Background => ("tidings-persistence behind", BACKGROUND_CONNECTIONS, default_timeouts),
        PoolPurpose::Authority => {
            ("tidings-persistence authority", AUTHORITY_CONNECTIONS, [AUTHORITY_TIMEOUT; 3])
        }
        PoolPurpose::Accounts => {
            ("tidings-persistence accounts", ACCOUNT_CONNECTIONS, [AUTHORITY_TIMEOUT; 3])
        }
        PoolPurpose::Readiness => ("tidings-persistence readiness", READINESS_CONNECTIONS, default_timeouts),
        PoolPurpose::Job => {
            let timeouts = [CONNECT_TIMEOUT, ACQUIRE_TIMEOUT, JOB_STATEMENT_TIMEOUT];
            ("tidings-persistence job", JOB_CONNECTIONS, timeouts)
        }
        PoolPurpose::Webhooks => ("tidings-webhooks", WEBHOOK_CONNECTIONS, default_timeouts),
        PoolPurpose::Files => ("tidings-files", FILES_CONNECTIONS, default_timeouts),
        PoolPurpose::Push => ("tidings-push", PUSH_CONNECTIONS, default_timeouts),
    };
    let idle_in_transaction_ms = idle_in_transaction_ms.to_string();
    let read_only = LastReadOnlyConnectTime::default();
    let (read_only_at_connect, read_only_at_release) = (read_only.clone(), read_only);
    let mut options = ConnectOptions::new(url.expose_secret());
    options
        .max_connections(connections)
        .min_connections(0)
        .connect_timeout(connect)
        .acquire_timeout(acquire)
        .statement_timeout(statement)
        .test_before_acquire_if_idle_for(IDLE_BEFORE_TEST)
        .set_application_name(name)
        .sqlx_logging(false)
        .connect_lazy(true)
        .map_sqlx_postgres_pool_opts(move |options| {
            let (at_connect, at_release) = (read_only_at_connect.clone(), read_only_at_release.clone());
            options
                .after_connect(move |connection, _| {
                    let at_connect = at_connect.clone();
                    Box::pin(async move { at_connect.check_new_connection(connection).await })
                })
                .after_release(move |connection, metadata| {
                    let may_be_read_only = at_release.may_be_read_only(metadata.age);
                    Box::pin(is_reusable(connection, metadata.age, may_be_read_only))
                })
        })
        .map_sqlx_postgres_opts(move |options| {
            // JIT is off, because all statements are short and compiling one takes longer than running it.
            let idle_timeout = ("idle_in_transaction_session_timeout", idle_in_transaction_ms.as_str());
            options.options([idle_timeout, ("jit", "off")])
        });
    Database::connect(options).await.context("--database-url cannot be read")
}

/// When the pool last opened a read-only connection; None if never. Only new connections are checked, because a server
/// that becomes read-only later either closes its connections or accepts writes on them again.
#[derive(Clone, Default)]
struct LastReadOnlyConnectTime(Arc<Mutex<Option<Instant>>>);

impl LastReadOnlyConnectTime {
    async fn check_new_connection(&self, connection: &mut PgConnection) -> Result<(), SqlxError> {
        if !accepts_writes(connection).await? {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        Ok(())
    }

    /// Whether a connection of this age may be read-only. A connection that was opened more than a second after the
    /// last read-only one is not. The second is needed because the pool counts the age from the end of `check_new_connection`.
    fn may_be_read_only(&self, age: Duration) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| age + Duration::from_secs(1) >= last.elapsed())
    }
}

/// Whether a connection returns to the pool after use: it must answer within `PING_TIMEOUT`. Without this time limit,
/// a connection to a silent host would occupy its slot in the pool until the kernel closes it. A read-only connection
/// is reused only briefly, because the address may now lead to another server, which accepts writes. Only a connection
/// that may be read-only is checked with a statement; the others get a ping.
async fn is_reusable(
    connection: &mut PgConnection,
    age: Duration,
    may_be_read_only: bool,
) -> Result<bool, SqlxError> {
    let answer = async {
        if may_be_read_only {
            return Ok(accepts_writes(connection).await? || age < READ_ONLY_CONNECTION_MAX_AGE);
        }
        connection.ping().await.map(|()| true)
    };
    tokio::time::timeout(PING_TIMEOUT, answer).await.unwrap_or(Err(SqlxError::PoolTimedOut))
}

/// How long the statements of one step of a background task may take together.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs statements. Fails if they have not ended within `limit`: a connection whose other end has silently gone gives neither
/// an answer nor an error, so the task would wait for ever. The pool then closes the connection.
pub async fn within<T>(
    limit: Duration,
    statements: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, DbErr> {
    let ended = tokio::time::timeout(limit, statements).await;
    ended.unwrap_or_else(|_| Err(DbErr::Custom(format!("PostgreSQL did not answer within {limit:?}"))))
}

/// Waits until the tables exist, also while the database is unavailable or migrations are running. Fails if the
/// database has another number of partitions than this program expects.
pub async fn wait_until_migrated(db: &DatabaseConnection) -> anyhow::Result<()> {
    let mut logged_at: Option<Instant> = None;
    loop {
        match leases::count_partitions(db).await {
            Ok(rows) if rows == i64::from(PARTITIONS) => return Ok(()),
            Ok(rows) => bail!("the database has {rows} partitions, this program expects {PARTITIONS}"),
            Err(error) => {
                if !failure::report_outage(&error)
                    && logged_at.is_none_or(|logged_at| logged_at.elapsed() >= SCHEMA_WAIT_WARNING_INTERVAL)
                {
                    logged_at = Some(Instant::now());
                    tracing::warn!(
                        cause = failure::redacted_cause(&error),
                        "waiting for the tables of the database, which `tidings-persistence migrate up` creates"
                    );
                }
            }
        }
        tokio::time::sleep(MIGRATION_CHECK_INTERVAL).await;
    }
}

/// Sets the metrics of each pool, by the pool's name: idle and used connections, and the size limit.
pub fn report_usage(pools: &[(&'static str, DatabaseConnection)], metrics: &Metrics) {
    for (name, db) in pools {
        let pool = db.get_postgres_connection_pool();
        let idle = i64::try_from(pool.num_idle()).unwrap_or(i64::MAX);
        let used = i64::from(pool.size()).saturating_sub(idle).max(0);
        metrics.pool_connections.with_label_values(&[*name, "idle"]).set(idle);
        metrics.pool_connections.with_label_values(&[*name, "used"]).set(used);
        metrics.pool_limit.with_label_values(&[*name]).set(pool.options().get_max_connections().into());
    }
}

/// Whether the database answers a ping within `PING_TIMEOUT`.
pub async fn is_available(db: &DatabaseConnection) -> bool {
    tokio::time::timeout(PING_TIMEOUT, db.ping()).await.is_ok_and(|answer| answer.is_ok())
}
