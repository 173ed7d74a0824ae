//! From the ingest streams into PostgreSQL: leases, reading, batches, voids.
//! The way of a record: `reader` → bounded channel → `writing` → `writer::batch` → the watermark in Redis.
//! Promises that a record is committed in the order of its stream, exactly once, and told as stored only then.

mod backlog;
pub mod batch;
pub mod holdings;
mod lease;
mod reader;
mod setbacks;
mod settling;
mod telling;
mod voids;
mod writing;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Client, RedisError};
use sea_orm::DatabaseConnection;
use tidings_shared::log::Log;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::indexer::Changed;
use crate::metrics::Metrics;
use crate::writer::{failure, leases, limit::within};
use holdings::Holdings;

/// Chunks that may wait between reader and writer: the next is read while one is written.
const CHUNKS_BETWEEN: usize = 2;

/// What the tasks of ingestion share.
pub struct Ingest {
    db: DatabaseConnection,
    log: Arc<Log>,
    redis: Client,
    metrics: Metrics,
    /// Name of this replica in the rows it owns; another one at each start.
    replica: String,
    lease: Duration,
    holdings: Mutex<Holdings>,
    /// Rooms that were written, for those who follow behind.
    pub changed: Arc<Changed>,
    /// Other replicas have given partitions back.
    pub to_take: Arc<Notify>,
    /// There may be something to read from another place.
    to_read: Notify,
    /// There may be a partition to settle.
    to_settle: Notify,
    /// There may be a void to tell.
    to_tell: Notify,
}

impl Ingest {
    #[must_use]
    pub fn new(
        db: DatabaseConnection,
        log: Arc<Log>,
        redis: Client,
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
            holdings: Mutex::default(),
            changed: Arc::default(),
            to_take: Arc::default(),
            to_read: Notify::new(),
            to_settle: Notify::new(),
            to_tell: Notify::new(),
        })
    }

    /// Works until `stop`: then what was read is written and the leases are given back.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let (chunks, read) = mpsc::channel(CHUNKS_BETWEEN);
        let done = CancellationToken::new();
        let mut around = JoinSet::new();
        around.spawn(lease::keep(self.clone(), done.clone()));
        around.spawn(voids::tell(self.clone(), done.clone()));
        around.spawn(backlog::measure(self.clone(), done.clone()));
        let mut stream = JoinSet::new();
        stream.spawn(reader::read(self.clone(), chunks, stop.clone()));
        stream.spawn(writing::write(self.clone(), read, stop.clone()));
        // A task that ends early has panicked: the others must not go on as if nothing were.
        tokio::select! {
            () = stop.cancelled() => {}
            _ = around.join_next() => tracing::error!("a task of ingestion ended"),
            _ = stream.join_next() => tracing::error!("a task of ingestion ended"),
        }
        stop.cancel();
        while stream.join_next().await.is_some() {}
        done.cancel();
        while around.join_next().await.is_some() {}
        match within(self.lease, leases::leave(&self.db, &self.replica)).await {
            Ok(()) => {
                tracing::info!("leases released");
                lease::tell_free(&self).await;
            }
            Err(error) => {
                let cause = failure::without_data(&error);
                tracing::warn!(cause, "leases not released: they run out by themselves");
            }
        }
    }

    fn holdings(&self) -> MutexGuard<'_, Holdings> {
        // No code that runs under the lock can panic half-way through a change.
        self.holdings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The failure without what was answered: the streams hold messages, and a parser quotes what it was given.
fn without_data(error: &RedisError) -> String {
    if error.is_io_error() {
        return error.to_string();
    }
    format!("{:?} {}", error.kind(), error.code().unwrap_or_default())
}
