//! Holds the session of each partition, and opens a session for a partition that has none. All partitions are at one
//! Redis, so one attempt to open runs at a time, and its session is stored for all partitions. Items of many partitions
//! are split by session, so that the caller makes one call for each session.

use std::{
    sync::{
        Arc, Mutex as SyncMutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::{BySession, Session, SessionError};
use crate::ids::Epoch;
use crate::log::{
    RedisClient,
    authority::Authority,
    keys::{PARTITIONS, Partition, PartitionSet},
};

/// Limit for one attempt to open a session, including the answer of persistence.
const OPEN_TIMEOUT: Duration = Duration::from_secs(6);
/// Minimum interval between attempts to open a session, so that an outage does not cause too many attempts.
const REOPEN_INTERVAL: Duration = Duration::from_millis(100);

/// For each partition its session, or none. Reads take no lock.
struct Slots<S> {
    slots: [ArcSwapOption<S>; PARTITIONS as usize],
    /// Locked by every change. Otherwise a session that is discarded while it is being stored could stay in some slots.
    changes: SyncMutex<()>,
}

impl<S> Slots<S> {
    fn new() -> Self {
        Self { slots: std::array::from_fn(|_| ArcSwapOption::empty()), changes: SyncMutex::new(()) }
    }

    fn slot(&self, partition: Partition) -> &ArcSwapOption<S> {
        &self.slots[usize::from(partition.0)]
    }

    fn get(&self, partition: Partition) -> Option<Arc<S>> {
        self.slot(partition).load_full()
    }

    fn lock_changes(&self) -> std::sync::MutexGuard<'_, ()> {
        // A poisoned lock is usable, because each slot is changed as a whole.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, partitions: PartitionSet, session: &Arc<S>) {
        let _changes = self.lock_changes();
        partitions.iter().for_each(|partition| self.slot(partition).store(Some(session.clone())));
    }

    /// Empties those slots of `partitions` that hold this session. Returns whether there was one.
    fn clear(&self, partitions: PartitionSet, session: &Arc<S>) -> bool {
        let _changes = self.lock_changes();
        let mut cleared = false;
        for slot in partitions.iter().map(|partition| self.slot(partition)) {
            if slot.load().as_ref().is_some_and(|held| Arc::ptr_eq(held, session)) {
                slot.store(None);
                cleared = true;
            }
        }
        cleared
    }
}

/// The result of the last attempt to open a session, and the last session.
#[derive(Default)]
struct OpenHistory {
    /// Time and error of the last attempt, if it failed.
    failed: Option<(Instant, String)>,
    /// The session that was opened last, even if it is discarded.
    last: Option<Arc<Session>>,
}

/// Holds the session of each partition, and opens another one after a session is discarded.
pub struct SessionHolder {
    client: RedisClient,
    authority: Arc<dyn Authority>,
    slots: Slots<Session>,
    /// The newest epoch of all sessions so far, also of discarded ones.
    newest_epoch: AtomicU64,
    /// Locked during an attempt to open a session of the client's address.
    opening: Mutex<OpenHistory>,
    /// The runtime on which the log was started. All connections run on this runtime, because the runtime of a caller
    /// may end.
    runtime: tokio::runtime::Handle,
}

impl SessionHolder {
    /// Creates the holder without a connection. All connections run on the current runtime.
    pub fn new(client: RedisClient, authority: Arc<dyn Authority>) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let (slots, newest_epoch) = (Slots::new(), AtomicU64::new(0));
        Self { client, authority, slots, newest_epoch, opening: Mutex::default(), runtime }
    }

    /// Returns the session of a partition; opens one if there is none. Callers that arrive during an attempt share its
    /// result. The partition is one of [`Session::partitions`].
    pub async fn get(&self, partition: Partition) -> Result<Arc<Session>, SessionError> {
        if let Some(session) = self.slots.get(partition) {
            return Ok(session);
        }
        let called_at = Instant::now();
        let mut opening = self.opening.lock().await;
        if let Some(session) = self.slots.get(partition) {
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
                tracing::info!(epoch = %session.epoch, run_id = session.run_id(), "Redis session opened");
                *opening = OpenHistory { failed: None, last: Some(session.clone()) };
                self.newest_epoch.fetch_max(session.epoch.0, Ordering::Relaxed);
                self.slots.store(session.partitions, &session);
                Ok(session)
            }
            Err(error) => {
                opening.failed = Some((Instant::now(), error.to_string()));
                Err(error)
            }
        }
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
    pub async fn by_session<T>(
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

    /// Splits items like [`SessionHolder::by_session`], but opens no session. Leaves out the items of partitions
    /// without a session.
    pub fn by_current_session<T>(
        &self,
        mut items: Vec<T>,
        partition_of: fn(&T) -> Partition,
    ) -> BySession<T> {
        let mut split = Vec::new();
        while let Some(partition) = items.first().map(partition_of) {
            match self.current(partition) {
                Some(session) => {
                    let own = take_items_of(&session, &mut items, partition_of);
                    split.push((session, own));
                }
                None => items.retain(|item| partition_of(item) != partition),
            }
        }
        split
    }

    /// Stops using a session that failed, or whose epoch has ended. The next caller of [`SessionHolder::get`] opens
    /// another.
    pub fn discard(&self, session: &Arc<Session>) {
        if self.slots.clear(session.partitions, session) {
            tracing::warn!(epoch = %session.epoch, "Redis session closed after a failure");
        }
    }
}

/// Removes and returns the items whose partitions are served by the session.
fn take_items_of<T>(session: &Session, items: &mut Vec<T>, partition_of: fn(&T) -> Partition) -> Vec<T> {
    let others: Vec<T> =
        items.extract_if(.., |item| !session.partitions.contains(partition_of(item))).collect();
    std::mem::replace(items, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discarded_session_ends_for_its_partitions_only() {
        let slots = Slots::new();
        let set = |partitions: [u16; 2]| partitions.into_iter().map(Partition).collect::<PartitionSet>();
        let (first, second) = (Arc::new("first"), Arc::new("second"));
        slots.store(set([0, 63]), &first);
        slots.store(set([5, 6]), &second);
        assert!(slots.clear(set([0, 63]), &first));
        let held = || [0, 63, 5, 6, 7].map(|partition| slots.get(Partition(partition)).map(|held| *held));
        assert_eq!(held(), [None, None, Some("second"), Some("second"), None]);
        assert!(!slots.clear(set([0, 63]), &first), "the session was discarded before");
    }

    #[test]
    fn late_discard_keeps_session_that_was_opened_since() {
        let slots = Slots::new();
        let (failed, reopened) = (Arc::new("failed"), Arc::new("reopened"));
        slots.store(PartitionSet::ALL, &failed);
        slots.store(PartitionSet::ALL, &reopened);
        assert!(!slots.clear(PartitionSet::ALL, &failed));
        assert!(Partition::all().all(|partition| slots.get(partition).is_some()));
    }
}
