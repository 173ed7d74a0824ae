//! Waiters for "stored". There is one watermark (epoch, ingest id) per partition, updated by notices and, while there
//! are waiters, by reading Redis every second. Watermark and exceptions are always taken together, so that no waiter
//! misses its exception.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use redis::RedisError;
use tokio::sync::oneshot;

use super::{
    append::Accepted,
    keys::{PARTITIONS, Partition},
    record::IngestId,
    session::{Session, Sessions, ends_session},
};
use crate::ids::{Epoch, RoomId, Seq};

/// How long a sender waits. After this time the answer is `unavailable`, and the sender may repeat the client id on any
/// node.
pub const STORED_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the watermark is read while there are waiters; this bounds the delay after a lost notice.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// The result of a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// Committed at the position at which it was accepted.
    Here,
    /// A late duplicate: the first message of this client id is at `seq`.
    First { seq: Seq, id: String, at_ms: i64 },
    /// The event could not be stored.
    Rejected,
    /// It is unknown whether the event is stored; the sender may repeat the client id.
    Unavailable,
}

/// A notice that a watermark has moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkNotice {
    pub epoch: Epoch,
    pub before: IngestId,
    pub watermark: IngestId,
    /// `room ␟ seq` → outcome, as written by `stored.lua`.
    exceptions: HashMap<String, String>,
}

impl WatermarkNotice {
    /// Parses the payload that `stored.lua` publishes; `None`: malformed.
    #[must_use]
    pub fn parse(payload: &str) -> Option<Self> {
        let mut lines = payload.split('\n');
        let mut words = lines.next()?.split(' ');
        let epoch = Epoch(words.next()?.parse().ok()?);
        let before = words.next()?.parse().ok()?;
        let watermark = words.next()?.parse().ok()?;
        let exception =
            |line: &str| line.rsplit_once('\u{1f}').map(|(at, outcome)| (at.to_owned(), outcome.to_owned()));
        Some(Self { epoch, before, watermark, exceptions: lines.filter_map(exception).collect() })
    }
}

struct Waiter {
    epoch: Epoch,
    /// Room and seq, separated by U+001F: the key of this record in `WatermarkNotice::exceptions`.
    at: String,
    outcome: oneshot::Sender<Stored>,
}

#[derive(Default)]
struct Progress {
    epoch: Epoch,
    watermark: IngestId,
    waiting: BTreeMap<IngestId, Vec<Waiter>>,
}

impl Progress {
    /// Takes a watermark, and answers waiters at or below it. `known` says for which of them `exceptions` is complete;
    /// the other waiters wait until their exceptions were read.
    fn settle(
        &mut self,
        epoch: Epoch,
        watermark: IngestId,
        exceptions: &HashMap<String, String>,
        known: impl Fn(IngestId, &Waiter) -> bool,
    ) {
        if (epoch, watermark) > (self.epoch, self.watermark) {
            self.epoch = epoch;
            self.watermark = watermark;
        }
        for (id, waiters) in self.waiting.range_mut(..=watermark) {
            for waiter in waiters.extract_if(.., |waiter| waiter.epoch == epoch && known(*id, waiter)) {
                let outcome =
                    exceptions.get(&waiter.at).map_or(Stored::Here, |outcome| read_outcome(outcome));
                // The waiter may have timed out.
                let _ = waiter.outcome.send(outcome);
            }
        }
        // Waiters of an earlier epoch would never be answered, because ingest ids of two epochs cannot be compared.
        let present = self.epoch;
        for waiters in self.waiting.values_mut() {
            for waiter in waiters.extract_if(.., |waiter| waiter.epoch < present) {
                let _ = waiter.outcome.send(Stored::Unavailable);
            }
        }
        self.forget_cancelled();
    }

    fn forget_cancelled(&mut self) {
        self.waiting.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.outcome.is_closed());
            !waiters.is_empty()
        });
    }
}

fn read_outcome(text: &str) -> Stored {
    if text == "rejected" {
        return Stored::Rejected;
    }
    let mut words = text.split(' ');
    let mut first = || {
        Some(Stored::First {
            seq: Seq(words.next()?.parse().ok()?),
            id: words.next()?.to_owned(),
            at_ms: words.next()?.parse().ok()?,
        })
    };
    first().unwrap_or(Stored::Unavailable)
}

/// The waiters of all partitions. Each partition has a lock, which is held only for map operations.
pub struct Watermarks {
    sessions: Arc<Sessions>,
    partitions: Vec<Mutex<Progress>>,
}

