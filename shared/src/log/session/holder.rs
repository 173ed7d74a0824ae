//! Holds the session of each partition, and opens a session for a partition that has none. One attempt to open runs at
//! a time for each address of the map. It opens the sessions of all partitions of this address that have none. Items of
//! many partitions are split by session, so that the caller makes one call for each session.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex as SyncMutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use super::{
    BySession, Session, SessionError, Shard,
    opening::{LastEpoch, LastEpochs, open_sessions},
    slots::Slots,
};
use crate::ids::Epoch;
use crate::log::{
    RedisClient,
    authority::Authority,
    keys::{Partition, PartitionSet},
    layout::Layout,
    map_watch::MapWatch,
    shard_map::{NodeAddress, ShardMap},
};

/// Limit for one attempt to open a session, including the answer of persistence.
const OPEN_TIMEOUT: Duration = Duration::from_secs(6);
/// Minimum interval between attempts to open a session, so that an outage does not cause too many attempts.
const REOPEN_INTERVAL: Duration = Duration::from_millis(100);

/// Why the last attempt to open the sessions of an address gave a partition no session.
enum OpenFailure {
    /// The process does not serve the partition, or its slot is moving.
    PartitionMoves,
    Failed(String),
}

impl From<&OpenFailure> for SessionError {
    fn from(failure: &OpenFailure) -> Self {
        match failure {
            OpenFailure::PartitionMoves => Self::PartitionMoves,
            OpenFailure::Failed(error) => Self::AttemptFailed(error.clone()),
        }
    }
}

/// The result of the last attempt to open the sessions of an address.
#[derive(Default)]
struct OpenHistory {
    /// Time and reason of the last attempt, if it failed.
    failed: Option<(Instant, OpenFailure)>,
    /// The shard that was opened last.
    shard: Weak<Shard>,
}

/// Holds the session of each partition, and opens another one after a session is discarded.
pub struct SessionHolder {
    client: RedisClient,
    map_watch: Arc<MapWatch>,
    authority: Arc<dyn Authority>,
    slots: Slots<Session>,
    last: SyncMutex<Box<LastEpochs>>,
    /// The newest epoch of all sessions so far, also of discarded ones.
    newest_epoch: AtomicU64,
    /// For each address a lock that is held during an attempt to open its sessions.
    openings: SyncMutex<HashMap<NodeAddress, Arc<Mutex<OpenHistory>>>>,
    /// The runtime on which the log was started. All connections run on this runtime, because the runtime of a caller
    /// may end.
    runtime: tokio::runtime::Handle,
}

