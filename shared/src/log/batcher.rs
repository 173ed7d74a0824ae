//! Group commit for messages: while a call to Redis runs, further messages wait, and the next call appends them
//! together. A message is appended at once if no call runs. Each worker has its own batcher, with one queue for each
//! shard. In a Redis Cluster one round trip carries one call for each partition with waiting messages.

mod queue;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use redis::Value;
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    append::AppendError,
    append_many::{self, BatchOutcome, FastMessage},
    backlog::LogLimits,
    calls::{RedisCalls, no_session},
    keys::Partition,
    layout::Layout,
    session::Session,
    shard_map::NodeAddress,
    timing::RoundTrip,
};
use crate::ids::RoomId;
use queue::{AppendQueue, MessageGroup, NextGroups};

/// Maximum number of messages in one call of `append_many.lua`.
pub(super) const MAX_CALL_MESSAGES: usize = 64;
/// Maximum size of the arguments of one call of `append_many.lua`. A single larger group is sent alone.
pub(super) const MAX_CALL_BYTES: usize = 256 * 1024;

/// The queue of one shard.
type SharedQueue = Arc<Mutex<AppendQueue>>;

/// Collects the messages of one worker, and appends them in shared calls of `append_many.lua`.
pub struct AppendBatcher {
    calls: Arc<RedisCalls>,
    limits: LogLimits,
    /// The runtime of the tasks that make the calls. A caller's runtime is not used, because that runtime may shut down
    /// while other callers wait for the same call.
    runtime: Handle,
    /// The queue of a single Redis.
    queue: SharedQueue,
    /// The queues of the shards of a cluster.
    shards: Mutex<HashMap<NodeAddress, SharedQueue>>,
}

impl AppendBatcher {
    /// Creates a batcher that makes its calls on the current runtime. If the backlog of a partition reaches one of the
    /// `limits`, the batcher leaves the decision to `append.lua`.
    pub(super) fn new(calls: Arc<RedisCalls>, limits: LogLimits) -> Arc<Self> {
        let (queue, shards) = (SharedQueue::default(), Mutex::default());
        Arc::new(Self { calls, limits, runtime: Handle::current(), queue, shards })
    }

    /// Appends messages of one room, whose client ids need no look-up in the epoch of `session`. Returns one outcome
    /// for each message.
    ///
    /// # Errors
    /// After [`AppendError::Unavailable`] it is unknown how many of the messages, counted from the first, are in the
    /// log. After [`AppendError::Overloaded`] none of the messages is in the log.
    pub(super) async fn append(
        self: &Arc<Self>,
        session: &Session,
        room: &RoomId,
        messages: Vec<FastMessage>,
    ) -> Result<Vec<BatchOutcome>, AppendError> {
        let (outcomes, answer) = oneshot::channel();
        let group = MessageGroup {
            epoch: session.epoch,
            partition: Partition::of(room),
            room: room.clone(),
            bytes: messages.iter().map(FastMessage::bytes).sum(),
            messages,
            queued_at: Instant::now(),
            outcomes,
        };
        let queue = self.queue_of(session);
        let must_start_task = lock(&queue).push(group)?;
        if must_start_task {
            // The calls run in their own task, because a cancelled caller must not stop the appends of other callers.
            let guard = RunGuard { batcher: self.clone(), queue, ended: false };
            self.runtime.spawn(append_until_empty(guard));
        }
        answer.await.unwrap_or_else(|_| Err(AppendError::Unavailable("shutting down".to_owned())))
    }

    fn queue_of(&self, session: &Session) -> SharedQueue {
        match session.layout() {
            Layout::Single => self.queue.clone(),
            Layout::Cluster => {
                // A poisoned lock is usable, because no code that holds the lock can panic in the middle of a change.
                let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
                shards.entry(session.address().clone()).or_default().clone()
            }
        }
    }

    /// Appends groups with one round trip for each session of their partitions.
    async fn append_groups(&self, queue: &SharedQueue, mut groups: Vec<MessageGroup>) {
        while let Some(partition) = groups.first().map(|group| group.partition) {
            groups = match self.calls.sessions.get(partition).await {
                Ok(session) => {
                    let has_other = |group: &mut MessageGroup| !session.partitions.contains(group.partition);
                    let others: Vec<_> = groups.extract_if(.., has_other).collect();
                    self.append_in_session(queue, &session, groups).await;
                    others
                }
                Err(error) => {
                    let has_other = |group: &mut MessageGroup| group.partition != partition;
                    let others: Vec<_> = groups.extract_if(.., has_other).collect();
                    fail_groups(queue, groups, &no_session(error));
                    others
                }
            };
        }
    }

