//! A session has two connections to one Redis process for which persistence has opened an epoch and which has loaded
//! the scripts. Heads and tails are read on a connection of their own, so that appends do not wait behind tails. Every
//! write uses a session, so no write reaches a Redis process without an open epoch. When the process is restarted or
//! another one is promoted, the connections break, and a new session is opened.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use redis::{AsyncConnectionConfig, RedisError, aio::MultiplexedConnection};
use thiserror::Error;
use tokio::sync::Mutex;

use super::{
    RedisClient,
    authority::{Authority, AuthorityError, OpenedEpoch},
    keys::Partition,
    process_id::ProcessId,
    scripts::Scripts,
};
use crate::{ids::Epoch, sabotage};

/// After this time without an answer a command fails, although it may have taken effect. Appends are safe to repeat.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Limit for one attempt to open a session, including the answer of persistence.
const OPEN_TIMEOUT: Duration = Duration::from_secs(6);
/// Minimum interval between attempts to open a session, so that an outage does not cause too many attempts.
const REOPEN_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum number of commands in the queue of a connection. If the queue is full, callers wait for space.
const PIPELINE_CAPACITY: usize = 4096;

/// Why there is no session.
#[derive(Debug, Error)]
pub enum SessionError {
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("Redis did not send its run_id")]
    NoRunId,
    #[error("the address of Redis leads to several processes")]
    TwoProcesses,
    /// Rows of a later version may say so. This version has one session for all partitions, so it needs one epoch.
    #[error(
        "the partitions have different epochs, as in a Redis Cluster, which this version does not support; \
         use a version that does, or another Redis"
    )]
    DifferentEpochs,
    #[error("shutting down")]
    ShuttingDown,
    /// The attempt to open a session took too long, or an attempt of another caller has just failed.
    #[error("{0}")]
    AttemptFailed(String),
}

/// The connections to a Redis process with an open epoch. All callers share the session until it fails.
#[derive(Debug)]
pub struct Session {
    connection: MultiplexedConnection,
    reads: MultiplexedConnection,
    /// Whether the last PING on the connection for reads timed out.
    reads_timed_out: AtomicBool,
    /// The id by which Redis distinguishes its processes; a restarted process has a new one.
    pub run_id: String,
    /// See [`ProcessId::replid`].
    replid: String,
    pub epoch: Epoch,
    epoch_opened_at: Instant,
    pub(super) scripts: Scripts,
}

impl Session {
    /// Returns a handle of the connection for all commands except reads of rooms. The connection pipelines the commands
    /// of all handles.
    pub fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Returns a handle of the connection for reads of heads and tails.
    pub(super) fn reads_connection(&self) -> MultiplexedConnection {
        self.reads.clone()
    }

    /// Records whether a PING on the connection for reads timed out. Returns true if this PING and the previous one
    /// timed out. One timeout proves nothing, because a PING may wait behind large tails.
    pub(super) fn record_reads_ping(&self, timed_out: bool) -> bool {
        self.reads_timed_out.swap(timed_out, Ordering::Relaxed) && timed_out
    }

    /// Time since the epoch was opened.
    pub fn epoch_age(&self) -> Duration {
        self.epoch_opened_at.elapsed()
    }

    /// Opens a session. `last` is the previous session. If persistence is unavailable and the new connection leads to
    /// the same Redis process as `last`, the new session continues the epoch of `last`.
    async fn open(
        client: &RedisClient,
        authority: &dyn Authority,
        last: Option<Arc<Session>>,
    ) -> Result<Self, SessionError> {
        let (mut connection, process) = connect_to_process(client, AsyncConnectionConfig::new()).await?;
        let (reads, process_of_reads) = connect_to_process(client, AsyncConnectionConfig::new()).await?;
        if process_of_reads.run_id != process.run_id {
            return Err(SessionError::TwoProcesses);
        }
        let partitions: Vec<Partition> = Partition::all().collect();
        let opened = match (authority.open_epochs(&process.run_id, &partitions).await, last) {
            (Ok(opened), _) => common_epoch(&opened).ok_or(SessionError::DifferentEpochs)?,
            (Err(AuthorityError::Unavailable(_)), Some(last))
                if process.continues(&last.run_id, Some(&last.replid))
                    || sabotage::is_removed("only the same process continues its epoch") =>
            {
                OpenedEpoch { epoch: last.epoch, age: last.epoch_age() }
            }
            (Err(error), _) => return Err(error.into()),
        };
        let scripts = Scripts::of(opened.epoch);
        let mut pipe = redis::pipe();
        for script in scripts.all() {
            pipe.cmd("SCRIPT").arg("LOAD").arg(&script.text).ignore();
        }
        let () = pipe.query_async(&mut connection).await?;
        let epoch_opened_at = Instant::now().checked_sub(opened.age).unwrap_or_else(Instant::now);
        let reads_timed_out = AtomicBool::new(false);
        let (ProcessId { run_id, replid }, epoch) = (process, opened.epoch);
        Ok(Self { connection, reads, reads_timed_out, run_id, replid, epoch, epoch_opened_at, scripts })
    }
}

