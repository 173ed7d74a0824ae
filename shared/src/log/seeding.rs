//! Asks persistence to seed rooms (write their heads into Redis for the present epoch), for many callers. A request has
//! the waiting rooms of few partitions, because it locks the rows of these partitions and so excludes the writer and
//! other requests from them. Two requests of different partitions run at a time. A busy partition, whose rooms could not
//! be seeded at the last request, is requested again apart from others.

use std::{collections::HashMap, sync::Arc, time::Instant};

use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};
use tokio::sync::{mpsc, oneshot};

use self::waiting::{MAX_WAITING_FOR_BUSY_PARTITION, WaitingSeeds};
use super::{
    authority::{Authority, AuthorityError, SeedOutcome},
    keys::{Partition, PartitionSet},
    session::Session,
};
use crate::ids::{Epoch, RoomId};

mod waiting;

/// Maximum number of callers whose rooms are requested together.
const MAX_SEEDS_PER_REQUEST: usize = 200;
const MAX_REQUESTS: usize = 2;
/// Maximum number of callers that the task holds. More callers wait for space. Busy partitions cannot take all of it.
const MAX_WAITING: usize = 64 * MAX_WAITING_FOR_BUSY_PARTITION;

type SeedResult = Result<SeedOutcome, AuthorityError>;

/// A caller who waits until a room is seeded.
struct QueuedSeed {
    epoch: Epoch,
    /// Whether the epoch is the one of all partitions, as with one Redis. Then it ends for all partitions at once.
    is_of_all_partitions: bool,
    room: RoomId,
    partition: Partition,
    queued_at: Instant,
    answer: oneshot::Sender<SeedResult>,
}

impl QueuedSeed {
    fn answer(self, answer: SeedResult) {
        // Sending fails if the caller was cancelled.
        let _ = self.answer.send(answer);
    }
}

/// The queue of rooms to seed. All clones share the queue.
#[derive(Debug, Clone)]
pub(super) struct SeedQueue {
    queue: mpsc::Sender<QueuedSeed>,
}

impl SeedQueue {
    /// Starts the task that sends the rooms to `authority`, on the current runtime. The task ends when all clones are
    /// dropped.
    pub fn start(authority: Arc<dyn Authority>) -> Self {
        let (queue, wanted) = mpsc::channel(MAX_SEEDS_PER_REQUEST);
        tokio::spawn(serve(authority, wanted));
        Self { queue }
    }

    /// Waits until persistence has seeded the room in the epoch of the session, together with rooms of other callers.
    pub async fn seed(&self, session: &Session, room: RoomId) -> SeedResult {
        let (answer, outcome) = oneshot::channel();
        let stopped = || AuthorityError::Unavailable("shutting down".to_owned());
        let queued = QueuedSeed {
            epoch: session.epoch,
            is_of_all_partitions: session.partitions == PartitionSet::ALL,
            partition: Partition::of(&room),
            room,
            queued_at: Instant::now(),
            answer,
        };
        self.queue.send(queued).await.map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())?
    }
}

