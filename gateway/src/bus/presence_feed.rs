//! Passes presence changes from Redis to the workers, in order for each user. Changes that were published while the
//! pub/sub connection was down are read from a stream, which Redis keeps for a minute, and sent before later changes.

use std::{
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tidings_shared::{
    log::{IngestId, RoundTrip},
    presence::{self, PARTITIONS, PresenceChange},
    protocol::server::ServerFrame,
};
use tokio::sync::{Notify, broadcast};

use super::{Bus, LookupError, Shared};
use crate::{lock::lock, transport::Frame};

/// Capacity of a worker's queue of presence changes. A worker that is further behind misses the oldest changes.
const UPDATE_QUEUE_CAPACITY: usize = 4096;
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Maximum of reads to catch up, and the pause between two reads. Redis stores every change that it publishes, so one
/// or two reads find all missed changes, unless Redis is another process now.
const CATCH_UP_ATTEMPTS: usize = 100;
const CATCH_UP_PAUSE: Duration = Duration::from_millis(20);

type Positions = [IngestId; PARTITIONS as usize];

/// A presence change, framed once for all receivers.
#[derive(Debug)]
pub struct PresenceUpdate {
    change: PresenceChange,
    pub frame: Frame,
    /// One bit per worker with a subscription in one of the rooms.
    workers: u64,
}

impl PresenceUpdate {
    /// Whether a worker has a subscription in one of the rooms.
    pub fn is_for_worker(&self, worker: usize) -> bool {
        self.workers & (1 << worker) != 0
    }

    /// The rooms whose members receive the change.
    pub fn rooms(&self) -> impl Iterator<Item = &str> {
        self.change.rooms()
    }
}

/// Sends presence changes to the workers, and keeps the position reached in each partition.
pub(super) struct PresenceFeed {
    updates: broadcast::Sender<Arc<PresenceUpdate>>,
    progress: Mutex<Progress>,
    wake: Notify,
}

#[derive(Default)]
struct Progress {
    /// The position of the last sent change of each partition.
    last: Positions,
    /// Whether the pub/sub connection is up, and how often it went up or down. If it did so during a read, the read may
    /// miss changes that were published while the connection was down.
    connected: bool,
    connection_changes: u32,
    /// Whether changes may have been missed. While this is true, published changes are not sent but read from the
    /// stream.
    behind: bool,
    /// The position of the newest published change of each partition that was not sent because the feed was behind.
    newest_published: Positions,
    /// The Redis process of these positions. Another process counts its own positions.
    process: Option<Arc<str>>,
}

impl Default for PresenceFeed {
    fn default() -> Self {
        let (updates, _) = broadcast::channel(UPDATE_QUEUE_CAPACITY);
        Self { updates, progress: Mutex::default(), wake: Notify::new() }
    }
}

impl PresenceFeed {
    /// The pub/sub connection was lost.
    pub fn disconnected(&self) {
        let mut progress = lock(&self.progress);
        (progress.behind, progress.connected) = (true, false);
        progress.connection_changes = progress.connection_changes.wrapping_add(1);
    }

    /// The pub/sub connection is up again, on this process.
    pub fn connected(&self, process: &Arc<str>) {
        let mut progress = lock(&self.progress);
        progress.connected = true;
        progress.connection_changes = progress.connection_changes.wrapping_add(1);
        if progress.process.as_ref() != Some(process) {
            // A node without an earlier process has just started, so it has missed nothing.
            progress.behind = progress.process.is_some();
            progress.last = Positions::default();
            progress.newest_published = Positions::default();
            progress.process = Some(process.clone());
        }
        if progress.behind {
            self.wake.notify_one();
        }
    }
}

impl Progress {
    /// Returns whether a published change must be sent now. If the feed is behind, stores the position of the change
    /// instead.
    fn accept(&mut self, change: &PresenceChange) -> bool {
        if self.behind {
            let newest_published = &mut self.newest_published[change.partition().index()];
            *newest_published = change.id.max(*newest_published);
        }
        !self.behind && self.advance(change)
    }

    /// Moves the partition's position over a change. Returns false if the change was sent before.
    fn advance(&mut self, change: &PresenceChange) -> bool {
        let last = &mut self.last[change.partition().index()];
        let is_new = change.id > *last;
        *last = change.id.max(*last);
        is_new
    }

    /// Ends a read that began with this connection count. Returns false if changes were published or missed since then,
    /// so that another read is needed.
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

impl Shared {
    /// Handles a message of the presence channel.
    pub(super) fn handle_presence_message(&self, payload: &[u8]) {
        let Some(change) = PresenceChange::parse(payload) else {
            tracing::error!("a published presence change cannot be parsed");
            return;
        };
        if lock(&self.presence_feed.progress).accept(&change) {
            self.send_update(change);
        }
    }

    fn send_update(&self, change: PresenceChange) {
        self.metrics.presence_received.inc();
        let workers = lock(&self.interest).workers_wanting(change.rooms());
        if workers != 0 {
            let frame = Frame::text(ServerFrame::Presence(&change.on_the_wire()).to_json());
            // Fails only if there is no worker.
            let _ = self.presence_feed.updates.send(Arc::new(PresenceUpdate { change, frame, workers }));
        }
    }
}

impl Bus {
    /// Subscribes to presence changes from now on.
    #[must_use]
    pub fn subscribe_presence(&self) -> broadcast::Receiver<Arc<PresenceUpdate>> {
        self.shared.presence_feed.updates.subscribe()
    }

    async fn catch_up(&self) -> Result<(), LookupError> {
        for _ in 0..CATCH_UP_ATTEMPTS {
            let (after, connection_changes) = {
                let progress = lock(&self.shared.presence_feed.progress);
                (progress.last, progress.connection_changes)
            };
            let session = self.log.session().await?;
            let missed = self
                .log
                .timed(RoundTrip::Presence, presence::changes_after(&mut session.connection(), &after))
                .await;
            let missed = missed.inspect_err(|error| self.log.discard_if_unusable(&session, error))?;
            for change in missed {
                let is_new = lock(&self.shared.presence_feed.progress).advance(&change);
                if is_new {
                    self.shared.send_update(change);
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
        // If the connection is down now, the changes that it misses are read after the reconnect.
        let mut progress = lock(&self.shared.presence_feed.progress);
        progress.behind = !progress.connected;
        Ok(())
    }
}

/// Reads the missed changes each time that changes may have been missed, as long as the bus exists.
pub(super) async fn run(bus: Weak<Bus>) {
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
        presence_feed.connected(&"process".into());
        assert!(lock(&presence_feed.progress).accept(&change(1)), "the node missed nothing at the start");
        presence_feed.disconnected();
        assert!(
            !lock(&presence_feed.progress).accept(&change(3)),
            "the change is read from the stream later"
        );
        presence_feed.connected(&"process".into());
        assert!(!lock(&presence_feed.progress).accept(&change(4)));
        assert!(
            [1, 2, 3].map(|ms| lock(&presence_feed.progress).advance(&change(ms))) == [false, true, true]
        );
        assert!(!finish_read(&presence_feed), "change 4 was not read");
        assert!(lock(&presence_feed.progress).advance(&change(4)));
        assert!(finish_read(&presence_feed));
        assert!(
            !lock(&presence_feed.progress).accept(&change(4))
                && lock(&presence_feed.progress).accept(&change(5))
        );
    }

    #[test]
    fn new_redis_process_is_read_from_its_beginning() {
        let presence_feed = PresenceFeed::default();
        presence_feed.connected(&"one".into());
        assert!(lock(&presence_feed.progress).accept(&change(9)));
        presence_feed.disconnected();
        presence_feed.connected(&"other".into());
        assert!(
            !lock(&presence_feed.progress).accept(&change(5)),
            "earlier changes of the process are read first"
        );
        assert!(lock(&presence_feed.progress).advance(&change(5)) && finish_read(&presence_feed));
    }
    #[test]
    fn read_across_reconnect_does_not_end_catch_up() {
        let presence_feed = PresenceFeed::default();
        presence_feed.connected(&"one".into());
        presence_feed.disconnected();
        presence_feed.connected(&"one".into());
        let connection_changes = lock(&presence_feed.progress).connection_changes;
        presence_feed.disconnected();
        assert!(!lock(&presence_feed.progress).finish_read(connection_changes), "the connection is down");
        presence_feed.connected(&"one".into());
        assert!(
            !lock(&presence_feed.progress).finish_read(connection_changes),
            "changes during the interruption were not read"
        );
        assert!(
            !lock(&presence_feed.progress).accept(&change(7)),
            "sending a published change would hide the missed ones"
        );
        assert!(lock(&presence_feed.progress).advance(&change(7)) && finish_read(&presence_feed));
    }
}
