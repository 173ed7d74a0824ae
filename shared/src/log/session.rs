//! A session: one connection to one Redis process whose epoch is open and that has the scripts.
//!
//! Every write uses a session, so no write reaches a process for which persistence has not opened an epoch. Another
//! process behind the same address (restarted, promoted) has another connection and therefore another session.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use redis::{AsyncConnectionConfig, Client, RedisError, aio::MultiplexedConnection};
use thiserror::Error;
use tokio::sync::Mutex;

use super::{
    authority::{Authority, AuthorityError, OpenedEpoch},
    scripts::Scripts,
};
use crate::ids::Epoch;

/// A command without an answer after this time fails. It may have taken effect; a client finds out by a retry.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Limit for one attempt to open a session, including the answer of the authority.
const OPEN_TIMEOUT: Duration = Duration::from_secs(6);
/// Minimum interval between attempts to open a session, so that an outage does not cause a storm of attempts.
const REOPEN_INTERVAL: Duration = Duration::from_millis(100);
/// Commands that may wait in the queue of the connection; further callers wait for space.
const PIPELINE_CAPACITY: usize = 4096;

#[derive(Debug, Error)]
pub enum SessionError {
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("Redis did not send its run_id")]
    NoRunId,
    #[error("shutting down")]
    ShuttingDown,
    /// The attempt took too long, or an attempt of another caller has just failed.
    #[error("{0}")]
    AttemptFailed(String),
}

/// A connection to a Redis process with an open epoch. All callers share it until a command fails on it.
#[derive(Debug)]
pub struct Session {
    connection: MultiplexedConnection,
    pub run_id: String,
    pub epoch: Epoch,
    epoch_opened: Instant,
    pub(super) scripts: Scripts,
}

impl Session {
    /// A handle of the shared connection; the commands of all handles are pipelined.
    pub fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Time since the epoch was opened.
    pub fn epoch_age(&self) -> Duration {
        self.epoch_opened.elapsed()
    }

    /// `last` is the previous session. If the authority is unavailable, a new connection to the same process continues
    /// in the epoch of `last`, as if the connection had not been lost.
    async fn open(
        client: &Client,
        authority: &dyn Authority,
        last: Option<Arc<Session>>,
    ) -> Result<Self, SessionError> {
        let (mut connection, run_id) = connect(client, AsyncConnectionConfig::new()).await?;
        let opened = match (authority.open_epoch(&run_id).await, last) {
            (Ok(opened), _) => opened,
            (Err(AuthorityError::Unavailable(_)), Some(last)) if last.run_id == run_id => {
                OpenedEpoch { epoch: last.epoch, age: last.epoch_age() }
            }
            (Err(error), _) => return Err(error.into()),
        };
        let scripts = Scripts::of(opened.epoch);
        let mut pipe = redis::pipe();
        for script in scripts.each() {
            pipe.cmd("SCRIPT").arg("LOAD").arg(&script.text).ignore();
        }
        let () = pipe.query_async(&mut connection).await?;
        let epoch_opened = Instant::now().checked_sub(opened.age).unwrap_or_else(Instant::now);
        Ok(Self { connection, run_id, epoch: opened.epoch, epoch_opened, scripts })
    }
}

/// Connects to the process behind the address, and reads its `run_id` on the same connection.
pub async fn connect(
    client: &Client,
    config: AsyncConnectionConfig,
) -> Result<(MultiplexedConnection, String), SessionError> {
    let config = config
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_pipeline_buffer_size(PIPELINE_CAPACITY);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let server: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
    let run_id = server.lines().find_map(|line| line.strip_prefix("run_id:")).ok_or(SessionError::NoRunId)?;
    Ok((connection, run_id.trim().to_owned()))
}

#[derive(Default)]
struct Opening {
    /// When the last attempt failed, and why.
    failed: Option<(Instant, String)>,
    last: Option<Arc<Session>>,
}

/// Holds the current session, and opens the next one after it is lost; one attempt at a time.
pub(super) struct Sessions {
    client: Client,
    authority: Arc<dyn Authority>,
    current: ArcSwapOption<Session>,
    opening: Mutex<Opening>,
    /// The runtime on which the log was started drives all connections, whichever thread opens them.
    runtime: tokio::runtime::Handle,
}

impl Sessions {
    pub fn new(client: Client, authority: Arc<dyn Authority>) -> Self {
        let runtime = tokio::runtime::Handle::current();
        Self { client, authority, current: ArcSwapOption::empty(), opening: Mutex::default(), runtime }
    }

    /// The current session; opens one if there is none. Callers that come during an attempt share its result.
    pub async fn get(&self) -> Result<Arc<Session>, SessionError> {
        if let Some(session) = self.current.load_full() {
            return Ok(session);
        }
        let asked = Instant::now();
        let mut opening = self.opening.lock().await;
        if let Some(session) = self.current.load_full() {
            return Ok(session);
        }
        if let Some((at, error)) = &opening.failed
            && (*at >= asked || at.elapsed() < REOPEN_INTERVAL)
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
                *opening = Opening { failed: None, last: Some(session.clone()) };
                self.current.store(Some(session.clone()));
                Ok(session)
            }
            Err(error) => {
                opening.failed = Some((Instant::now(), error.to_string()));
                Err(error)
            }
        }
    }

    pub fn current(&self) -> Option<Arc<Session>> {
        self.current.load_full()
    }

    /// Stops using a session that failed, or whose epoch has ended.
    pub fn discard(&self, session: &Arc<Session>) {
        let previous = self.current.compare_and_swap(session, None);
        if previous.as_ref().is_some_and(|previous| Arc::ptr_eq(previous, session)) {
            tracing::warn!(epoch = %session.epoch, "Redis session closed after a failure");
        }
    }
}

/// Whether the error means that the connection or the process is unusable.
pub(super) fn ends_session(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_timeout()
        || matches!(
            error.code(),
            Some("NOSCRIPT" | "READONLY" | "LOADING" | "MASTERDOWN" | "MISCONF" | "UNBLOCKED")
        )
}