    /// Appends groups whose partitions have this session: with one call, or in a cluster with one call for each
    /// partition, in one round trip.
    async fn append_in_session(
        &self,
        queue: &SharedQueue,
        session: &Arc<Session>,
        mut groups: Vec<MessageGroup>,
    ) {
        // A caller answers with the epoch in which it formed its group. So `append.lua` must decide about the groups of
        // another epoch.
        for group in groups.extract_if(.., |group| group.epoch != session.epoch) {
            let _ = group.outcomes.send(Ok(vec![BatchOutcome::Undecided; group.messages.len()]));
        }
        if groups.is_empty() {
            return;
        }
        // The sort is stable, so the groups of a room keep their order.
        groups.sort_by_key(|group| group.partition);
        if session.layout() == Layout::Single {
            let (command, call) = self.prepare_call(session, groups);
            let answer = self.calls.timed(RoundTrip::Append, self.calls.call(session, command)).await;
            return call.finish(queue, answer);
        }
        let (mut commands, mut calls) = (Vec::new(), Vec::new());
        while let Some(partition) = groups.first().map(|group| group.partition) {
            let others = groups.split_off(groups.partition_point(|group| group.partition == partition));
            let (command, call) = self.prepare_call(session, std::mem::replace(&mut groups, others));
            commands.push(command);
            calls.push(call);
        }
        let answers = self.calls.timed(RoundTrip::Append, self.calls.call_each(session, commands)).await;
        for (call, answer) in calls.into_iter().zip(answers) {
            call.finish(queue, answer);
        }
    }

    /// Creates the call that appends these groups. The groups of a partition are neighbours.
    fn prepare_call(&self, session: &Session, groups: Vec<MessageGroup>) -> (redis::Cmd, AppendCall) {
        let (rooms, offsets) = append_many::group_by_room(
            groups.iter().map(|group| (group.partition, &group.room, group.messages.as_slice())),
        );
        let messages = rooms.iter().map(|room| room.messages.len()).sum();
        let command = append_many::append_command(&session.scripts, &rooms, self.limits);
        (command, AppendCall { groups, offsets, messages })
    }
}

/// A call of `append_many.lua` that waits for its answer.
struct AppendCall {
    groups: Vec<MessageGroup>,
    /// For each group the index of its first message in the call.
    offsets: Vec<usize>,
    /// The number of messages in the call.
    messages: usize,
}

impl AppendCall {
    /// Passes the answer to the callers.
    fn finish(self, queue: &SharedQueue, answer: Result<Value, AppendError>) {
        let outcomes = answer.and_then(|value| {
            append_many::parse_answer(&value, self.messages).map_err(AppendError::Unavailable)
        });
        match outcomes {
            Err(error) => fail_groups(queue, self.groups, &error),
            Ok(outcomes) => {
                for (group, offset) in self.groups.into_iter().zip(self.offsets) {
                    let own = outcomes[offset..offset + group.messages.len()].to_vec();
                    let _ = group.outcomes.send(Ok(own));
                }
            }
        }
    }
}

/// Answers the callers of the groups with an error. If their partitions move, puts them back instead.
fn fail_groups(queue: &SharedQueue, groups: Vec<MessageGroup>, error: &AppendError) {
    match error {
        AppendError::Moving => lock(queue).put_back(groups),
        error => groups.into_iter().for_each(|group| group.refuse(error)),
    }
}

fn lock(queue: &SharedQueue) -> MutexGuard<'_, AppendQueue> {
    // A poisoned lock is usable, because no code that holds the lock can panic in the middle of a change.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Appends the waiting messages of a queue, call after call, until none wait.
async fn append_until_empty(mut guard: RunGuard) {
    loop {
        let next = lock(&guard.queue).take_next(Instant::now());
        match next {
            NextGroups::Ready(groups) => guard.batcher.append_groups(&guard.queue, groups).await,
            NextGroups::Wait(pause) => tokio::time::sleep(pause).await,
            NextGroups::Empty => break,
        }
    }
    // `take_next` has cleared `running`, so another task may already run for this queue.
    guard.ended = true;
}

/// Cleans up if the task of a queue ends early, by a panic or with its runtime. The waiting callers get an error, and
/// the next caller of [`AppendBatcher::append`] starts another task.
struct RunGuard {
    batcher: Arc<AppendBatcher>,
    queue: SharedQueue,
    ended: bool,
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        if !self.ended {
            *lock(&self.queue) = AppendQueue::default();
        }
    }
}
