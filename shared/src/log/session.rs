//! A session: one connection to one Redis process whose epoch is open and whose scripts are loaded.
//!
//! Everything that writes goes through a session, so nobody writes to a process that persistence has not opened:
//! another process behind the same address (restarted, promoted) is another connection, and gets a session of its own.

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

/// A command that is not answered by then is given up; its effect is unknown, the client's retry settles it.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// One attempt to open a session, the authority's answer included.
const OPEN_TIMEOUT: Duration = Duration::from_secs(6);
/// Least time between two attempts to open a session, so that an outage is not met with a storm.
const REOPEN_FLOOR: Duration = Duration::from_millis(100);
/// Commands that may wait in the connection's queue before callers wait themselves.
const PIPELINE_QUEUE: usize = 4096;

/// Why there is no session to use.
#[derive(Debug, Error)]
pub enum SessionError {
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("Redis did not tell its run_id")]
    NoRunId,
    #[error("shutting down")]
    ShuttingDown,
    /// An attempt that others waited for has failed just now.
    #[error("{0}")]
    Away(String),
}

/// See the module. Cheap to share; lives until a command fails on it.
#[derive(Debug)]
pub struct Session {
    connection: MultiplexedConnection,
    pub run_id: String,
    pub epoch: Epoch,
    epoch_opened: Instant,
    pub(super) scripts: Scripts,
}

impl Session {
    /// A handle of the shared connection; commands of all handles are pipelined.
    #[must_use]
    pub fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Time since the epoch was opened.
    #[must_use]
    pub fn epoch_age(&self) -> Duration {
        self.epoch_opened.elapsed()
    }

    /// `last` is the session before: with the authority away, a new connection to the same process goes on in its
    /// epoch, as it would had the connection not been lost.
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

/// Connects to whatever process the address leads to, and learns its `run_id` on that same connection.
///
/// # Errors
/// [`SessionError`] when it cannot be reached or does not tell.
pub async fn connect(
    client: &Client,
    config: AsyncConnectionConfig,
) -> Result<(MultiplexedConnection, String), SessionError> {
    let config = config
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT))
        .set_pipeline_buffer_size(PIPELINE_QUEUE);
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    let server: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
    let run_id = server.lines().find_map(|line| line.strip_prefix("run_id:")).ok_or(SessionError::NoRunId)?;
    Ok((connection, run_id.trim().to_owned()))
}

/// What is known of the attempts so far.
#[derive(Default)]
struct Opening {
    /// When the last attempt failed, and why.
    failed: Option<(Instant, String)>,
    /// The session that was opened last.
    last: Option<Arc<Session>>,
}

/// Holds the session in use and opens the next when it is lost; one attempt at a time.
pub(super) struct Sessions {
    client: Client,
    authority: Arc<dyn Authority>,
    current: ArcSwapOption<Session>,
    opening: Mutex<Opening>,
    /// Connections are driven by the runtime that the log was started on, whichever thread asks first.
    runtime: tokio::runtime::Handle,
}

impl Sessions {
    pub fn new(client: Client, authority: Arc<dyn Authority>) -> Self {
        let runtime = tokio::runtime::Handle::current();
        Self { client, authority, current: ArcSwapOption::empty(), opening: Mutex::default(), runtime }
    }

    /// The session in use, opened now when there is none. Callers who come while an attempt is under way share its
    /// outcome, good or bad.
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
            && (*at >= asked || at.elapsed() < REOPEN_FLOOR)
        {
            return Err(SessionError::Away(error.clone()));
        }
        let (client, authority, last) = (self.client.clone(), self.authority.clone(), opening.last.clone());
        let attempt = async move { Session::open(&client, authority.as_ref(), last).await };
        let attempt = self.runtime.spawn(tokio::time::timeout(OPEN_TIMEOUT, attempt)).await;
        let opened = attempt.map_err(|_| SessionError::ShuttingDown)?;
        match opened.unwrap_or_else(|_| Err(SessionError::Away("opening took too long".to_owned()))) {
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

    /// The session in use, without waiting for one.
    pub fn current(&self) -> Option<Arc<Session>> {
        self.current.load_full()
    }

    /// Takes a session that failed, or whose epoch is past, out of use.
    pub fn discard(&self, session: &Arc<Session>) {
        let previous = self.current.compare_and_swap(session, None);
        if previous.as_ref().is_some_and(|previous| Arc::ptr_eq(previous, session)) {
            tracing::warn!(epoch = %session.epoch, "Redis session given up");
        }
    }
}

/// Whether the failure means that the connection or the process behind it is of no use any more.
pub(super) fn ends_session(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_timeout()
        || matches!(
            error.code(),
            Some("NOSCRIPT" | "READONLY" | "LOADING" | "MASTERDOWN" | "MISCONF" | "UNBLOCKED")
        )
}