impl Watermarks {
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
        watermarks
    }

    fn progress(&self, partition: Partition) -> std::sync::MutexGuard<'_, Progress> {
        // A poisoned lock is usable, because no code under it can panic half-way through a change.
        self.partitions[usize::from(partition.0)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until an accepted event is stored, at most [`STORED_TIMEOUT`].
    pub async fn wait(self: &Arc<Self>, room: &RoomId, accepted: &Accepted) -> Stored {
        tokio::time::timeout(STORED_TIMEOUT, self.wait_unbounded(room, accepted))
            .await
            .unwrap_or(Stored::Unavailable)
    }

    async fn wait_unbounded(self: &Arc<Self>, room: &RoomId, accepted: &Accepted) -> Stored {
        let Some(ingest) = accepted.ingest else { return Stored::Here };
        let partition = Partition::of(room);
        let (outcome, stored) = oneshot::channel();
        let already = {
            let mut progress = self.progress(partition);
            if progress.epoch > accepted.epoch {
                return Stored::Unavailable;
            }
            let waiter =
                Waiter { epoch: accepted.epoch, at: format!("{room}\u{1f}{}", accepted.seq), outcome };
            progress.waiting.entry(ingest).or_default().push(waiter);
            progress.epoch == accepted.epoch && progress.watermark >= ingest
        };
        if already {
            // The notice of this event came before the waiter was added, and may have contained an exception: read
            // Redis.
            self.poll(&[partition]).await;
        }
        stored.await.unwrap_or(Stored::Unavailable)
    }

    /// Takes a notice from the partition's channel. If the notice does not follow the known watermark, an earlier
    /// notice with an exception may be lost; then Redis is read instead.
    pub fn notice(self: &Arc<Self>, partition: Partition, notice: &WatermarkNotice) {
        let follows = {
            let mut progress = self.progress(partition);
            let follows = progress.waiting.is_empty()
                || notice.epoch == progress.epoch && notice.before <= progress.watermark;
            if follows {
                // This notice does not contain exceptions at or below the previous watermark.
                let known = |id, _: &Waiter| id > notice.before;
                progress.settle(notice.epoch, notice.watermark, &notice.exceptions, known);
            }
            follows
        };
        if !follows {
            let watermarks = self.clone();
            tokio::spawn(async move { watermarks.poll(&[partition]).await });
        }
    }

    async fn poll_awaited_partitions(&self) {
        for partition in Partition::all() {
            self.progress(partition).forget_cancelled();
        }
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
                    // The process was opened again in a later epoch than the session's: events that are appended in the
                    // old epoch are never stored.
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
    /// records up to it. Answers the waiters of all these records. Returns the epoch of the watermark.
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
        // Exceptions are written together with the watermark and read after it, so no exception up to the watermark is
        // missing. No MULTI, because Redis refuses it when its memory is full.
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

/// Parses the value of a "stored" key: `<epoch> <ingest id>`.
#[must_use]
pub fn read_watermark(value: &str) -> Option<(Epoch, IngestId)> {
    let (epoch, id) = value.split_once(' ')?;
    Some((Epoch(epoch.parse().ok()?), id.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(progress: &mut Progress, id: u64, seq: u64) -> oneshot::Receiver<Stored> {
        let (outcome, stored) = oneshot::channel();
        let waiter = Waiter { epoch: Epoch(1), at: format!("r\u{1f}{seq}"), outcome };
        progress.waiting.entry(IngestId { ms: id, n: 0 }).or_default().push(waiter);
        stored
    }

    fn at(ms: u64) -> IngestId {
        IngestId { ms, n: 0 }
    }

    fn rejected(seq: u64) -> HashMap<String, String> {
        HashMap::from([(format!("r\u{1f}{seq}"), "rejected".to_owned())])
    }

    #[test]
    fn waiter_after_its_notice_is_not_answered_by_the_next_notice() {
        let mut progress = Progress::default();
        progress.settle(Epoch(1), at(5), &rejected(3), |_, _| true);
        let mut late = waiter(&mut progress, 4, 3);
        let mut next = waiter(&mut progress, 7, 9);
        progress.settle(Epoch(1), at(8), &HashMap::new(), |id, _| id > at(5));
        assert_eq!(next.try_recv(), Ok(Stored::Here));
        assert!(late.try_recv().is_err(), "it is not known yet whether it is an exception");
        // A read that includes its exception answers it, although the watermark of this read is lower.
        progress.settle(Epoch(1), at(6), &rejected(3), |_, waiter| waiter.at.ends_with("\u{1f}3"));
        assert_eq!(late.try_recv(), Ok(Stored::Rejected));
        assert_eq!(progress.watermark, at(8), "the watermark never moves back");
    }

    #[test]
    fn later_epoch_ends_waits_of_the_previous_one() {
        let mut progress = Progress::default();
        let mut waiting = waiter(&mut progress, 4, 3);
        progress.settle(Epoch(2), at(1), &HashMap::new(), |_, _| true);
        assert_eq!(waiting.try_recv(), Ok(Stored::Unavailable));
    }
}
