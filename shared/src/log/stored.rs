//! Waits until events are stored, which means committed in PostgreSQL. Each partition has one stored watermark (epoch
//! and ingest id). Published notices update the watermark; while events are awaited, it is also read from Redis every
//! second. An awaited event at or below the watermark is stored, unless it is an exception: a record that was not
//! stored as sent.

mod progress;
mod results;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use redis::RedisError;
use tokio::sync::oneshot;

use super::{
    append::Accepted,
    keys::{PARTITIONS, Partition},
    record::IngestId,
    session::{Session, Sessions, ends_session},
};
use crate::ids::{Epoch, RoomId};
pub use progress::STORED_TIMEOUT;
use progress::{Progress, Waiter};
use results::ResultSender;
pub use results::{Stored, StoredQueue};

/// Interval between two reads of the watermark while events are awaited. Bounds the delay after a lost notice.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// The part of a notice that tells of one partition's watermark.
#[derive(Debug, Clone, PartialEq, Eq)]
struct WatermarkNotice {
    partition: Partition,
    epoch: Epoch,
    before: IngestId,
    watermark: IngestId,
    /// `room ␟ seq` → outcome, as written by `stored.lua`.
    exceptions: HashMap<String, String>,
}

impl WatermarkNotice {
    /// Parses the payload that `stored.lua` publishes. Lines that it cannot parse are left out. `first` is the partition
    /// of the first watermark: earlier versions of persistence do not name it.
    fn parse_all(payload: &str, first: Partition) -> Vec<Self> {
        let mut notices: Vec<Self> = Vec::new();
        for line in payload.split('\n') {
            if let Some((at, outcome)) = line.rsplit_once('\u{1f}') {
                if let Some(notice) = notices.last_mut() {
                    notice.exceptions.insert(at.to_owned(), outcome.to_owned());
                }
            } else if let Some(notice) = Self::parse(line, first) {
                notices.push(notice);
            }
        }
        notices
    }

    /// Parses a line without exceptions.
    fn parse(line: &str, first: Partition) -> Option<Self> {
        let mut words = line.split(' ');
        let epoch = Epoch(words.next()?.parse().ok()?);
        let before = words.next()?.parse().ok()?;
        let watermark = words.next()?.parse().ok()?;
        let partition = words.next().map_or(Some(first), Partition::parse)?;
        Some(Self { partition, epoch, before, watermark, exceptions: HashMap::new() })
    }
}

/// The stored watermark and the awaited events of each partition, under one lock per partition.
pub struct Watermarks {
    sessions: Arc<Sessions>,
    partitions: Vec<Mutex<Progress>>,
}

