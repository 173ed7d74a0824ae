//! Waits until events are stored, which means committed in PostgreSQL. Each partition has one stored watermark (epoch
//! and ingest id). Published notices update the watermark. While events are awaited, the watermark is also read from
//! Redis every second. An awaited event at or below the watermark is stored, unless it is an exception: a record that
//! was not stored as sent.

mod polling;
mod progress;
mod results;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    append::Accepted,
    keys::{PARTITIONS, Partition},
    record::IngestId,
    session::SessionHolder,
};
use crate::{
    ids::{Epoch, RoomId},
    sabotage,
};
pub use progress::STORED_TIMEOUT;
use progress::{PartitionProgress, Waiter};
use results::ResultSender;
pub use results::{Stored, StoredQueue};

/// Interval between two reads of the watermark while events are awaited. Bounds the delay after a lost notice.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// The part of a notice about one partition: its new watermark and exceptions.
#[derive(Debug, Clone, PartialEq, Eq)]
struct WatermarkNotice {
    partition: Partition,
    epoch: Epoch,
    before: IngestId,
    watermark: IngestId,
    /// Maps `room ␟ seq` to the outcome, as `stored.lua` writes it.
    exceptions: HashMap<String, String>,
}

impl WatermarkNotice {
    /// Parses the payload that `stored.lua` publishes, one notice per partition. Skips malformed lines. A line without
    /// a partition is about `of_channel`, the partition of the channel: earlier versions of persistence write such
    /// lines.
    fn parse_all(payload: &str, of_channel: Partition) -> Vec<Self> {
        let mut notices: Vec<Self> = Vec::new();
        for line in payload.split('\n') {
            if let Some((at, outcome)) = line.rsplit_once('\u{1f}') {
                if let Some(notice) = notices.last_mut() {
                    notice.exceptions.insert(at.to_owned(), outcome.to_owned());
                }
            } else if let Some(notice) = Self::parse(line, of_channel) {
                notices.push(notice);
            }
        }
        notices
    }

    /// Parses the line of one watermark; returns `None` if it is malformed.
    fn parse(line: &str, of_channel: Partition) -> Option<Self> {
        let mut words = line.split(' ');
        let epoch = comparable_epoch(Epoch(words.next()?.parse().ok()?));
        let before = words.next()?.parse().ok()?;
        let watermark = words.next()?.parse().ok()?;
        let partition = words.next().map_or(Some(of_channel), Partition::parse)?;
        Some(Self { partition, epoch, before, watermark, exceptions: HashMap::new() })
    }
}

/// The stored watermark and the awaited events of each partition, under one lock per partition.
pub struct Watermarks {
    sessions: Arc<SessionHolder>,
    partitions: Vec<Mutex<PartitionProgress>>,
}

