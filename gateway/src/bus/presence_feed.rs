//! Passes presence changes from Redis to the workers, in order for each user. Each presence partition belongs to a
//! partition of the log. After that partition was offline, the changes published meanwhile are read from a stream
//! before later changes are sent. Redis keeps this stream for a minute.

use std::{
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tidings_shared::{
    log::{IngestId, Session, keys::PartitionSet},
    presence::{self, PARTITIONS, PresenceChange, PresencePartition},
    protocol::server::ServerFrame,
};
use tokio::sync::{Notify, broadcast};

use super::{Bus, LookupError, SharedState};
use crate::{lock::lock, transport::Frame};

/// Capacity of a worker's queue of presence changes. A worker that falls behind by more changes misses the oldest.
const UPDATE_QUEUE_CAPACITY: usize = 4096;
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Limit of stream reads in one catch-up, and the pause between two reads. Redis stores every change that it publishes,
/// so one or two reads find all missed changes. If another Redis process has replaced the stream, no read can find
/// them; after the limit, some 2 s, they count as lost.
const MAX_CATCH_UP_READS: usize = 100;
const CATCH_UP_PAUSE: Duration = Duration::from_millis(20);

/// A presence change with its frame, which is encoded once for all receivers.
#[derive(Debug)]
pub struct PresenceUpdate {
    change: PresenceChange,
    pub frame: Frame,
    /// One bit per worker with a subscription in one of the change's rooms.
    workers: u64,
}

impl PresenceUpdate {
    /// Whether a worker has a subscription in one of the change's rooms.
    pub fn is_for_worker(&self, worker: usize) -> bool {
        self.workers & (1 << worker) != 0
    }

    /// The rooms whose members receive the change.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.change.rooms()
    }
}

/// Sends presence changes to the workers.
pub(super) struct PresenceFeed {
    updates: broadcast::Sender<Arc<PresenceUpdate>>,
    progress: Mutex<FeedProgress>,
    wake: Notify,
}

/// The progress of each presence partition.
#[derive(Default)]
struct FeedProgress([PartitionProgress; PARTITIONS as usize]);

#[derive(Default)]
struct PartitionProgress {
    /// The stream position of the last sent change.
    last: IngestId,
    connected: bool,
    /// Number of times that the partition went online or offline. A read during which this number grew may lack
    /// changes.
    connection_changes: u32,
    /// Whether changes may have been missed. While true, published changes are not sent but read from the stream.
    behind: bool,
    /// The stream position of the newest published change that was not sent because of `behind`.
    newest_published: IngestId,
    /// The `run_id` of the Redis process that assigned these positions. Each process assigns its own positions.
    process: Option<Arc<str>>,
}

impl Default for PresenceFeed {
    fn default() -> Self {
        let (updates, _) = broadcast::channel(UPDATE_QUEUE_CAPACITY);
        Self { updates, progress: Mutex::default(), wake: Notify::new() }
    }
}

impl PresenceFeed {
    pub fn mark_disconnected(&self, partitions: PartitionSet) {
        lock(&self.progress).of(partitions).for_each(|progress| {
            (progress.behind, progress.connected) = (true, false);
            progress.connection_changes = progress.connection_changes.wrapping_add(1);
        });
    }

    /// Records that these partitions are online at this Redis process. Wakes [`run_catch_ups`] if changes may be
    /// missing.
    pub fn mark_connected(&self, process: &Arc<str>, partitions: PartitionSet) {
        for progress in lock(&self.progress).of(partitions) {
            progress.connected = true;
            progress.connection_changes = progress.connection_changes.wrapping_add(1);
            if progress.process.as_ref() != Some(process) {
                // A node without an earlier process has just started, so it has missed nothing.
                progress.behind = progress.process.is_some();
                (progress.last, progress.newest_published) = (IngestId::default(), IngestId::default());
                progress.process = Some(process.clone());
            }
            if progress.behind {
                self.wake.notify_one();
            }
        }
    }
}

impl FeedProgress {
    /// The presence partitions that belong to these partitions of the log.
    fn of(&mut self, partitions: PartitionSet) -> impl Iterator<Item = &mut PartitionProgress> {
        let of_all = PresencePartition::all().zip(&mut self.0);
        of_all
            .filter(move |(partition, _)| partitions.contains(partition.partition()))
            .map(|(_, progress)| progress)
    }

    /// The connected partitions whose changes must be read from the stream.
    fn partitions_behind(&self) -> Vec<PresencePartition> {
        let partitions = PresencePartition::all().zip(&self.0);
        let behind = partitions.filter(|(_, progress)| progress.behind && progress.connected);
        behind.map(|(partition, _)| partition).collect()
    }

    /// Returns true if a published change must be sent at once. While `behind`, stores the change's position and
    /// returns false.
    fn accept_published(&mut self, change: &PresenceChange) -> bool {
        let progress = &mut self.0[change.partition().index()];
        if progress.behind {
            progress.newest_published = change.id.max(progress.newest_published);
            return false;
        }
        progress.advance(change.id)
    }