async fn serve(authority: Arc<dyn Authority>, mut wanted: mpsc::Receiver<QueuedSeed>) {
    let (mut waiting, mut requests) = (WaitingSeeds::default(), FuturesUnordered::new());
    let mut arrived = Vec::new();
    loop {
        while requests.len() < MAX_REQUESTS
            && let Some(batch) = waiting.take_batch(MAX_SEEDS_PER_REQUEST, Instant::now())
        {
            requests.push(seed_batch(authority.as_ref(), batch));
        }
        let space = MAX_WAITING.saturating_sub(waiting.len());
        let may_request = requests.len() < MAX_REQUESTS;
        let resume = async {
            match waiting.resumes_at().filter(|_| may_request) {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Without space, callers wait in the queue.
            count = wanted.recv_many(&mut arrived, space), if space > 0 => {
                if count == 0 {
                    return;
                }
                arrived.drain(..).for_each(|seed| waiting.add(seed));
            }
            Some(finished) = requests.next() => waiting.finish(finished, Instant::now()),
            () = resume => {}
        }
    }
}

/// The result of one request.
struct FinishedRequest {
    partitions: PartitionSet,
    /// The callers whose rooms cannot be seeded yet, usually because another transaction holds the lock of their
    /// partition.
    later: Vec<QueuedSeed>,
}

/// Requests the rooms of a batch, and answers the callers whose rooms are seeded or cannot be. The rooms of different
/// epochs, which are those of different shards, are requested concurrently.
async fn seed_batch(authority: &dyn Authority, batch: Vec<QueuedSeed>) -> FinishedRequest {
    let partitions = batch.iter().map(|seed| seed.partition).collect();
    let mut by_epoch: HashMap<(Epoch, bool), HashMap<RoomId, Vec<QueuedSeed>>> = HashMap::new();
    for seed in batch {
        let rooms = by_epoch.entry((seed.epoch, seed.is_of_all_partitions)).or_default();
        rooms.entry(seed.room.clone()).or_default().push(seed);
    }
    let requests = by_epoch.into_iter().map(|((epoch, is_of_all_partitions), callers)| {
        seed_in_epoch(authority, epoch, is_of_all_partitions, callers)
    });
    let later = join_all(requests).await.into_iter().flatten().collect();
    FinishedRequest { partitions, later }
}

/// [`seed_batch`] for rooms of one epoch. Returns the callers whose rooms cannot be seeded yet.
async fn seed_in_epoch(
    authority: &dyn Authority,
    epoch: Epoch,
    is_of_all_partitions: bool,
    callers: HashMap<RoomId, Vec<QueuedSeed>>,
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
    for (outcome, callers) in outcomes.into_iter().zip(callers) {
        if outcome == Ok(SeedOutcome::Later) {
            later.extend(callers);
        } else {
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

    use std::time::Duration;

    use super::*;
    use crate::{
        ids::{ClientId, Seq, UserId},
        log::authority::{KnownClientId, OpenedEpoch, StoredMarks},
        message::Target,
    };

    /// An authority that answers each request by its partitions.
    struct Answering<F>(F);

    #[async_trait]
    impl<F, A> Authority for Answering<F>
    where
        F: Fn(Vec<Partition>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Vec<SeedOutcome>, AuthorityError>> + Send + 'static,
    {
        async fn open_epochs(
            &self,
            _: &str,
            _: &[Partition],
        ) -> Result<Vec<(Partition, OpenedEpoch)>, AuthorityError> {
            unreachable!()
        }

        async fn seed(&self, _: Epoch, rooms: &[RoomId]) -> Result<Vec<SeedOutcome>, AuthorityError> {
            self.0(rooms.iter().map(Partition::of).collect()).await
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

    fn room_of(partition: Partition) -> RoomId {
        let mut rooms = (0..).map(|n| RoomId::parse(&format!("room{n}")).unwrap());
        rooms.find(|room| Partition::of(room) == partition).unwrap()
    }

    fn queued_seed(
        partition: Partition,
        is_of_all_partitions: bool,
    ) -> (QueuedSeed, oneshot::Receiver<SeedResult>) {
        let ((answer, outcome), room) = (oneshot::channel(), room_of(partition));
        let (epoch, queued_at) = (Epoch(3), Instant::now());
        (QueuedSeed { epoch, is_of_all_partitions, room, partition, queued_at, answer }, outcome)
    }

    /// Seeds one room of each partition in one request. Returns the partitions for which the epoch has ended.
    async fn ended_partitions(is_of_all_partitions: bool) -> Vec<Partition> {
        let queued = Partition::all().map(|partition| queued_seed(partition, is_of_all_partitions));
        let (batch, answers): (Vec<_>, Vec<_>) = queued.unzip();
        let authority = Answering(|partitions: Vec<Partition>| async move {
            if partitions.contains(&Partition(7)) {
                return Err(AuthorityError::EpochEnded);
            }
            Ok(vec![SeedOutcome::Seeded; partitions.len()])
        });
        let finished = seed_batch(&authority, batch).await;
        assert!(finished.later.is_empty());
        let mut ended = Vec::new();
        for (partition, outcome) in Partition::all().zip(answers) {
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

    #[tokio::test]
    async fn room_of_free_partition_does_not_wait_for_busy_ones() {
        const BUSY: [Partition; 2] = [Partition(7), Partition(8)];
        /// Longer than the room of the free partition takes.
        const LOCK_WAIT: Duration = Duration::from_secs(1);
        let authority = Answering(|partitions: Vec<Partition>| async move {
            let is_busy = |partition: &Partition| BUSY.contains(partition);
            if partitions.iter().any(is_busy) {
                tokio::time::sleep(LOCK_WAIT).await;
            }
            let outcome = |partition| {
                if is_busy(partition) { SeedOutcome::Later } else { SeedOutcome::Seeded }
            };
            Ok(partitions.iter().map(outcome).collect())
        });
        let (queue, wanted) = mpsc::channel(8);
        tokio::spawn(serve(Arc::new(authority), wanted));
        let mut busy = Vec::new();
        for partition in BUSY {
            let (seed, answer) = queued_seed(partition, true);
            queue.send(seed).await.unwrap();
            busy.push(answer);
        }
        // Both are busy after the first requests, and one of them is being requested again.
        tokio::time::sleep(LOCK_WAIT + LOCK_WAIT / 2).await;
        let (seed, answer) = queued_seed(Partition(9), true);
        queue.send(seed).await.unwrap();
        assert_eq!(
            tokio::time::timeout(LOCK_WAIT / 4, answer).await.unwrap().unwrap(),
            Ok(SeedOutcome::Seeded)
        );
        for answer in busy {
            assert_eq!(answer.await.unwrap(), Ok(SeedOutcome::Later));
        }
    }
}
