//! Asks persistence to seed rooms (write their heads into Redis for the present epoch), for many callers. Only one
//! request runs at a time. Further rooms are collected for the next request, so a storm of reconnects costs few
//! requests.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use super::authority::{Authority, AuthorityError, SeedOutcome};
use crate::ids::{Epoch, RoomId};

const MAX_BATCH: usize = 200;
/// Number of callers in the queue; further callers wait for space.
const QUEUE_CAPACITY: usize = 4096;

type Answer = Result<SeedOutcome, AuthorityError>;

struct QueuedSeed {
    epoch: Epoch,
    room: RoomId,
    answer: oneshot::Sender<Answer>,
}

/// The queue of seeds that callers wait for. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Seeding {
    queue: mpsc::Sender<QueuedSeed>,
}

impl Seeding {
    /// Starts the task that asks `authority`, on the current runtime. It ends when all clones are dropped.
    pub fn start(authority: Arc<dyn Authority>) -> Self {
        let (queue, wanted) = mpsc::channel(QUEUE_CAPACITY);
        tokio::spawn(serve(authority, wanted));
        Self { queue }
    }

    /// Waits until persistence has seeded the room, together with rooms of other callers.
    pub async fn seed(&self, epoch: Epoch, room: RoomId) -> Answer {
        let (answer, outcome) = oneshot::channel();
        let gone = || AuthorityError::Unavailable("shutting down".to_owned());
        self.queue.send(QueuedSeed { epoch, room, answer }).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }
}

async fn serve(authority: Arc<dyn Authority>, mut wanted: mpsc::Receiver<QueuedSeed>) {
    let mut batch = Vec::new();
    while wanted.recv_many(&mut batch, MAX_BATCH).await > 0 {
        let mut by_epoch: HashMap<Epoch, HashMap<RoomId, Vec<oneshot::Sender<Answer>>>> = HashMap::new();
        for QueuedSeed { epoch, room, answer } in batch.drain(..) {
            by_epoch.entry(epoch).or_default().entry(room).or_default().push(answer);
        }
        for (epoch, callers) in by_epoch {
            let (rooms, callers): (Vec<_>, Vec<_>) = callers.into_iter().unzip();
            let outcomes = match authority.seed(epoch, &rooms).await {
                Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error); rooms.len()],
            };
            for (outcome, callers) in outcomes.into_iter().zip(callers) {
                for caller in callers {
                    // Sending fails if the caller was cancelled.
                    let _ = caller.send(outcome.clone());
                }
            }
        }
    }
}
