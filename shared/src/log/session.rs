//! A session is a shard with an open epoch: persistence has opened the epoch for the shard's Redis process, and the
//! process has loaded the scripts of the epoch. Every write uses a session, so no write reaches a Redis process without
//! an open epoch. When the process is restarted or another one is promoted, the shard's connections break, and a new
//! session is opened.

mod holder;
mod shard;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redis::RedisError;
use thiserror::Error;

use super::{
    RedisClient,
    authority::{Authority, AuthorityError, OpenedEpoch},
    keys::{Partition, PartitionSet},
    layout::{Layout, RedisConnection},
    scripts::Scripts,
};
use crate::{ids::Epoch, sabotage};
pub(super) use holder::SessionHolder;
pub(super) use shard::CONNECT_TIMEOUT;
use shard::Shard;
pub use shard::connect_to_process;

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

/// A shard with an open epoch. All callers share the session until it fails.
#[derive(Debug)]
pub struct Session {
    shard: Arc<Shard>,
    /// The partitions for which the epoch was opened. The session serves only their keys.
    pub partitions: PartitionSet,
    pub epoch: Epoch,
    epoch_opened_at: Instant,
    pub(super) scripts: Scripts,
}

impl Session {
    /// Returns a handle of the connection for all commands except reads of rooms. The connection pipelines the commands
    /// of all handles.
    pub fn connection(&self) -> RedisConnection {
        self.shard.connection()
    }

    /// Returns a handle of the connection for reads of heads and tails.
    pub(super) fn reads_connection(&self) -> RedisConnection {
        self.shard.reads_connection()
    }

    /// Records whether a PING on the connection for reads timed out: see [`Shard::record_reads_ping`].
    pub(super) fn record_reads_ping(&self, timed_out: bool) -> bool {
        self.shard.record_reads_ping(timed_out)
    }

    /// The layout of the keys and channels in the session's process.
    pub fn layout(&self) -> Layout {
        self.shard.layout()
    }

    /// The id by which Redis distinguishes its processes; a restarted process has a new one.
    pub fn run_id(&self) -> &str {
        self.shard.run_id()
    }

    /// Time since the epoch was opened.
    pub fn epoch_age(&self) -> Duration {
        self.epoch_opened_at.elapsed()
    }

    /// Opens a session for all partitions. `last` is the previous session. If persistence is unavailable and the new
    /// connection leads to the same Redis process as `last`, the new session continues the epoch of `last`.
    async fn open(
        client: &RedisClient,
        authority: &dyn Authority,
        last: Option<Arc<Session>>,
    ) -> Result<Self, SessionError> {
        let shard = Arc::new(Shard::open(client, Layout::Single).await?);
        let partitions: Vec<Partition> = PartitionSet::ALL.iter().collect();
        let opened = match (authority.open_epochs(shard.run_id(), &partitions).await, last) {
            (Ok(opened), _) => common_epoch(&opened).ok_or(SessionError::DifferentEpochs)?,
            (Err(AuthorityError::Unavailable(_)), Some(last))
                if shard.continues(&last.shard)
                    || sabotage::is_removed("only the same process continues its epoch") =>
            {
                OpenedEpoch { epoch: last.epoch, age: last.epoch_age() }
            }
            (Err(error), _) => return Err(error.into()),
        };
        let scripts = Scripts::of(opened.epoch, shard.layout());
        let mut pipe = redis::pipe();
        for script in scripts.all() {
            pipe.cmd("SCRIPT").arg("LOAD").arg(&script.text).ignore();
        }
        let () = pipe.query_async(&mut shard.connection()).await?;
        let epoch_opened_at = Instant::now().checked_sub(opened.age).unwrap_or_else(Instant::now);
        Ok(Self { shard, partitions: PartitionSet::ALL, epoch: opened.epoch, epoch_opened_at, scripts })
    }
}

/// The epoch of all partitions; `None` if they have different epochs.
fn common_epoch(opened: &[(Partition, OpenedEpoch)]) -> Option<OpenedEpoch> {
    let (_, first) = opened.first()?;
    opened.iter().all(|(_, other)| other.epoch == first.epoch).then_some(*first)
}

/// Items that are split by the sessions of their partitions: each session with its items.
pub type BySession<T> = Vec<(Arc<Session>, Vec<T>)>;

/// Whether the error means that the session's connection or its Redis process is unusable.
pub(super) fn ends_session(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_timeout()
        || matches!(
            error.code(),
            Some("NOSCRIPT" | "READONLY" | "LOADING" | "MASTERDOWN" | "MISCONF" | "UNBLOCKED")
        )
}
