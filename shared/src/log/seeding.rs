//! Asks persistence to seed rooms (write their heads into Redis for the present epoch), for many callers. Further rooms
//! are collected while a request runs, so that many reconnects at once need few requests.
//!
//! There are two lanes with one request at a time each. Rooms that cannot be seeded yet, usually because another
//! transaction holds the lock of their partition, move to the second lane, which requests them again. So they do not
//! delay rooms of other partitions.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot};

use super::{
    authority::{Authority, AuthorityError, SeedOutcome},
    keys::Partition,
};
use crate::ids::{Epoch, RoomId};

/// Maximum number of callers whose rooms are requested together.
const MAX_SEEDS_PER_REQUEST: usize = 200;
/// Maximum number of callers in the queue of a lane. If the first queue is full, callers wait for space. If the second
/// queue is full, callers are answered [`SeedOutcome::Later`].
const QUEUE_CAPACITY: usize = 4096;
/// How long the seed of a room of a busy partition is retried. Then its callers are answered [`SeedOutcome::Later`].
const RETRY_FOR: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(50);

type SeedResult = Result<SeedOutcome, AuthorityError>;

/// A caller who waits until a room is seeded.
struct QueuedSeed {
    epoch: Epoch,
    room: RoomId,
    queued_at: Instant,
    answer: oneshot::Sender<SeedResult>,
}

impl QueuedSeed {
    fn answer(self, answer: SeedResult) {
        // Sending fails if the caller was cancelled.
        let _ = self.answer.send(answer);
    }
}

/// Partitions with a room that persistence could not seed at the last request.
#[derive(Debug, Default)]
struct BusyPartitions(Mutex<HashSet<Partition>>);

impl BusyPartitions {
    fn lock(&self) -> MutexGuard<'_, HashSet<Partition>> {
        // A poisoned lock is usable, because no code that holds the lock can panic in the middle of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue of rooms to seed. All clones share the queue.
#[derive(Debug, Clone)]
pub(super) struct SeedQueue {
    queue: mpsc::Sender<QueuedSeed>,
}

impl SeedQueue {
    /// Starts the tasks that send the rooms to `authority`, on the current runtime. The tasks end when all clones are
    /// dropped.
    pub fn start(authority: Arc<dyn Authority>) -> Self {
        let (queue, wanted) = mpsc::channel(QUEUE_CAPACITY);
        let (retries, retried) = mpsc::channel(QUEUE_CAPACITY);
        let busy = Arc::<BusyPartitions>::default();
        tokio::spawn(serve_first_lane(authority.clone(), wanted, retries, busy.clone()));
        tokio::spawn(serve_second_lane(authority, retried, busy));
        Self { queue }
    }

    /// Waits until persistence has seeded the room, together with rooms of other callers.
    pub async fn seed(&self, epoch: Epoch, room: RoomId) -> SeedResult {
        let (answer, outcome) = oneshot::channel();
        let stopped = || AuthorityError::Unavailable("shutting down".to_owned());
        let queued = QueuedSeed { epoch, room, queued_at: Instant::now(), answer };
        self.queue.send(queued).await.map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())?
    }
}

async fn serve_first_lane(
    authority: Arc<dyn Authority>,
    mut wanted: mpsc::Receiver<QueuedSeed>,
    retries: mpsc::Sender<QueuedSeed>,
    busy: Arc<BusyPartitions>,
) {
    let mut batch = Vec::new();
    while wanted.recv_many(&mut batch, MAX_SEEDS_PER_REQUEST).await > 0 {
        let mut later: Vec<QueuedSeed> = {
            let busy = busy.lock();
            batch.extract_if(.., |seed| busy.contains(&Partition::of(&seed.room))).collect()
        };
        later.extend(seed_batch(authority.as_ref(), &mut batch, &busy).await);
        for seed in later {
            if let Err(full) = retries.try_send(seed) {
                full.into_inner().answer(Ok(SeedOutcome::Later));
            }
        }
    }
}

async fn serve_second_lane(
    authority: Arc<dyn Authority>,
    mut retried: mpsc::Receiver<QueuedSeed>,
    busy: Arc<BusyPartitions>,
) {
    let mut batch = Vec::new();
    while !batch.is_empty() || retried.recv_many(&mut batch, MAX_SEEDS_PER_REQUEST).await > 0 {
        while batch.len() < MAX_SEEDS_PER_REQUEST
            && let Ok(seed) = retried.try_recv()
        {
            batch.push(seed);
        }
        let mut later = seed_batch(authority.as_ref(), &mut batch, &busy).await;
        later.extract_if(.., |seed| seed.queued_at.elapsed() > RETRY_FOR).for_each(|seed| {
            seed.answer(Ok(SeedOutcome::Later));
        });
        if !later.is_empty() {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        batch = later;
    }
}

/// Requests the rooms of a batch, and answers their callers. Returns the callers whose rooms cannot be seeded yet.
async fn seed_batch(
    authority: &dyn Authority,
    batch: &mut Vec<QueuedSeed>,
    busy: &BusyPartitions,
) -> Vec<QueuedSeed> {
    let mut by_epoch: HashMap<Epoch, HashMap<RoomId, Vec<QueuedSeed>>> = HashMap::new();
    for seed in batch.drain(..) {
        by_epoch.entry(seed.epoch).or_default().entry(seed.room.clone()).or_default().push(seed);
    }
    let mut later = Vec::new();
    for (epoch, callers) in by_epoch {
        let (rooms, callers): (Vec<RoomId>, Vec<_>) = callers.into_iter().unzip();
        let outcomes: Vec<SeedResult> = match authority.seed(epoch, &rooms).await {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); rooms.len()],
        };
        for ((room, outcome), callers) in rooms.iter().zip(outcomes).zip(callers) {
            let is_busy = outcome == Ok(SeedOutcome::Later);
            if is_busy {
                busy.lock().insert(Partition::of(room));
                later.extend(callers);
            } else {
                busy.lock().remove(&Partition::of(room));
                callers.into_iter().for_each(|caller| caller.answer(outcome.clone()));
            }
        }
    }
    later
}
