//! Writes the ingest streams of Redis into PostgreSQL: leases, reading, batches, voids.
//! The path of a record: `reader` → bounded channel → `writing` → `writer::batch` → the watermark in Redis. Records are
//! committed in the order of their stream, exactly once, and reported as stored only after the commit.

mod activity;
mod announcing;
mod backlog;
mod lease;
mod lost_commits;
pub mod owned_partitions;
mod partition_backoff;
mod reader;
mod settling;
mod voids;
mod writing;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::RedisError;
use sea_orm::DatabaseConnection;
use tidings_shared::log::{Layout, Log, RedisClient, Session};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::indexer::ChangedRooms;
use crate::metrics::Metrics;
use crate::writer::{failure, leases, limit::within};
use owned_partitions::OwnedPartitions;

/// How long ingestion waits for an answer of one shard of a Redis Cluster, because the other shards wait too.
const SHARD_DEADLINE: Duration = Duration::from_secs(1);

/// The state that the tasks of ingestion share.
pub struct Ingest {
    db: DatabaseConnection,
    log: Arc<Log>,
    redis: RedisClient,
    metrics: Metrics,
    /// The name of this replica in the rows that it owns, new at each start.
    replica: String,
    lease: Duration,
    owned: Mutex<OwnedPartitions>,
    /// Rooms that batches changed, which the indexer takes.
    pub changed_rooms: Arc<ChangedRooms>,
    activity: activity::ActivityQueue,
    /// Notified when other replicas have released partitions.
    pub wake_lease: Arc<Notify>,
    /// Changed when reading positions may have changed. Each reader has a receiver.
    wake_readers: watch::Sender<()>,
    /// Notified when a partition may need settling.
    wake_settler: Notify,
    /// Notified when there may be a void to announce.
    wake_announcer: Notify,
}

impl Ingest {
    /// Creates the ingestion of this replica; [`Ingest::run`] starts it. `lease` is how long a lease lasts.
    #[must_use]
    pub fn new(
        db: DatabaseConnection,
        log: Arc<Log>,
        redis: RedisClient,
        metrics: Metrics,
        replica: String,
        lease: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            db,
            log,
            redis,
            metrics,
            replica,
            lease,
            owned: Mutex::default(),
            changed_rooms: Arc::default(),
            activity: activity::ActivityQueue::default(),
            wake_lease: Arc::default(),
            wake_readers: watch::Sender::new(()),
            wake_settler: Notify::new(),
            wake_announcer: Notify::new(),
        })
    }

    /// Reads and writes records until `stop` is cancelled, then writes what was read and releases the leases.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let (chunks, read) = mpsc::channel(reader::CHUNK_CHANNEL_CAPACITY);
        let done = CancellationToken::new();
        let mut side_tasks = JoinSet::new();
        side_tasks.spawn(lease::keep_leases(self.clone(), done.clone()));
        side_tasks.spawn(activity::send_notices(self.clone(), done.clone()));
        side_tasks.spawn(voids::announce_voids(self.clone(), done.clone()));
        side_tasks.spawn(lost_commits::compare_with_redis(self.clone(), done.clone()));
        side_tasks.spawn(backlog::measure_backlog(self.clone(), done.clone()));
        let mut stream_tasks = JoinSet::new();
        stream_tasks.spawn(reader::read_streams(self.clone(), chunks, stop.clone()));
        stream_tasks.spawn(writing::write_batches(self.clone(), read, stop.clone()));
        // A task ends early only by a panic. The other tasks must not continue without it.
        tokio::select! {
            () = stop.cancelled() => {}
            _ = side_tasks.join_next() => tracing::error!("a task of ingestion ended"),
            _ = stream_tasks.join_next() => tracing::error!("a task of ingestion ended"),
        }
        stop.cancel();
        while stream_tasks.join_next().await.is_some() {}
        done.cancel();
        while side_tasks.join_next().await.is_some() {}
        match within(self.lease, leases::unregister_replica(&self.db, &self.replica)).await {
            Ok(()) => {
                tracing::info!("leases released");
                lease::publish_free_partitions(&self).await;
            }
            Err(error) => {
                let cause = failure::redacted_cause(&error);
                tracing::warn!(cause, "leases not released: they expire by themselves");
            }
        }
    }

    /// Waits for an answer of a session's shard. In a Redis Cluster, waits at most [`SHARD_DEADLINE`]. Then discards
    /// the session and returns None, so that a shard without answers delays the records of the other shards only once.
    async fn within_shard_deadline<T>(
        &self,
        session: &Arc<Session>,
        answer: impl Future<Output = T>,
    ) -> Option<T> {
        if session.layout() == Layout::Single {
            return Some(answer.await);
        }
        let answer = tokio::time::timeout(SHARD_DEADLINE, answer).await.ok();
        if answer.is_none() {
            tracing::info!(epoch = %session.epoch, "a shard does not answer in time");
            self.log.discard(session);
        }
        answer
    }

    fn owned(&self) -> MutexGuard<'_, OwnedPartitions> {
        // Ignores poisoning, because no code that holds the lock can panic in the middle of a change.
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Describes a Redis error without the server's text, because that text may quote messages from the streams.
fn redacted_cause(error: &RedisError) -> String {
    if error.is_io_error() {
        return error.to_string();
    }
    format!("{:?} {}", error.kind(), error.code().unwrap_or_default())
}
