//! A session is a shard with an open epoch: persistence has opened the epoch for the shard's Redis process, and the
//! process has loaded the scripts of the epoch. Every write uses a session, so no write reaches a Redis process without
//! an open epoch. When the process is restarted or another one is promoted, the shard's connections break, and a new
//! session is opened. In a Redis Cluster a shard has one session for each epoch of its partitions.

mod effect;
mod holder;
mod marks;
mod opening;
mod shard;
mod slots;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use redis::RedisError;
use thiserror::Error;

use super::{
    authority::AuthorityError,
    checks::NodeProblem,
    keys::PartitionSet,
    layout::{Layout, RedisConnection},
    map_watch::MapError,
    scripts::Scripts,
    shard_map::NodeAddress,
};
use crate::ids::Epoch;
pub(super) use effect::SessionEffect;
pub(super) use holder::SessionHolder;
pub(super) use marks::read_each_mark;
pub use marks::{EpochMarks, MarkedProcess};
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
    #[error("the address of Redis leads to a replica; it must lead to the master")]
    Replica,
    #[error("Redis Cluster: {0}")]
    Unsuitable(#[from] NodeProblem),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error("no node of the Redis Cluster owns the slot of partition {0}; see CLUSTER INFO")]
    NoMaster(u16),
    /// The partition is moving to another process of the cluster; the caller may try again.
    #[error("the partition is moving to another Redis process")]
    PartitionMoves,
    #[error("Redis was changed into a cluster, or a cluster into a single Redis")]
    OtherLayout,
    #[error("shutting down")]
    ShuttingDown,
    /// The attempt to open a session took too long, or an attempt of another caller has just failed.
    #[error("{0}")]
    AttemptFailed(String),
}

/// A shard with an open epoch. All callers share the session until it fails.
#[derive(Debug, Clone)]
pub struct Session {
    shard: Arc<Shard>,
    /// The partitions that the session serves. When one of them moves, another session with the same epoch serves the
    /// others.
    pub partitions: PartitionSet,
    pub epoch: Epoch,
    epoch_opened_at: Instant,
    pub(super) scripts: Arc<Scripts>,
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

    /// The id by which Redis distinguishes its processes; a restarted process has a new one.
    pub fn run_id(&self) -> &str {
        &self.shard.process().run_id
    }

    /// The address of the process.
    pub fn address(&self) -> &NodeAddress {
        &self.shard.address
    }

    /// The layout of the keys and channels in the session's process.
    pub fn layout(&self) -> Layout {
        self.shard.process().layout
    }

    /// Time since the epoch was opened.
    pub fn epoch_age(&self) -> Duration {
        self.epoch_opened_at.elapsed()
    }

    /// Whether both sessions use the same connections.
    fn shares_shard(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shard, &other.shard)
    }
}

/// Items that are split by the sessions of their partitions: each session with its items.
pub type BySession<T> = Vec<(Arc<Session>, Vec<T>)>;