    /// Moves the position of the change's partition to the change. Returns false if the change was sent before.
    fn advance(&mut self, change: &PresenceChange) -> bool {
        self.0[change.partition().index()].advance(change.id)
    }
}

impl PartitionProgress {
    fn advance(&mut self, id: IngestId) -> bool {
        let is_new = id > self.last;
        self.last = id.max(self.last);
        is_new
    }

    /// Ends a read that began when `connection_changes` had this value. Another read is needed if changes were
    /// published or may have been missed since the read began.
    fn finish_read(&mut self, connection_changes: u32) {
        let has_newer = self.newest_published > self.last;
        self.behind = has_newer || !self.connected || self.connection_changes != connection_changes;
    }
}

impl SharedState {
    pub(super) fn handle_presence_message(&self, payload: &[u8]) {
        let Some(change) = PresenceChange::parse(payload) else {
            tracing::error!("a published presence change cannot be parsed");
            return;
        };
        if lock(&self.presence_feed.progress).accept_published(&change) {
            self.send_update(change);
        }
    }

    fn send_update(&self, change: PresenceChange) {
        self.metrics.presence_received.inc();
        let workers = lock(&self.interest).workers_in_rooms(change.rooms());
        if workers != 0 {
            let frame = Frame::text(ServerFrame::Presence(&change.on_the_wire()).to_json());
            // Sending fails only if no worker is subscribed.
            let _ = self.presence_feed.updates.send(Arc::new(PresenceUpdate { change, frame, workers }));
        }
    }
}

impl Bus {
    /// Returns a receiver of all presence changes that are sent after this call.
    #[must_use]
    pub fn subscribe_presence(&self) -> broadcast::Receiver<Arc<PresenceUpdate>> {
        self.shared.presence_feed.updates.subscribe()
    }

    /// Reads the missed changes from the streams and sends them, until no change is missing or the maximum number of
    /// reads is reached. A partition without a session does not delay the others.
    async fn catch_up(&self) -> Result<(), LookupError> {
        let behind = || lock(&self.shared.presence_feed.progress).partitions_behind();
        for read in 0..MAX_CATCH_UP_READS {
            let partitions = behind();
            if partitions.is_empty() {
                return Ok(());
            }
            if read > 0 {
                tokio::time::sleep(CATCH_UP_PAUSE).await;
            }
            let (by_session, without_session) =
                self.log.split_by_current_session(partitions, |partition| partition.partition());
            let mut failed = None;
            for (session, partitions) in by_session {
                failed = self.read_missed(&session, &partitions).await.err().or(failed);
            }
            // The next read uses the sessions that this opens.
            self.log.group_by_session(without_session, |partition| partition.partition()).await?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        if behind().is_empty() {
            return Ok(());
        }
        tracing::warn!(
            "presence changes published during the interruption are no longer in Redis and are lost"
        );
        // If a partition is offline, changes that are published meanwhile are read when it is online again.
        for progress in lock(&self.shared.presence_feed.progress).of(PartitionSet::ALL) {
            progress.behind = !progress.connected;
        }
        Ok(())
    }

    /// Reads the missed changes of partitions of one session, and sends them.
    async fn read_missed(
        &self,
        session: &Arc<Session>,
        partitions: &[PresencePartition],
    ) -> Result<(), LookupError> {
        let progress = &self.shared.presence_feed.progress;
        let (after, connection_changes) = {
            let progress = lock(progress);
            (
                progress.0.each_ref().map(|progress| progress.last),
                progress.0.each_ref().map(|progress| progress.connection_changes),
            )
        };
        let mut redis = session.connection();
        let missed = presence::changes_after(&mut redis, partitions, &after);
        let missed = self.run_presence(session, missed).await?;
        for change in missed {
            let is_new = lock(progress).advance(&change);
            if is_new {
                self.shared.send_update(change);
            }
        }
        let mut progress = lock(progress);
        for index in partitions.iter().map(|partition| partition.index()) {
            progress.0[index].finish_read(connection_changes[index]);
        }
        Ok(())
    }
}

/// Reads missed changes each time that a partition is online again. Ends at the first wake-up after the bus is
/// dropped.
pub(super) async fn run_catch_ups(bus: Weak<Bus>) {
    loop {
        let Some(shared) = bus.upgrade().map(|bus| bus.shared.clone()) else { return };
        shared.presence_feed.wake.notified().await;
        while let Some(bus) = bus.upgrade() {
            match bus.catch_up().await {
                Ok(()) => break,
                Err(error) => {
                    tracing::debug!(%error, "missed presence changes cannot be read; retrying");
                    bus.shared.metrics.presence_failures.with_label_values(&["read"]).inc();
                }
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

#[cfg(test)]
mod tests;
