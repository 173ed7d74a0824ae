//! Who waits for "stored": one watermark (epoch, ingest id) per partition, fed by notices and, while someone waits,
//! by reading Redis every second. Watermark and exceptions are always taken together.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    append::Accepted,
    keys::{PARTITIONS, Partition},
    record::IngestId,
    session::Sessions,
};
use crate::ids::{Epoch, RoomId, Seq};

/// Without a notice by then the sender is told `unavailable` and may repeat the client id anywhere.
pub const STORED_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the watermark is read while someone waits: a lost notice costs no more than this.
const REREAD_EVERY: Duration = Duration::from_secs(1);

/// How a wait ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// Committed where it was accepted.
    Here,
    /// A late duplicate: the client id's message stands at `seq`.
    First { seq: Seq, id: String, at_ms: i64 },
    /// It could not be written.
    Rejected,
    /// Not known: repeat the client id.
    Unavailable,
}

/// What the notice of a watermark tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub epoch: Epoch,
    pub before: IngestId,
    pub watermark: IngestId,
    /// `room ␟ seq` → outcome, as `stored.lua` writes them.
    exceptions: HashMap<String, String>,
}

impl Notice {
    /// Reads the payload that `stored.lua` publishes; `None` when it has another form.
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
    /// `room ␟ seq`, the field of an exception.
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
    /// Takes a watermark that was read together with its exceptions, and answers all it covers.
    fn advance(&mut self, epoch: Epoch, watermark: IngestId, exceptions: &HashMap<String, String>) {
        if (epoch, watermark) < (self.epoch, self.watermark) {
            return;
        }
        self.epoch = epoch;
        self.watermark = watermark;
        let mut later = self.waiting.split_off(&watermark);
        if let Some(at) = later.remove(&watermark) {
            self.waiting.insert(watermark, at);
        }
        let covered = std::mem::replace(&mut self.waiting, later);
        for (id, waiters) in covered {
            for waiter in waiters {
                if waiter.epoch == epoch {
                    let outcome =
                        exceptions.get(&waiter.at).map_or(Stored::Here, |outcome| read_outcome(outcome));
                    let _ = waiter.outcome.send(outcome);
                } else if waiter.epoch > epoch {
                    self.waiting.entry(id).or_default().push(waiter);
                } else {
                    let _ = waiter.outcome.send(Stored::Unavailable);
                }
            }
        }
        // A wait of an earlier epoch never ends otherwise: its ids are not those of this epoch.
        for waiters in self.waiting.values_mut() {
            for waiter in waiters.extract_if(.., |waiter| waiter.epoch < epoch) {
                let _ = waiter.outcome.send(Stored::Unavailable);
            }
        }
        self.forget_those_who_gave_up();
    }

    fn forget_those_who_gave_up(&mut self) {
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

/// The waits of all partitions. A lock is held for a map operation only, and per partition.
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
                tokio::time::sleep(REREAD_EVERY).await;
                let Some(watermarks) = weak.upgrade() else { return };
                watermarks.reread_where_someone_waits().await;
            }
        });
        watermarks
    }

    fn progress(&self, partition: Partition) -> std::sync::MutexGuard<'_, Progress> {
        // No code that runs under the lock can panic half-way through a change.
        self.partitions[usize::from(partition.0)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until what was accepted is stored, at most [`STORED_TIMEOUT`].
    pub async fn wait(self: &Arc<Self>, room: &RoomId, accepted: &Accepted) -> Stored {
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
            // Its notice has gone by, perhaps with an exception.
            self.reread(&[partition]).await;
        }
        match tokio::time::timeout(STORED_TIMEOUT, stored).await {
            Ok(Ok(outcome)) => outcome,
            _ => Stored::Unavailable,
        }
    }

    /// Takes a notice from the partition's channel. One that does not follow on what is known might hide an
    /// exception of a notice that was lost: then Redis is read instead.
    pub fn notice(self: &Arc<Self>, partition: Partition, notice: &Notice) {
        let follows = {
            let mut progress = self.progress(partition);
            if progress.waiting.is_empty() && notice.epoch >= progress.epoch {
                progress.epoch = notice.epoch;
                progress.watermark = notice.watermark;
                return;
            }
            let follows = notice.epoch == progress.epoch && notice.before <= progress.watermark;
            if follows {
                progress.advance(notice.epoch, notice.watermark, &notice.exceptions);
            }
            follows
        };
        if !follows {
            let watermarks = self.clone();
            tokio::spawn(async move { watermarks.reread(&[partition]).await });
        }
    }

    async fn reread_where_someone_waits(&self) {
        for partition in Partition::all() {
            self.progress(partition).forget_those_who_gave_up();
        }
        let waited: Vec<_> = Partition::all().filter(|p| !self.progress(*p).waiting.is_empty()).collect();
        if !waited.is_empty() {
            self.reread(&waited).await;
        }
    }

    async fn reread(&self, partitions: &[Partition]) {
        let Ok(session) = self.sessions.get().await else { return };
        for partition in partitions {
            let fields: Vec<String> = self
                .progress(*partition)
                .waiting
                .values()
                .flatten()
                .map(|waiter| waiter.at.clone())
                .collect();
            if fields.is_empty() {
                continue;
            }
            let key = partition.exceptions();
            let mut pipe = redis::pipe();
            pipe.atomic().cmd("GET").arg(partition.stored());
            pipe.cmd("HMGET").arg(&key).arg(&fields).cmd("HMGET").arg(format!("{key}:old")).arg(&fields);
            type Read = (Option<String>, Vec<Option<String>>, Vec<Option<String>>);
            let mut connection = session.connection();
            let (watermark, recent, old): Read = match pipe.query_async(&mut connection).await {
                Ok(read) => read,
                Err(error) => {
                    tracing::debug!(%error, "reading the stored watermark failed");
                    self.sessions.discard(&session);
                    return;
                }
            };
            let Some((epoch, watermark)) = watermark.as_deref().and_then(read_watermark) else { continue };
            let exceptions = fields.into_iter().zip(recent.into_iter().zip(old));
            let exceptions =
                exceptions.filter_map(|(at, (recent, old))| Some((at, recent.or(old)?))).collect();
            self.progress(*partition).advance(epoch, watermark, &exceptions);
            if epoch > session.epoch {
                // This process was opened anew meanwhile: what is appended in the old epoch is never stored.
                self.sessions.discard(&session);
                return;
            }
        }
    }
}

/// Reads the value of a stored key: `<epoch> <ingest id>`.
#[must_use]
pub fn read_watermark(value: &str) -> Option<(Epoch, IngestId)> {
    let (epoch, id) = value.split_once(' ')?;
    Some((Epoch(epoch.parse().ok()?), id.parse().ok()?))
}
