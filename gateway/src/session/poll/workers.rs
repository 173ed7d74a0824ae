//! Runs a poll on the worker that keeps the last poll of its user. The polls of a client may arrive on several HTTP
//! connections, and each connection belongs to one worker, so a worker may hand a poll over to another worker.

use std::sync::Mutex;

use rustc_hash::FxHashMap;
use tidings_shared::{error::Refusal, ids::UserId, telemetry::TraceContext};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::request::PollRequest;
use crate::commands::auth::AdmittedUser;
use crate::lock::lock;

/// Capacity of a worker's queue of polls from other workers. If the queue is full, a poll runs on the worker that
/// received it.
const QUEUE_CAPACITY: usize = 1024;

/// An admitted poll, which is answered at `until` if it has nothing to return. Commands that name no trace belong to
/// `trace`.
pub(super) struct PollJob {
    pub admitted: AdmittedUser,
    pub request: PollRequest,
    pub trace: Option<TraceContext>,
    pub until: Instant,
}

/// The body of an answer, or the refusal of the poll.
pub(super) type PollResult = Result<Vec<u8>, Refusal>;

/// A poll that another worker received, and the sender of its result.
pub(super) struct RemotePoll {
    pub job: Box<PollJob>,
    pub result: oneshot::Sender<PollResult>,
}

/// The workers of a node that run polls.
#[derive(Default)]
pub struct PollWorkers {
    /// The worker that keeps the last poll of each user.
    owners: Mutex<FxHashMap<UserId, usize>>,
    queues: Mutex<FxHashMap<usize, mpsc::Sender<RemotePoll>>>,
}

impl PollWorkers {
    /// Adds a worker, and returns the receiver of polls from other workers.
    pub(super) fn add_worker(&self, worker: usize) -> mpsc::Receiver<RemotePoll> {
        let (queue, polls) = mpsc::channel(QUEUE_CAPACITY);
        lock(&self.queues).insert(worker, queue);
        polls
    }

    /// Records that a worker keeps a poll of this user.
    pub(super) fn set_owner(&self, user: &UserId, worker: usize) {
        lock(&self.owners).insert(user.clone(), worker);
    }

    /// Records that a worker keeps no poll of this user any more. Changes nothing if another worker keeps a later poll.
    pub(super) fn clear_owner(&self, user: &UserId, worker: usize) {
        let mut owners = lock(&self.owners);
        if owners.get(user) == Some(&worker) {
            owners.remove(user);
        }
    }

    /// Hands a poll over to the worker that keeps a poll of its user. Returns the job if the caller must run it,
    /// because no other worker keeps a poll of the user, or because the queue of that worker is full.
    pub(super) fn hand_over(
        &self,
        worker: usize,
        job: Box<PollJob>,
    ) -> Result<oneshot::Receiver<PollResult>, Box<PollJob>> {
        let owner = lock(&self.owners).get(&job.admitted.identity.user).copied();
        let queue = owner.filter(|owner| *owner != worker);
        let queue = queue.and_then(|owner| lock(&self.queues).get(&owner).cloned());
        let Some(queue) = queue else { return Err(job) };
        let (result, result_receiver) = oneshot::channel();
        match queue.try_send(RemotePoll { job, result }) {
            Ok(()) => Ok(result_receiver),
            Err(error) => Err(error.into_inner().job),
        }
    }
}