impl Watermarks {
    /// Starts the tasks that read watermarks and end old waits, on the current runtime. The tasks end when the returned
    /// value is dropped.
    pub(super) fn start(sessions: Arc<SessionHolder>) -> Arc<Self> {
        let partitions = (0..PARTITIONS).map(|_| Mutex::default()).collect();
        let watermarks = Arc::new(Self { sessions, partitions });
        let weak = Arc::downgrade(&watermarks);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(POLL_EVERY).await;
                let Some(watermarks) = weak.upgrade() else { return };
                watermarks.poll_awaited_partitions();
            }
        });
        let weak = Arc::downgrade(&watermarks);
        // A separate task ends old waits, because the task above may be waiting for Redis.
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(POLL_EVERY).await;
                let Some(watermarks) = weak.upgrade() else { return };
                let now = Instant::now();
                Partition::all()
                    .for_each(|partition| watermarks.progress(partition).end_expired_or_cancelled_waits(now));
            }
        });
        watermarks
    }

    fn progress(&self, partition: Partition) -> std::sync::MutexGuard<'_, PartitionProgress> {
        // A poisoned lock is usable, because no code that holds the lock can panic in the middle of a change.
        self.partitions[usize::from(partition.0)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest known watermark of a room's partition.
    pub(super) fn newest_watermark(&self, room: &RoomId) -> (Epoch, IngestId) {
        let progress = self.progress(Partition::of(room));
        (progress.epoch, progress.watermark)
    }

    /// Waits at most [`STORED_TIMEOUT`] until an accepted event is stored.
    pub async fn wait(self: &Arc<Self>, room: &RoomId, accepted: &Accepted) -> Stored {
        tokio::time::timeout(STORED_TIMEOUT, self.wait_unbounded(room, accepted))
            .await
            .unwrap_or(Stored::Unavailable)
    }

    async fn wait_unbounded(self: &Arc<Self>, room: &RoomId, accepted: &Accepted) -> Stored {
        let Some(ingest) = accepted.ingest else { return Stored::AsAccepted };
        let (task, stored) = oneshot::channel();
        if self.add_waiter(room, accepted, ingest, ResultSender::Task(task)) {
            self.poll_partitions(&[Partition::of(room)]).await;
        }
        stored.await.unwrap_or(Stored::Unavailable)
    }

    /// Starts to wait until an accepted event is stored, and returns at once. The outcome is put into `queue` with
    /// `ticket`, at the latest one second after [`STORED_TIMEOUT`].
    pub fn enqueue(
        self: &Arc<Self>,
        room: &RoomId,
        accepted: &Accepted,
        queue: &Arc<StoredQueue>,
        ticket: u64,
    ) {
        let result_sender = ResultSender::Queue(queue.clone(), ticket);
        let Some(ingest) = accepted.ingest else { return result_sender.send(Stored::AsAccepted) };
        if self.add_waiter(room, accepted, ingest, result_sender) {
            let (watermarks, partition) = (self.clone(), Partition::of(room));
            tokio::spawn(async move { watermarks.poll_partitions(&[partition]).await });
        }
    }

    /// Adds an awaited event. Returns true if the watermark already covers the event. Then Redis must be read, because
    /// an earlier notice may have contained an exception for the event.
    fn add_waiter(
        &self,
        room: &RoomId,
        accepted: &Accepted,
        ingest: IngestId,
        result_sender: ResultSender,
    ) -> bool {
        let epoch = comparable_epoch(accepted.epoch);
        let mut progress = self.progress(Partition::of(room));
        if progress.epoch > epoch {
            result_sender.send(Stored::Unavailable);
            return false;
        }
        let event_key = format!("{room}\u{1f}{}", accepted.seq);
        let until = Instant::now() + STORED_TIMEOUT;
        progress.waiters.entry(ingest).or_default().push(Waiter { epoch, event_key, until, result_sender });
        progress.epoch == epoch && progress.watermark >= ingest
    }

    /// Applies the payload of a watermark notice. Returns false, and does nothing, if the channel is not one of
    /// watermark notices.
    pub fn apply_notice(self: &Arc<Self>, channel: &str, payload: &[u8]) -> bool {
        let Some(partition) = Partition::of_stored_channel(channel) else { return false };
        let payload = std::str::from_utf8(payload).unwrap_or_default();
        let notices = WatermarkNotice::parse_all(payload, partition);
        notices.iter().for_each(|notice| self.end_earlier_session(notice));
        let missed: Vec<Partition> =
            notices.iter().filter(|notice| !self.try_apply(notice)).map(|notice| notice.partition).collect();
        if !missed.is_empty() {
            let watermarks = self.clone();
            tokio::spawn(async move { watermarks.poll_partitions(&missed).await });
        }
        true
    }

    /// Ends the session of a partition if a notice has a later epoch. What the session appends would never be stored.
    fn end_earlier_session(&self, notice: &WatermarkNotice) {
        if let Some(session) = self.sessions.current(notice.partition)
            && session.epoch < notice.epoch
            && !sabotage::is_removed("a notice of a later epoch ends the session")
        {
            self.sessions.end_partitions(&session, notice.partition.into());
        }
    }

    /// Applies the new watermark of a partition. Returns false, and changes nothing, if events are awaited and an
    /// earlier notice is missing. The missing notice may contain an exception, so Redis must be read.
    fn try_apply(&self, notice: &WatermarkNotice) -> bool {
        let mut progress = self.progress(notice.partition);
        let applies = progress.waiters.is_empty()
            || notice.epoch == progress.epoch && notice.before <= progress.watermark;
        if applies {
            // The notice contains only the exceptions above the previous watermark.
            let is_known = |id, _: &Waiter| id > notice.before;
            progress.advance_watermark(notice.epoch, notice.watermark, &notice.exceptions, is_known);
        }
        applies
    }
}

/// The epoch to use when a watermark is compared with a wait. If a test removes this rule, all epochs are equal.
fn comparable_epoch(epoch: Epoch) -> Epoch {
    if sabotage::is_removed("watermark counts only in its epoch") { Epoch(0) } else { epoch }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notice_has_each_partition_with_its_exceptions() {
        let payload = "5 0-0 7-1 12\nr\u{1f}3\u{1f}rejected\n5 6-0 8-2 63\nnonsense\n5 1-0 2-0 64";
        let notices = WatermarkNotice::parse_all(payload, Partition(9));
        let read: Vec<_> = notices
            .iter()
            .map(|notice| (notice.partition.0, notice.watermark.to_string(), notice.exceptions.len()))
            .collect();
        assert_eq!(read, [(12, "7-1".to_owned(), 1), (63, "8-2".to_owned(), 0)]);
        assert_eq!(notices[0].exceptions["r\u{1f}3"], "rejected");
    }

    #[test]
    fn notice_without_partition_gets_partition_of_channel() {
        let notices = WatermarkNotice::parse_all("5 0-0 7-1", Partition(9));
        assert_eq!(notices.len(), 1);
        assert_eq!((notices[0].partition, notices[0].epoch), (Partition(9), Epoch(5)));
    }
}