impl SessionHolder {
    /// Creates the holder without a connection. All connections run on the current runtime.
    pub fn new(client: RedisClient, map_watch: Arc<MapWatch>, authority: Arc<dyn Authority>) -> Self {
        Self {
            client,
            map_watch,
            authority,
            slots: Slots::new(),
            last: SyncMutex::new(Box::new(std::array::from_fn(|_| None))),
            newest_epoch: AtomicU64::new(0),
            openings: SyncMutex::default(),
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// The map of the shards.
    pub fn map_watch(&self) -> &Arc<MapWatch> {
        &self.map_watch
    }

    /// Whether the Redis is a cluster, as far as it is known.
    pub fn is_cluster(&self) -> bool {
        self.map_watch.current().is_some_and(|map| map.layout() == Layout::Cluster)
    }

    /// Returns the session that serves a partition. If there is none, opens a session. Callers that arrive during this
    /// attempt share its result.
    pub async fn get(&self, partition: Partition) -> Result<Arc<Session>, SessionError> {
        if let Some(session) = self.slots.get(partition) {
            return Ok(session);
        }
        let called_at = Instant::now();
        let map = self.map_watch.get().await?;
        let Some(address) = map.master(partition) else {
            self.map_watch.refresh();
            return Err(SessionError::NoMaster(partition.0));
        };
        let opening = self.openings().entry(address.clone()).or_default().clone();
        let mut opening = opening.lock().await;
        if let Some(session) = self.slots.get(partition) {
            return Ok(session);
        }
        if let Some((at, failure)) = &opening.failed
            && (*at >= called_at || at.elapsed() < REOPEN_INTERVAL)
        {
            return Err(failure.into());
        }
        match self.open(&map, address, &mut opening).await {
            Ok(()) => {
                let session = self.slots.get(partition);
                opening.failed = session.is_none().then(|| (Instant::now(), OpenFailure::PartitionMoves));
                if session.is_none() {
                    self.map_watch.refresh();
                }
                session.ok_or(SessionError::PartitionMoves)
            }
            Err(error) => {
                opening.failed = Some((Instant::now(), OpenFailure::Failed(error.to_string())));
                if matches!(error, SessionError::OtherLayout) {
                    // A single Redis is not asked for its map again without this.
                    let _ = self.map_watch.read().await;
                }
                self.map_watch.refresh();
                Err(error)
            }
        }
    }

    /// Opens and stores the sessions of all partitions of an address that have none.
    async fn open(
        &self,
        map: &ShardMap,
        address: &NodeAddress,
        opening: &mut OpenHistory,
    ) -> Result<(), SessionError> {
        let missing =
            map.partitions_of(address).iter().filter(|partition| self.slots.get(*partition).is_none());
        let (missing, layout): (PartitionSet, Layout) = (missing.collect(), map.layout());
        let (client, authority) = (self.client.at(address), self.authority.clone());
        let (last, shard) = (self.last_epochs().clone(), opening.shard.upgrade());
        let attempt = async move {
            // A shard of a cluster is used again when one of its partitions has ended, or another has arrived.
            let reused = match shard {
                Some(shard) if layout == Layout::Cluster => shard.is_unchanged().await.then_some(shard),
                _ => None,
            };
            let shard = match reused {
                Some(shard) => shard,
                None => Arc::new(Shard::open(&client).await?),
            };
            if shard.process().layout != layout {
                return Err(SessionError::OtherLayout);
            }
            open_sessions(shard, authority.as_ref(), missing, &last).await
        };
        let attempt = self.runtime.spawn(tokio::time::timeout(OPEN_TIMEOUT, attempt)).await;
        let opened = attempt.map_err(|_| SessionError::ShuttingDown)?;
        let sessions = opened
            .unwrap_or_else(|_| Err(SessionError::AttemptFailed("opening took too long".to_owned())))?;
        for session in sessions {
            let session = Arc::new(session);
            let partitions = session.partitions.iter().count();
            tracing::info!(
                epoch = %session.epoch,
                run_id = session.run_id(),
                partitions,
                "Redis session opened"
            );
            opening.shard = Arc::downgrade(&session.shard);
            self.newest_epoch.fetch_max(session.epoch.0, Ordering::Relaxed);
            let last = Arc::new(LastEpoch::of(&session));
            for partition in session.partitions.iter() {
                self.last_epochs()[usize::from(partition.0)] = Some(last.clone());
            }
            self.slots.store(session.partitions, &session);
        }
        Ok(())
    }

    fn openings(&self) -> std::sync::MutexGuard<'_, HashMap<NodeAddress, Arc<Mutex<OpenHistory>>>> {
        // A poisoned lock is usable, because no code that holds the lock can panic in the middle of a change.
        self.openings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_epochs(&self) -> std::sync::MutexGuard<'_, Box<LastEpochs>> {
        // A poisoned lock is usable, because each entry is changed as a whole.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the session of a partition, or `None` if none is open.
    pub fn current(&self, partition: Partition) -> Option<Arc<Session>> {
        self.slots.get(partition)
    }

    /// The newest epoch of all sessions so far, also of discarded ones; 0 before the first session.
    pub fn newest_epoch(&self) -> Epoch {
        Epoch(self.newest_epoch.load(Ordering::Relaxed))
    }

    /// Splits items by the sessions of their partitions. The items of a session keep their order. Opens the sessions
    /// that are missing, and fails if one of them cannot be opened.
    pub async fn group_by_session<T>(
        &self,
        mut items: Vec<T>,
        partition_of: fn(&T) -> Partition,
    ) -> Result<BySession<T>, SessionError> {
        let mut split = Vec::new();
        while let Some(partition) = items.first().map(partition_of) {
            let session = self.get(partition).await?;
            let own = take_items_of(&session, &mut items, partition_of);
            split.push((session, own));
        }
        Ok(split)
    }

    /// Splits items like [`SessionHolder::group_by_session`], but opens no session. Also returns the items of partitions
    /// without a session.
    pub fn split_by_current_session<T>(
        &self,
        mut items: Vec<T>,
        partition_of: fn(&T) -> Partition,
    ) -> (BySession<T>, Vec<T>) {
        let (mut split, mut others) = (Vec::new(), Vec::new());
        while let Some(partition) = items.first().map(partition_of) {
            match self.current(partition) {
                Some(session) => {
                    let own = take_items_of(&session, &mut items, partition_of);
                    split.push((session, own));
                }
                None => others.extend(items.extract_if(.., |item| partition_of(item) == partition)),
            }
        }
        (split, others)
    }

    /// Stops using a session that failed, and all other sessions of its shard. The next caller of
    /// [`SessionHolder::get`] opens another.
    pub fn discard(&self, session: &Arc<Session>) {
        session.shard.end();
        let is_meant = |held: &Session| held.shares_shard(session);
        if self.slots.end(PartitionSet::ALL, is_meant, |_| Session::clone(session)) {
            tracing::warn!(epoch = %session.epoch, "Redis session closed after a failure");
            self.map_watch.refresh();
        }
    }

    /// Stops using a session for partitions whose epoch at its process has ended. The other partitions of a cluster's
    /// shard keep theirs. The session of a single Redis is discarded, because its epoch is that of all partitions.
    pub fn end_partitions(&self, session: &Arc<Session>, partitions: PartitionSet) {
        if session.layout() == Layout::Single {
            return self.discard(session);
        }
        let is_meant = |held: &Session| held.shares_shard(session) && held.epoch == session.epoch;
        let without = |partitions| Session { partitions, ..Session::clone(session) };
        if self.slots.end(partitions, is_meant, without) {
            let ended: Vec<u16> = partitions.iter().map(|partition| partition.0).collect();
            tracing::warn!(epoch = %session.epoch, ?ended, "Redis session ended for partitions");
            self.map_watch.refresh();
        }
    }
}

/// Removes and returns the items whose partitions are served by the session.
fn take_items_of<T>(session: &Session, items: &mut Vec<T>, partition_of: fn(&T) -> Partition) -> Vec<T> {
    let others: Vec<T> =
        items.extract_if(.., |item| !session.partitions.contains(partition_of(item))).collect();
    std::mem::replace(items, others)
}
