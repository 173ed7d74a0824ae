//! Group commit for messages: while a call is under way, further messages wait, and the next call appends them together. A
//! message that finds no call under way is appended at once. Each worker has a batcher of its own.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::oneshot};

use super::{
    append::AppendError,
    append_many::{self, BatchOutcome, FastMessage},
    calls::{Calls, unavailable},
    keys::{PARTITIONS, Partition},
    timing::RoundTrip,
};
use crate::ids::{Epoch, RoomId};

/// Limit of the messages in one call of `append_many.lua`.
pub(super) const MAX_MESSAGES: usize = 64;
/// Limit of the size of the arguments of one call of `append_many.lua`, in bytes.
pub(super) const MAX_BYTES: usize = 256 * 1024;
/// How long a message waits until its call begins; the same as the time limit of a call.
const MAX_WAIT: Duration = Duration::from_secs(3);
/// Bytes of messages of one partition that may wait.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// Messages of one room from one call of [`AppendBatcher::append`], which are appended in their order.
struct Group {
    /// The epoch in which it was decided that the client ids of the messages need no look-up in PostgreSQL.
    epoch: Epoch,
    partition: Partition,
    room: RoomId,
    messages: Vec<FastMessage>,
    /// Approximate size of the script arguments of `messages`.
    bytes: usize,
    since: Instant,
    outcomes: oneshot::Sender<Result<Vec<BatchOutcome>, AppendError>>,
}

struct Waiting {
    /// The waiting groups, in the order in which they came.
    groups: VecDeque<Group>,
    /// The waiting bytes of each partition. They are limited separately, so that a full partition blocks no other one.
    bytes: [usize; PARTITIONS as usize],
    /// Whether a task makes calls.
    running: bool,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { groups: VecDeque::new(), bytes: [0; PARTITIONS as usize], running: false }
    }
}

impl Waiting {
    fn bytes(&mut self, partition: Partition) -> &mut usize {
        &mut self.bytes[usize::from(partition.0)]
    }

    /// Removes the first groups.
    fn take(&mut self, count: usize) -> Vec<Group> {
        let groups: Vec<Group> = self.groups.drain(..count).collect();
        for group in &groups {
            *self.bytes(group.partition) -= group.bytes;
        }
        groups
    }
}

/// The waiting messages of one worker.
pub struct AppendBatcher {
    calls: Arc<Calls>,
    max_backlog: u64,
    /// Runs the tasks that make the calls. They do not run on a caller's runtime, because it may shut down while other
    /// callers wait for the same call.
    runtime: Handle,
    waiting: Mutex<Waiting>,
}

impl AppendBatcher {
    /// Creates a batcher that makes its calls on the current runtime. If more than `max_backlog` records of a partition
    /// wait to be stored, the batcher leaves the decision to `append.lua`.
    pub(super) fn new(calls: Arc<Calls>, max_backlog: u64) -> Arc<Self> {
        Arc::new(Self { calls, max_backlog, runtime: Handle::current(), waiting: Mutex::default() })
    }