impl Watermarks {
    /// Starts the tasks that read watermarks and end old waits, on the current runtime. They end when the value is
    /// dropped.
    pub(super) fn start(sessions: Arc<Sessions>) -> Arc<Self> {
        let partitions = (0..PARTITIONS).map(|_| Mutex::default()).collect();
        let watermarks = Arc::new(Self { sessions, partitions });
        let weak = Arc::downgrade(&watermarks);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(POLL_EVERY).await;
                let Some(watermarks) = weak.upgrade() else { return };
                watermarks.poll_awaited_partitions().await;
            }
        });
        let weak = Arc::downgrade(&watermarks);
        // A separate task ends old waits, because the task above may be waiting for Redis.
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(POLL_EVERY).await;
                let Some(watermarks) = weak.upgrade() else { return };
                let now = Instant::now();
                Partition::all().for_each(|partition| watermarks.progress(partition).end_old_waits(now));
            }
        });
        watermarks
    }

    fn progress(&self, partition: Partition) -> std::sync::MutexGuard<'_, Progress> {
        // A poisoned lock is usable, because no code under it can panic half-way through a change.
        self.partitions[usize::from(partition.0)].lock().unwrap_or_else(PoisonError::into_inner)
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
        if self.add(room, accepted, ingest, ResultSender::Task(task)) {
            self.poll(&[Partition::of(room)]).await;
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
        let receiver = ResultSender::Queue(queue.clone(), ticket);
        let Some(ingest) = accepted.ingest else { return receiver.send(Stored::AsAccepted) };
        if self.add(room, accepted, ingest, receiver) {
            let (watermarks, partition) = (self.clone(), Partition::of(room));
            tokio::spawn(async move { watermarks.poll(&[partition]).await });
        }
    }

    /// Adds an awaited event. Returns true if the watermark already covers the event. Then Redis must be read, because
    /// an earlier notice may have contained an exception for the event.
    fn add(&self, room: &RoomId, accepted: &Accepted, ingest: IngestId, receiver: ResultSender) -> bool {
        let mut progress = self.progress(Partition::of(room));
        if progress.epoch > accepted.epoch {
            receiver.send(Stored::Unavailable);
            return false;
        }
        let at = format!("{room}\u{1f}{}", accepted.seq);
        let until = Instant::now() + STORED_TIMEOUT;
        progress.waiting.entry(ingest).or_default().push(Waiter {
            epoch: accepted.epoch,
            at,
            until,
            receiver,
        });
        progress.epoch == accepted.epoch && progress.watermark >= ingest
    }

    /// Takes the payload of a message on a watermark channel. Returns false if the channel is another one.
    pub fn apply_notice(self: &Arc<Self>, channel: &str, payload: &[u8]) -> bool {
        let Some(partition) = Partition::of_stored_channel(channel) else { return false };
        let payload = std::str::from_utf8(payload).unwrap_or_default();
        let notices = WatermarkNotice::parse_all(payload, partition);
        let missed: Vec<Partition> =
            notices.iter().filter(|notice| !self.follows(notice)).map(|notice| notice.partition).collect();
        if !missed.is_empty() {
            let watermarks = self.clone();
            tokio::spawn(async move { watermarks.poll(&missed).await });
        }
        true
    }

    /// Takes a partition's watermark. Returns false, and takes nothing, if it does not follow the known watermark: an
    /// earlier notice with an exception may be lost, so Redis must be read.
    fn follows(&self, notice: &WatermarkNotice) -> bool {
        let mut progress = self.progress(notice.partition);
        let follows = progress.waiting.is_empty()
            || notice.epoch == progress.epoch && notice.before <= progress.watermark;
        if follows {
            // This notice does not contain exceptions at or below the previous watermark.
            let known = |id, _: &Waiter| id > notice.before;
            progress.settle(notice.epoch, notice.watermark, &notice.exceptions, known);
        }
        follows
    }

    async fn poll_awaited_partitions(&self) {
        let waited: Vec<_> = Partition::all().filter(|p| !self.progress(*p).waiting.is_empty()).collect();
        if !waited.is_empty() {
            self.poll(&waited).await;
        }
    }

    async fn poll(&self, partitions: &[Partition]) {
        let Ok(session) = self.sessions.get().await else { return };
        for partition in partitions {
            match self.poll_partition(&session, *partition).await {
                Ok(Some(epoch)) if epoch > session.epoch => {
                    // Another epoch was opened after the session's. Events that are appended in the session's epoch
                    // would never be stored, so the session must end.
                    self.sessions.discard(&session);
                    return;
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "reading the stored watermark failed");
                    if ends_session(&error) {
                        self.sessions.discard(&session);
                    }
                    return;
                }
            }
        }
    }

    /// Reads a partition's watermark, and then the exceptions (records that were not stored as sent) among the awaited
    /// events up to this watermark. Answers the waiters of these events. Returns the epoch of the watermark.
    async fn poll_partition(
        &self,
        session: &Session,
        partition: Partition,
    ) -> Result<Option<Epoch>, RedisError> {
        let mut connection = session.connection();
        let seen: Option<String> =
            redis::cmd("GET").arg(partition.stored()).query_async(&mut connection).await?;
        let Some((epoch, watermark)) = seen.as_deref().and_then(read_watermark) else { return Ok(None) };
        let asked: Vec<String> = {
            let mut progress = self.progress(partition);
            progress.settle(epoch, watermark, &HashMap::new(), |_, _| false);
            let covered = progress.waiting.range(..=watermark).flat_map(|(_, waiters)| waiters);
            covered.filter(|waiter| waiter.epoch == epoch).map(|waiter| waiter.at.clone()).collect()
        };
        if asked.is_empty() {
            return Ok(Some(epoch));
        }
        // One script writes exceptions and watermark together, and the exceptions are read after the watermark, so no
        // exception up to the watermark is missing. MULTI is not used, because Redis refuses it when its memory is
        // full.
        let key = partition.exceptions();
        let mut pipe = redis::pipe();
        pipe.cmd("HMGET").arg(&key).arg(&asked).cmd("HMGET").arg(format!("{key}:old")).arg(&asked);
        let (recent, old): (Vec<Option<String>>, Vec<Option<String>>) =
            pipe.query_async(&mut connection).await?;
        let outcomes = asked.iter().cloned().zip(recent.into_iter().zip(old));
        let exceptions = outcomes.filter_map(|(at, (recent, old))| Some((at, recent.or(old)?))).collect();
        let asked: HashSet<String> = asked.into_iter().collect();
        self.progress(partition)
            .settle(epoch, watermark, &exceptions, |_, waiter| asked.contains(&waiter.at));
        Ok(Some(epoch))
    }
}

/// Parses the stored watermark of a partition as Redis holds it: `<epoch> <ingest id>`.
pub fn read_watermark(value: &str) -> Option<(Epoch, IngestId)> {
    let (epoch, id) = value.split_once(' ')?;
    Some((Epoch(epoch.parse().ok()?), id.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notice_tells_of_each_partition_with_its_exceptions() {
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
    fn notice_without_a_partition_is_of_its_channel() {
        let notices = WatermarkNotice::parse_all("5 0-0 7-1", Partition(9));
        assert_eq!(notices.len(), 1);
        assert_eq!((notices[0].partition, notices[0].epoch), (Partition(9), Epoch(5)));
    }
}
