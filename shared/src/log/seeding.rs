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

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};

use super::{
    authority::{Authority, AuthorityError, SeedOutcome},
    keys::{Partition, PartitionSet},
    session::Session,
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
    /// Whether the epoch is the one of all partitions, as with one Redis. Then it ends for all partitions at once.
    is_of_all_partitions: bool,
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

    /// Waits until persistence has seeded the room in the epoch of the session, together with rooms of other callers.
    pub async fn seed(&self, session: &Session, room: RoomId) -> SeedResult {
        let (answer, outcome) = oneshot::channel();
        let stopped = || AuthorityError::Unavailable("shutting down".to_owned());
        let (epoch, is_of_all_partitions) = (session.epoch, session.partitions == PartitionSet::ALL);
        let queued = QueuedSeed { epoch, is_of_all_partitions, room, queued_at: Instant::now(), answer };
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

/// Requests the rooms of a batch, and answers their callers. Returns the callers whose rooms cannot be seeded yet. The
/// rooms of different epochs, which are those of different shards, are requested concurrently.
async fn seed_batch(
    authority: &dyn Authority,
    batch: &mut Vec<QueuedSeed>,
    busy: &BusyPartitions,
) -> Vec<QueuedSeed> {
    let mut by_epoch: HashMap<(Epoch, bool), HashMap<RoomId, Vec<QueuedSeed>>> = HashMap::new();
    for seed in batch.drain(..) {
        let rooms = by_epoch.entry((seed.epoch, seed.is_of_all_partitions)).or_default();
        rooms.entry(seed.room.clone()).or_default().push(seed);
    }
    let requests = by_epoch.into_iter().map(|((epoch, is_of_all_partitions), callers)| {
        seed_in_epoch(authority, epoch, is_of_all_partitions, callers, busy)
    });
    join_all(requests).await.into_iter().flatten().collect()
}

/// [`seed_batch`] for rooms of one epoch.
async fn seed_in_epoch(
    authority: &dyn Authority,
    epoch: Epoch,
    is_of_all_partitions: bool,
    callers: HashMap<RoomId, Vec<QueuedSeed>>,
    busy: &BusyPartitions,
) -> Vec<QueuedSeed> {
    let mut callers: Vec<_> = callers.into_iter().collect();
    callers.sort_by_key(|(room, _)| Partition::of(room));
    let (rooms, callers): (Vec<RoomId>, Vec<_>) = callers.into_iter().unzip();
    let mut outcomes = request_seeds(authority, epoch, &rooms).await;
    if !is_of_all_partitions && outcomes.contains(&Err(AuthorityError::EpochEnded)) {
        // The epoch may have ended only for some partitions. So the rooms of each partition are requested alone.
        outcomes.clear();
        let by_partition: Vec<&[RoomId]> =
            rooms.chunk_by(|a, b| Partition::of(a) == Partition::of(b)).collect();
        for rooms in by_partition {
            outcomes.extend(request_seeds(authority, epoch, rooms).await);
        }
    }
    let mut later = Vec::new();
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
    later
}

/// Requests rooms of one epoch. Returns one result for each room.
async fn request_seeds(authority: &dyn Authority, epoch: Epoch, rooms: &[RoomId]) -> Vec<SeedResult> {
    match authority.seed(epoch, rooms).await {
        Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error); rooms.len()],
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::{
        ids::{ClientId, Seq, UserId},
        log::authority::{KnownClientId, OpenedEpoch, StoredMarks},
        message::Target,
    };

    /// An authority for which the epoch of one partition has ended.
    struct EndedIn(Partition);

    #[async_trait]
    impl Authority for EndedIn {
        async fn open_epochs(
            &self,
            _: &str,
            _: &[Partition],
        ) -> Result<Vec<(Partition, OpenedEpoch)>, AuthorityError> {
            unreachable!()
        }

        async fn seed(&self, _: Epoch, rooms: &[RoomId]) -> Result<Vec<SeedOutcome>, AuthorityError> {
            if rooms.iter().any(|room| Partition::of(room) == self.0) {
                return Err(AuthorityError::EpochEnded);
            }
            Ok(vec![SeedOutcome::Seeded; rooms.len()])
        }

        async fn look_up(
            &self,
            _: &RoomId,
            _: &UserId,
            _: &ClientId,
        ) -> Result<Option<KnownClientId>, AuthorityError> {
            unreachable!()
        }

        async fn marks(&self, _: &RoomId, _: &[UserId]) -> Result<StoredMarks, AuthorityError> {
            unreachable!()
        }

        async fn roles(&self, _: &RoomId, _: &[UserId]) -> Result<Vec<Option<String>>, AuthorityError> {
            unreachable!()
        }

        async fn target(&self, _: &RoomId, _: Seq) -> Result<Option<Target>, AuthorityError> {
            unreachable!()
        }
    }

    /// Seeds one room of each partition in one request. Returns the partitions for which the epoch has ended.
    async fn ended_partitions(is_of_all_partitions: bool) -> Vec<Partition> {
        let (mut batch, mut answers, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        let rooms = (0..).map(|n| RoomId::parse(&format!("room{n}")).unwrap());
        for room in rooms.filter(|room| seen.insert(Partition::of(room))).take(64) {
            let (answer, outcome) = oneshot::channel();
            answers.push((Partition::of(&room), outcome));
            let queued_at = Instant::now();
            batch.push(QueuedSeed { epoch: Epoch(3), is_of_all_partitions, room, queued_at, answer });
        }
        let later = seed_batch(&EndedIn(Partition(7)), &mut batch, &BusyPartitions::default()).await;
        assert!(later.is_empty());
        let mut ended = Vec::new();
        for (partition, outcome) in answers {
            match outcome.await.unwrap() {
                Ok(SeedOutcome::Seeded) => {}
                Err(AuthorityError::EpochEnded) => ended.push(partition),
                other => panic!("{other:?}"),
            }
        }
        ended
    }

    #[tokio::test]
    async fn ended_epoch_of_a_partition_fails_its_rooms_only() {
        assert_eq!(ended_partitions(false).await, [Partition(7)]);
        assert_eq!(
            ended_partitions(true).await.len(),
            64,
            "with one Redis, one answer is for all partitions"
        );
    }
}