    /// Appends messages of one room. Returns one outcome for each message.
    ///
    /// # Errors
    /// After [`AppendError::Unavailable`] it is unknown how many of the messages, counted from the first, are in the
    /// log. After [`AppendError::Overloaded`] none of the messages is in the log.
    pub(super) async fn append(
        self: &Arc<Self>,
        epoch: Epoch,
        room: &RoomId,
        messages: Vec<FastMessage>,
    ) -> Result<Vec<BatchOutcome>, AppendError> {
        let partition = Partition::of(room);
        let (outcomes, answer) = oneshot::channel();
        let bytes = messages.iter().map(FastMessage::bytes).sum();
        let starts = {
            let mut waiting = self.waiting();
            if *waiting.bytes(partition) + bytes > MAX_WAITING_BYTES {
                return Err(AppendError::Overloaded);
            }
            *waiting.bytes(partition) += bytes;
            let (room, since) = (room.clone(), Instant::now());
            waiting.groups.push_back(Group { epoch, partition, room, messages, bytes, since, outcomes });
            !std::mem::replace(&mut waiting.running, true)
        };
        if starts {
            // A task of its own, because a caller that is cancelled must not stop the messages of others.
            let guard = RunGuard { batcher: self.clone(), ended: false };
            self.runtime.spawn(run(guard));
        }
        answer.await.unwrap_or_else(|_| Err(AppendError::Unavailable("shutting down".to_owned())))
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        // No code that runs under the lock can panic half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The groups of the next call. `None`: none wait, and the next caller starts another task.
    fn next_groups(&self) -> Option<Vec<Group>> {
        let mut waiting = self.waiting();
        let now = Instant::now();
        let late = waiting.groups.iter().take_while(|group| now - group.since > MAX_WAIT).count();
        if late > 0 {
            refuse(waiting.take(late), &AppendError::Unavailable("Redis is slow".to_owned()));
        }
        if waiting.groups.is_empty() {
            waiting.running = false;
            return None;
        }
        let count = fitting(&waiting.groups);
        Some(waiting.take(count))
    }

    async fn append_groups(&self, groups: Vec<Group>) {
        let session = match self.calls.sessions.get().await {
            Ok(session) => session,
            Err(error) => return refuse(groups, &unavailable(error)),
        };
        // The caller of such a group decided in another epoch that no look-up is needed. That may be wrong in this one.
        let (mut groups, other_epoch): (Vec<Group>, Vec<Group>) =
            groups.into_iter().partition(|group| group.epoch == session.epoch);
        for group in other_epoch {
            let _ = group.outcomes.send(Ok(vec![BatchOutcome::Undecided; group.messages.len()]));
        }
        if groups.is_empty() {
            return;
        }
        // A stable sort: the groups of a room keep their order.
        groups.sort_by_key(|group| group.partition);
        let (rooms, places) = append_many::group_by_room(
            groups.iter().map(|group| (group.partition, &group.room, group.messages.as_slice())),
        );
        let messages = rooms.iter().map(|room| room.messages.len()).sum();
        let command = append_many::command(&session.scripts, &rooms, self.max_backlog);
        let answer = self.calls.timed(RoundTrip::Append, self.calls.call(&session, command)).await;
        let outcomes = answer
            .and_then(|value| append_many::read_answer(&value, messages).map_err(AppendError::Unavailable));
        match outcomes {
            Err(error) => refuse(groups, &error),
            Ok(outcomes) => {
                for (group, place) in groups.into_iter().zip(places) {
                    let own = outcomes[place..place + group.messages.len()].to_vec();
                    let _ = group.outcomes.send(Ok(own));
                }
            }
        }
    }
}

/// Appends the waiting messages, call after call, until none wait.
async fn run(mut guard: RunGuard) {
    while let Some(groups) = guard.batcher.next_groups() {
        guard.batcher.append_groups(groups).await;
    }
    // `next_groups` has cleared `running`, and another task may already run for this batcher.
    guard.ended = true;
}

/// Cleans up if the task of a batcher ends early, by a panic or with its runtime. The waiting callers get an error,
/// and the next caller of [`AppendBatcher::append`] starts another task.
struct RunGuard {
    batcher: Arc<AppendBatcher>,
    ended: bool,
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        if !self.ended {
            *self.batcher.waiting() = Waiting::default();
        }
    }
}

fn refuse(groups: Vec<Group>, error: &AppendError) {
    for group in groups {
        // Sending fails if the caller was cancelled.
        let _ = group.outcomes.send(Err(error.clone()));
    }
}

/// Number of groups, from the first and at least one, that fit into one call.
fn fitting(groups: &VecDeque<Group>) -> usize {
    let (mut messages, mut bytes) = (0, 0);
    let fits = |group: &&Group| {
        messages += group.messages.len();
        bytes += group.bytes;
        messages <= MAX_MESSAGES && bytes <= MAX_BYTES
    };
    groups.iter().take_while(fits).count().max(1)
}
