//! Passes presence changes from Redis to the workers, in order for each user. After the pub/sub connection was down,
//! the changes published meanwhile are read from a stream before later changes are sent. Redis keeps this stream for a
//! minute.

use std::{
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tidings_shared::{
    log::{IngestId, RoundTrip},
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
/// so one or two reads find all missed changes. If another Redis process has replaced the stream, no read can find them;
/// after the limit, some 2 s, they count as lost.
const MAX_CATCH_UP_READS: usize = 100;
const CATCH_UP_PAUSE: Duration = Duration::from_millis(20);

/// For each presence partition, a position in the stream of presence changes.
type StreamPositions = [IngestId; PARTITIONS as usize];

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

#[derive(Default)]
struct FeedProgress {
    /// The stream position of the last sent change of each partition.
    last: StreamPositions,
    connected: bool,
    /// Number of times that the pub/sub connection went up or down. A read during which this number grew may lack
    /// changes.
    connection_changes: u32,
    /// Whether changes may have been missed. While true, published changes are not sent but read from the stream.
    behind: bool,
    /// Per partition, the stream position of the newest published change that was not sent because of `behind`.
    newest_published: StreamPositions,
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
    pub fn mark_disconnected(&self) {
        let mut progress = lock(&self.progress);
        (progress.behind, progress.connected) = (true, false);
        progress.connection_changes = progress.connection_changes.wrapping_add(1);
    }

    /// Records that the pub/sub connection to this Redis process is up. Wakes [`run_catch_ups`] if changes may be
    /// missing.
    pub fn mark_connected(&self, process: &Arc<str>) {
        let mut progress = lock(&self.progress);
        progress.connected = true;
        progress.connection_changes = progress.connection_changes.wrapping_add(1);
        if progress.process.as_ref() != Some(process) {
            // A node without an earlier process has just started, so it has missed nothing.
            progress.behind = progress.process.is_some();
            progress.last = StreamPositions::default();
            progress.newest_published = StreamPositions::default();
            progress.process = Some(process.clone());
        }
        if progress.behind {
            self.wake.notify_one();
        }
    }
}

impl FeedProgress {
    /// Returns true if a published change must be sent at once. While `behind`, stores the change's position and
    /// returns false.
    fn accept_published(&mut self, change: &PresenceChange) -> bool {
        if self.behind {
            let newest_published = &mut self.newest_published[change.partition().index()];
            *newest_published = change.id.max(*newest_published);
        }
        !self.behind && self.advance(change)
    }

    /// Moves the position of the change's partition to the change. Returns false if the change was sent before.
    fn advance(&mut self, change: &PresenceChange) -> bool {
        let last = &mut self.last[change.partition().index()];
        let is_new = change.id > *last;
        *last = change.id.max(*last);
        is_new
    }

    /// Ends a read that began when `connection_changes` had this value. Returns false if another read is needed,
    /// because changes were published or may have been missed since the read began.
    fn finish_read(&mut self, connection_changes: u32) -> bool {
        let more = self
            .newest_published
            .iter()
            .zip(&self.last)
            .any(|(newest_published, last)| newest_published > last);
        self.behind = more || !self.connected || self.connection_changes != connection_changes;
        !self.behind
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

    /// Reads the missed changes from the stream and sends them, until no change is missing or the maximum number of
    /// reads is reached.
    async fn catch_up(&self) -> Result<(), LookupError> {
        for _ in 0..MAX_CATCH_UP_READS {
            let (after, connection_changes) = {
                let progress = lock(&self.shared.presence_feed.progress);
                (progress.last, progress.connection_changes)
            };
            let partitions: Vec<PresencePartition> = PresencePartition::all().collect();
            for (session, partitions) in self.log.by_session(partitions, |of| of.partition()).await? {
                let mut redis = session.connection();
                let missed = presence::changes_after(&mut redis, &partitions, &after);
                let missed = self.timed_query(RoundTrip::Presence, &session, missed).await?;
                for change in missed {
                    let is_new = lock(&self.shared.presence_feed.progress).advance(&change);
                    if is_new {
                        self.shared.send_update(change);
                    }
                }
            }
            if lock(&self.shared.presence_feed.progress).finish_read(connection_changes) {
                return Ok(());
            }
            tokio::time::sleep(CATCH_UP_PAUSE).await;
        }
        tracing::warn!(
            "presence changes published during the interruption are no longer in Redis and are lost"
        );
        // If the connection is down, changes that are published meanwhile are read after the reconnect.
        let mut progress = lock(&self.shared.presence_feed.progress);
        progress.behind = !progress.connected;
        Ok(())
    }
}

/// Reads missed changes each time that the pub/sub connection is up again. Ends at the first wake-up after the bus is
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
mod tests {
    use super::*;

    fn change(ms: u64) -> PresenceChange {
        PresenceChange::parse(format!("{ms}-0 1 a o 0 r").as_bytes()).unwrap()
    }

    fn finish_read(presence_feed: &PresenceFeed) -> bool {
        let connection_changes = lock(&presence_feed.progress).connection_changes;
        lock(&presence_feed.progress).finish_read(connection_changes)
    }

    #[test]
    fn missed_changes_come_before_published_ones_and_only_once() {
        let presence_feed = PresenceFeed::default();
        presence_feed.mark_connected(&"process".into());
        assert!(
            lock(&presence_feed.progress).accept_published(&change(1)),
            "the node missed nothing at the start"
        );
        presence_feed.mark_disconnected();
        assert!(
            !lock(&presence_feed.progress).accept_published(&change(3)),
            "the change is read from the stream later"
        );
        presence_feed.mark_connected(&"process".into());
        assert!(!lock(&presence_feed.progress).accept_published(&change(4)));
        assert!(
            [1, 2, 3].map(|ms| lock(&presence_feed.progress).advance(&change(ms))) == [false, true, true]
        );
        assert!(!finish_read(&presence_feed), "change 4 was not read");
        assert!(lock(&presence_feed.progress).advance(&change(4)));
        assert!(finish_read(&presence_feed));
        assert!(
            !lock(&presence_feed.progress).accept_published(&change(4))
                && lock(&presence_feed.progress).accept_published(&change(5))
        );
    }

    #[test]
    fn new_redis_process_is_read_from_its_beginning() {
        let presence_feed = PresenceFeed::default();
        presence_feed.mark_connected(&"one".into());
        assert!(lock(&presence_feed.progress).accept_published(&change(9)));
        presence_feed.mark_disconnected();
        presence_feed.mark_connected(&"other".into());
        assert!(
            !lock(&presence_feed.progress).accept_published(&change(5)),
            "earlier changes of the process are read first"
        );
        assert!(lock(&presence_feed.progress).advance(&change(5)) && finish_read(&presence_feed));
    }

    #[test]
    fn read_across_reconnect_does_not_end_catch_up() {
        let presence_feed = PresenceFeed::default();
        presence_feed.mark_connected(&"one".into());
        presence_feed.mark_disconnected();
        presence_feed.mark_connected(&"one".into());
        let connection_changes = lock(&presence_feed.progress).connection_changes;
        presence_feed.mark_disconnected();
        assert!(!lock(&presence_feed.progress).finish_read(connection_changes), "the connection is down");
        presence_feed.mark_connected(&"one".into());
        assert!(
            !lock(&presence_feed.progress).finish_read(connection_changes),
            "changes during the interruption were not read"
        );
        assert!(
            !lock(&presence_feed.progress).accept_published(&change(7)),
            "sending a published change would hide the missed ones"
        );
        assert!(lock(&presence_feed.progress).advance(&change(7)) && finish_read(&presence_feed));
    }
}
