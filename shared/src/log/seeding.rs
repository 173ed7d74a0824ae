//! Asks persistence to seed rooms: many callers, one request at a time, each room once per request.
//!
//! While a request is under way the next ones gather, so a reconnect storm costs a few bulk requests.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use super::authority::{Authority, AuthorityError, SeedOutcome};
use crate::ids::{Epoch, RoomId};

/// Rooms in one request; the gathering stops there.
const ROOMS_PER_REQUEST: usize = 200;
/// Requests that may wait; above it callers wait to get in.
const QUEUE: usize = 4096;

type Answer = Result<SeedOutcome, AuthorityError>;

struct Wanted {
    epoch: Epoch,
    room: RoomId,
    answer: oneshot::Sender<Answer>,
}

/// Handle of the one task that asks.
#[derive(Debug, Clone)]
pub(super) struct Seeding {
    queue: mpsc::Sender<Wanted>,
}

impl Seeding {
    pub fn start(authority: Arc<dyn Authority>) -> Self {
        let (queue, wanted) = mpsc::channel(QUEUE);
        tokio::spawn(serve(authority, wanted));
        Self { queue }
    }

    pub async fn seed(&self, epoch: Epoch, room: RoomId) -> Answer {
        let (answer, outcome) = oneshot::channel();
        let gone = || AuthorityError::Unavailable("shutting down".to_owned());
        self.queue.send(Wanted { epoch, room, answer }).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }
}

async fn serve(authority: Arc<dyn Authority>, mut wanted: mpsc::Receiver<Wanted>) {
    let mut gathered = Vec::new();
    while wanted.recv_many(&mut gathered, ROOMS_PER_REQUEST).await > 0 {
        let mut by_epoch: HashMap<Epoch, HashMap<RoomId, Vec<oneshot::Sender<Answer>>>> = HashMap::new();
        for Wanted { epoch, room, answer } in gathered.drain(..) {
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
                    // A caller that went away needs no answer.
                    let _ = caller.send(outcome.clone());
                }
            }
        }
    }
}