/// The epoch of all partitions; `None` if they have different epochs.
fn common_epoch(opened: &[(Partition, OpenedEpoch)]) -> Option<OpenedEpoch> {
    let (_, first) = opened.first()?;
    opened.iter().all(|(_, other)| other.epoch == first.epoch).then_some(*first)
}

/// Connects to the Redis process behind the client's address. Returns the connection and the identity of the process.
pub async fn connect_to_process(
    client: &RedisClient,
    config: AsyncConnectionConfig,
) -> Result<(MultiplexedConnection, ProcessId), SessionError> {
    let config = with_limits(config).set_connection_timeout(Some(CONNECT_TIMEOUT));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let process = ProcessId::read(&mut connection).await?.ok_or(SessionError::NoRunId)?;
    Ok((connection, process))
}

/// Sets the response timeout and the queue capacity, which are the same for all connections.
pub(super) fn with_limits(config: AsyncConnectionConfig) -> AsyncConnectionConfig {
    config.set_response_timeout(Some(RESPONSE_TIMEOUT)).set_pipeline_buffer_size(PIPELINE_CAPACITY)
}

/// Asks Redis for the id of its process. Fails if the answer does not contain the id.
pub(super) async fn read_run_id(connection: &mut MultiplexedConnection) -> Result<String, SessionError> {
    let server: String = redis::cmd("INFO").arg("server").query_async(connection).await?;
    let run_id = server.lines().find_map(|line| line.strip_prefix("run_id:")).ok_or(SessionError::NoRunId)?;
    Ok(run_id.trim().to_owned())
}

/// The result of the last attempt to open a session, and the last session.
#[derive(Default)]
struct OpenHistory {
    /// Time and error of the last attempt, if it failed.
    failed: Option<(Instant, String)>,
    /// The session that was opened last, even if it is discarded.
    last: Option<Arc<Session>>,
}

/// Holds the current session, and opens another one after it is discarded. At most one attempt to open runs at a time.
pub(super) struct SessionHolder {
    client: RedisClient,
    authority: Arc<dyn Authority>,
    current: ArcSwapOption<Session>,
    opening: Mutex<OpenHistory>,
    /// The runtime on which the log was started. All connections run on this runtime, because the runtime of a caller
    /// may end.
    runtime: tokio::runtime::Handle,
}

impl SessionHolder {
    /// Creates the holder without a connection. All connections run on the current runtime.
    pub fn new(client: RedisClient, authority: Arc<dyn Authority>) -> Self {
        let runtime = tokio::runtime::Handle::current();
        Self { client, authority, current: ArcSwapOption::empty(), opening: Mutex::default(), runtime }
    }

    /// Returns the current session; opens one if there is none. Callers that arrive during an attempt share its result.
    pub async fn get(&self) -> Result<Arc<Session>, SessionError> {
        if let Some(session) = self.current.load_full() {
            return Ok(session);
        }
        let called_at = Instant::now();
        let mut opening = self.opening.lock().await;
        if let Some(session) = self.current.load_full() {
            return Ok(session);
        }
        if let Some((at, error)) = &opening.failed
            && (*at >= called_at || at.elapsed() < REOPEN_INTERVAL)
        {
            return Err(SessionError::AttemptFailed(error.clone()));
        }
        let (client, authority, last) = (self.client.clone(), self.authority.clone(), opening.last.clone());
        let attempt = async move { Session::open(&client, authority.as_ref(), last).await };
        let attempt = self.runtime.spawn(tokio::time::timeout(OPEN_TIMEOUT, attempt)).await;
        let opened = attempt.map_err(|_| SessionError::ShuttingDown)?;
        match opened.unwrap_or_else(|_| Err(SessionError::AttemptFailed("opening took too long".to_owned())))
        {
            Ok(session) => {
                let session = Arc::new(session);
                tracing::info!(epoch = %session.epoch, run_id = %session.run_id, "Redis session opened");
                *opening = OpenHistory { failed: None, last: Some(session.clone()) };
                self.current.store(Some(session.clone()));
                Ok(session)
            }
            Err(error) => {
                opening.failed = Some((Instant::now(), error.to_string()));
                Err(error)
            }
        }
    }

    /// Returns the current session, or `None` if none is open.
    pub fn current(&self) -> Option<Arc<Session>> {
        self.current.load_full()
    }

    /// Stops using a session that failed, or whose epoch has ended. The next caller of [`SessionHolder::get`] opens
    /// another.
    pub fn discard(&self, session: &Arc<Session>) {
        let previous = self.current.compare_and_swap(session, None);
        if previous.as_ref().is_some_and(|previous| Arc::ptr_eq(previous, session)) {
            tracing::warn!(epoch = %session.epoch, "Redis session closed after a failure");
        }
    }
}

/// Whether the error means that the session's connection or its Redis process is unusable.
pub(super) fn ends_session(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_timeout()
        || matches!(
            error.code(),
            Some("NOSCRIPT" | "READONLY" | "LOADING" | "MASTERDOWN" | "MISCONF" | "UNBLOCKED")
        )
}
