//! Group commit for messages: while a call to Redis runs, further messages wait, and the next call appends them
//! together. A message is appended at once if no call runs. Each worker has its own batcher.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::oneshot};

use super::{
    append::AppendError,
    append_many::{self, BatchOutcome, FastMessage},
    backlog::LogLimits,
    calls::{RedisCalls, unavailable},
    keys::{PARTITIONS, Partition},
    session::Session,
    timing::RoundTrip,
};
use crate::ids::{Epoch, RoomId};

/// Maximum number of messages in one call of `append_many.lua`.
pub(super) const MAX_CALL_MESSAGES: usize = 64;
/// Maximum size of the arguments of one call of `append_many.lua`. A single larger group is sent alone.
pub(super) const MAX_CALL_BYTES: usize = 256 * 1024;
/// How long a message may wait until its call begins. Then it is refused as unavailable.
const MAX_WAIT: Duration = Duration::from_secs(3);
/// Maximum size of the waiting messages of one partition. Further messages are refused as overloaded.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// Messages of one room from one call of [`AppendBatcher::append`], which are appended in their order.
struct MessageGroup {
    /// The epoch in which the caller decided that the client ids of the messages need no look-up in PostgreSQL.
    epoch: Epoch,
    partition: Partition,
    room: RoomId,
    messages: Vec<FastMessage>,
    /// Approximate size of the script arguments of `messages`.
    bytes: usize,
    queued_at: Instant,
    outcomes: oneshot::Sender<Result<Vec<BatchOutcome>, AppendError>>,
}

/// The messages that wait for a call of `append_many.lua`.
struct AppendQueue {
    /// The waiting groups, in the order of their arrival.
    groups: VecDeque<MessageGroup>,
    /// The waiting bytes of each partition. Each partition has its own limit, so that a partition whose limit is
    /// reached blocks no other one.
    bytes: [usize; PARTITIONS as usize],
    /// Whether the task [`append_until_empty`] is running.
    running: bool,
}

impl Default for AppendQueue {
    fn default() -> Self {
        Self { groups: VecDeque::new(), bytes: [0; PARTITIONS as usize], running: false }
    }
}

impl AppendQueue {
    fn bytes_mut(&mut self, partition: Partition) -> &mut usize {
        &mut self.bytes[usize::from(partition.0)]
    }

    /// Removes and returns the first `count` groups.
    fn take_first(&mut self, count: usize) -> Vec<MessageGroup> {
        let groups: Vec<MessageGroup> = self.groups.drain(..count).collect();
        for group in &groups {
            *self.bytes_mut(group.partition) -= group.bytes;
        }
        groups
    }
}

/// Collects the messages of one worker, and appends them in shared calls of `append_many.lua`.
pub struct AppendBatcher {
    calls: Arc<RedisCalls>,
    limits: LogLimits,
    /// The runtime of the tasks that make the calls. A caller's runtime is not used, because that runtime may shut down
    /// while other callers wait for the same call.
    runtime: Handle,
    queue: Mutex<AppendQueue>,
}

