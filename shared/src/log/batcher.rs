//! Group commit for messages. While a call for a partition is under way, further messages of the partition wait, and
//! the next call appends them together. If no call is under way, a message is appended at once. Each worker has one
//! batcher.

use std::{
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

/// Limits of one call of `append_many.lua`: messages, and bytes of their arguments.
pub(super) const MAX_MESSAGES: usize = 64;
pub(super) const MAX_BYTES: usize = 256 * 1024;
/// How long a message waits until its call begins; the same as the time limit of a call.
const MAX_WAIT: Duration = Duration::from_secs(3);
/// Bytes of messages that may wait for calls of one partition; a message above this limit is refused as overloaded.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// Messages of one room from one call of [`AppendBatcher::append`], which are appended in their order.
struct Group {
    /// The epoch in which it was decided that the client ids of the messages need no look-up in PostgreSQL.
    epoch: Epoch,
    room: RoomId,
    messages: Vec<FastMessage>,
    /// Approximate size of the script arguments of `messages`.
    bytes: usize,
    since: Instant,
    outcomes: oneshot::Sender<Result<Vec<BatchOutcome>, AppendError>>,
}

#[derive(Default)]
struct Waiting {
    groups: Vec<Group>,
    bytes: usize,
    /// Whether a task is appending messages of this partition. At most one such task runs.
    running: bool,
}

/// Collects messages that wait to be appended, and appends those of one partition together.
pub struct AppendBatcher {
    calls: Arc<Calls>,
    max_backlog: u64,
    /// The runtime of the tasks that make the calls. The runtime of a caller may end while other callers wait.
    runtime: Handle,
    partitions: Vec<Mutex<Waiting>>,
}

impl AppendBatcher {
    pub(super) fn new(calls: Arc<Calls>, max_backlog: u64) -> Arc<Self> {
        let partitions = (0..PARTITIONS).map(|_| Mutex::default()).collect();
        Arc::new(Self { calls, max_backlog, runtime: Handle::current(), partitions })
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
            let mut waiting = self.waiting(partition);
            if waiting.bytes + bytes > MAX_WAITING_BYTES {
                return Err(AppendError::Overloaded);
            }
            waiting.bytes += bytes;
            waiting.groups.push(Group {
                epoch,
                room: room.clone(),
                messages,
                bytes,
                since: Instant::now(),
                outcomes,
            });
            !std::mem::replace(&mut waiting.running, true)
        };
        if starts {
            // A separate task makes the calls, because this caller may be cancelled while others wait.
            let guard = RunGuard { batcher: self.clone(), partition, ended: false };
            self.runtime.spawn(run(guard));
        }
        answer.await.unwrap_or_else(|_| Err(AppendError::Unavailable("shutting down".to_owned())))
    }

    fn waiting(&self, partition: Partition) -> std::sync::MutexGuard<'_, Waiting> {
        // A poisoned lock is usable, because no code under it can panic half-way through a change.
        self.partitions[usize::from(partition.0)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the groups of the next call. If no group waits, returns `None` and clears [`Waiting::running`], so that
    /// the next caller of [`AppendBatcher::append`] starts another task.
    fn next_groups(&self, partition: Partition) -> Option<Vec<Group>> {
        let mut waiting = self.waiting(partition);
        let now = Instant::now();
        let late = waiting.groups.iter().take_while(|group| now - group.since > MAX_WAIT).count();
        if late > 0 {
            let late: Vec<Group> = waiting.groups.drain(..late).collect();
            waiting.bytes -= late.iter().map(|group| group.bytes).sum::<usize>();
            refuse(late, &AppendError::Unavailable("Redis is slow".to_owned()));
        }
        if waiting.groups.is_empty() {
            waiting.running = false;
            return None;
        }
        let count = fitting(&waiting.groups);
        let rest = waiting.groups.split_off(count);
        let groups = std::mem::replace(&mut waiting.groups, rest);
        waiting.bytes -= groups.iter().map(|group| group.bytes).sum::<usize>();
        Some(groups)
    }

    async fn append_groups(&self, partition: Partition, groups: Vec<Group>) {
        let session = match self.calls.sessions.get().await {
            Ok(session) => session,
            Err(error) => return refuse(groups, &unavailable(error)),
        };
        // For a group of another epoch, it was decided in that epoch that its client ids need no look-up. In the epoch
        // of the session they may need one, so such a group is not appended here.
        let (groups, other_epoch): (Vec<Group>, Vec<Group>) =
            groups.into_iter().partition(|group| group.epoch == session.epoch);
        for group in other_epoch {
            let _ = group.outcomes.send(Ok(vec![BatchOutcome::Undecided; group.messages.len()]));
        }
        if groups.is_empty() {
            return;
        }
        let (rooms, places) =
            append_many::group_by_room(groups.iter().map(|group| (&group.room, group.messages.as_slice())));
        let messages = rooms.iter().map(|(_, messages)| messages.len()).sum();
        let command = append_many::command(&session.scripts, partition, &rooms, self.max_backlog);
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

/// Appends the waiting messages of a partition, call after call, until none wait.
async fn run(mut guard: RunGuard) {
    while let Some(groups) = guard.batcher.next_groups(guard.partition) {
        guard.batcher.append_groups(guard.partition, groups).await;
    }
    // `next_groups` has cleared `running`, and another task may already run for this partition.
    guard.ended = true;
}

/// Cleans up if the task of a partition ends early, by a panic or with its runtime. The waiting callers get an error,
/// and the next caller of [`AppendBatcher::append`] starts another task.
struct RunGuard {
    batcher: Arc<AppendBatcher>,
    partition: Partition,
    ended: bool,
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        if !self.ended {
            *self.batcher.waiting(self.partition) = Waiting::default();
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
fn fitting(groups: &[Group]) -> usize {
    let (mut messages, mut bytes) = (0, 0);
    let fits = |group: &&Group| {
        messages += group.messages.len();
        bytes += group.bytes;
        messages <= MAX_MESSAGES && bytes <= MAX_BYTES
    };
    groups.iter().take_while(fits).count().max(1)
}