impl AppendBatcher {
    /// Creates a batcher that makes its calls on the current runtime. If the backlog of a partition reaches one of the
    /// `limits`, the batcher leaves the decision to `append.lua`.
    pub(super) fn new(calls: Arc<RedisCalls>, limits: LogLimits) -> Arc<Self> {
        Arc::new(Self { calls, limits, runtime: Handle::current(), queue: Mutex::default() })
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
        let must_start_task = {
            let mut queue = self.queue();
            if *queue.bytes_mut(partition) + bytes > MAX_WAITING_BYTES {
                return Err(AppendError::Overloaded);
            }
            *queue.bytes_mut(partition) += bytes;
            let (room, queued_at) = (room.clone(), Instant::now());
            queue.groups.push_back(MessageGroup {
                epoch,
                partition,
                room,
                messages,
                bytes,
                queued_at,
                outcomes,
            });
            !std::mem::replace(&mut queue.running, true)
        };
        if must_start_task {
            // The calls run in their own task, because a cancelled caller must not stop the appends of other callers.
            let guard = RunGuard { batcher: self.clone(), ended: false };
            self.runtime.spawn(append_until_empty(guard));
        }
        answer.await.unwrap_or_else(|_| Err(AppendError::Unavailable("shutting down".to_owned())))
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, AppendQueue> {
        // A poisoned lock is usable, because no code that holds the lock can panic in the middle of a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the groups of the next call. Returns `None` if no group waits; then the task must end, and the next caller
    /// of [`AppendBatcher::append`] starts another one.
    fn take_next_groups(&self) -> Option<Vec<MessageGroup>> {
        let mut queue = self.queue();
        let now = Instant::now();
        let late = queue.groups.iter().take_while(|group| now - group.queued_at > MAX_WAIT).count();
        if late > 0 {
            refuse_groups(queue.take_first(late), &AppendError::Unavailable("Redis is slow".to_owned()));
        }
        if queue.groups.is_empty() {
            queue.running = false;
            return None;
        }
        let count = count_fitting(&queue.groups);
        Some(queue.take_first(count))
    }

    /// Appends groups with one call for each session of their partitions.
    async fn append_groups(&self, mut groups: Vec<MessageGroup>) {
        while let Some(partition) = groups.first().map(|group| group.partition) {
            groups = match self.calls.sessions.get(partition).await {
                Ok(session) => {
                    let has_other = |group: &mut MessageGroup| !session.partitions.contains(group.partition);
                    let others: Vec<_> = groups.extract_if(.., has_other).collect();
                    self.append_in_session(&session, groups).await;
                    others
                }
                Err(error) => {
                    let has_other = |group: &mut MessageGroup| group.partition != partition;
                    let others: Vec<_> = groups.extract_if(.., has_other).collect();
                    refuse_groups(groups, &unavailable(error));
                    others
                }
            };
        }
    }

    /// Appends groups whose partitions have this session, in one call.
    async fn append_in_session(&self, session: &Arc<Session>, mut groups: Vec<MessageGroup>) {
        // The callers of groups of another epoch decided that their client ids need no look-up. In the present epoch
        // this may be wrong, so `append.lua` must decide again.
        for group in groups.extract_if(.., |group| group.epoch != session.epoch) {
            let _ = group.outcomes.send(Ok(vec![BatchOutcome::Undecided; group.messages.len()]));
        }
        if groups.is_empty() {
            return;
        }
        // The sort is stable, so the groups of a room keep their order.
        groups.sort_by_key(|group| group.partition);
        let (rooms, offsets) = append_many::group_by_room(
            groups.iter().map(|group| (group.partition, &group.room, group.messages.as_slice())),
        );
        let messages = rooms.iter().map(|room| room.messages.len()).sum();
        let command = append_many::append_command(&session.scripts, &rooms, self.limits);
        let answer = self.calls.timed(RoundTrip::Append, self.calls.call(session, command)).await;
        let outcomes = answer
            .and_then(|value| append_many::parse_answer(&value, messages).map_err(AppendError::Unavailable));
        match outcomes {
            Err(error) => refuse_groups(groups, &error),
            Ok(outcomes) => {
                for (group, offset) in groups.into_iter().zip(offsets) {
                    let own = outcomes[offset..offset + group.messages.len()].to_vec();
                    let _ = group.outcomes.send(Ok(own));
                }
            }
        }
    }
}

/// Appends the waiting messages, call after call, until none wait.
async fn append_until_empty(mut guard: RunGuard) {
    while let Some(groups) = guard.batcher.take_next_groups() {
        guard.batcher.append_groups(groups).await;
    }
    // `take_next_groups` has cleared `running`, so another task may already run for this batcher.
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
            *self.batcher.queue() = AppendQueue::default();
        }
    }
}

/// Answers the callers of the groups with an error.
fn refuse_groups(groups: Vec<MessageGroup>, error: &AppendError) {
    for group in groups {
        // Sending fails if the caller was cancelled.
        let _ = group.outcomes.send(Err(error.clone()));
    }
}

/// Returns how many of the first groups fit into one call; at least 1.
fn count_fitting(groups: &VecDeque<MessageGroup>) -> usize {
    let (mut messages, mut bytes) = (0, 0);
    let fits = |group: &&MessageGroup| {
        messages += group.messages.len();
        bytes += group.bytes;
        messages <= MAX_CALL_MESSAGES && bytes <= MAX_CALL_BYTES
    };
    groups.iter().take_while(fits).count().max(1)
}
