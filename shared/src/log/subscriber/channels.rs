//! The wanted channels of all partitions, the task that owns each partition, and the events of partitions. A partition
//! belongs to the task of its shard. The task takes all wanted channels of a new partition, and later the changes. When
//! a partition is lost or gets another owner, its requests wait, and the next task takes all its channels again.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, oneshot};

use super::{Event, EventHandler};
use crate::log::keys::{Partition, PartitionSet};

/// Maximum number of changes that wait for their tasks; further requests are refused.
const QUEUE_CAPACITY: usize = 65_536;
/// When more callers wait for one partition, the senders of cancelled callers are removed.
const MAX_WAITING: usize = 1024;

/// A channel that became wanted or unwanted.
#[derive(Debug)]
pub struct ChannelChange {
    pub channel: Arc<str>,
    /// Whether the channel is wanted after all changes that were taken together.
    pub is_wanted: bool,
    /// Sender to the caller who waits until the channel is confirmed.
    confirmed: Option<oneshot::Sender<()>>,
}

/// The task of a shard. Notifying it wakes the task. Tasks are compared by their address in memory.
pub type TaskWake = Arc<Notify>;

#[derive(Default)]
struct PartitionChannels {
    wanted: HashSet<Arc<str>>,
    /// The task of the partition's shard; `None` while the shard is unknown.
    owner: Option<TaskWake>,
    /// Whether the owner has taken all wanted channels, so that it needs only the changes since then.
    is_taken: bool,
    changes: Vec<ChannelChange>,
    /// Senders to callers whose channels the next owner takes with all others.
    waiting: Vec<oneshot::Sender<()>>,
}

#[derive(Default)]
struct State {
    /// In the order of the partitions.
    partitions: Vec<PartitionChannels>,
    /// The partitions with changes.
    changed: PartitionSet,
    change_count: usize,
    /// The partitions whose connections must be replaced.
    reconnect: PartitionSet,
}

/// The wanted channels, shared by the callers and the tasks.
pub struct Channels {
    state: Mutex<State>,
    /// The partitions that are online. Locked while the handler receives an event of partitions, so that the events of
    /// a partition arrive in the order in which its owners changed. Lock order: before `state`. Callers never lock it,
    /// because they may hold locks that the handler needs.
    online: Mutex<PartitionSet>,
    handler: EventHandler,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Ignores poisoning, because no code that holds the lock can panic in the middle of a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Channels {
    pub fn new(handler: EventHandler) -> Self {
        let partitions = Partition::all().map(|_| PartitionChannels::default()).collect();
        let state = Mutex::new(State { partitions, ..State::default() });
        Self { state, online: Mutex::default(), handler }
    }

    pub fn handler(&self) -> EventHandler {
        self.handler.clone()
    }

    /// Adds a wanted channel: see [`super::Subscriber::subscribe`].
    pub fn subscribe(&self, channel: String) -> Option<oneshot::Receiver<()>> {
        let mut state = lock(&self.state);
        if state.change_count >= QUEUE_CAPACITY {
            return None;
        }
        let (confirmed, confirmation) = oneshot::channel();
        let channel: Arc<str> = channel.into();
        state.get_mut(Partition::of_channel(&channel)).wanted.insert(channel.clone());
        state.add_change(ChannelChange { channel, is_wanted: true, confirmed: Some(confirmed) });
        Some(confirmation)
    }

    /// Removes a wanted channel: see [`super::Subscriber::unsubscribe`].
    pub fn unsubscribe(&self, channel: &str) -> bool {
        let mut state = lock(&self.state);
        if state.change_count >= QUEUE_CAPACITY {
            return false;
        }
        if let Some(channel) = state.get_mut(Partition::of_channel(channel)).wanted.take(channel) {
            state.add_change(ChannelChange { channel, is_wanted: false, confirmed: None });
        }
        true
    }

    /// Asks the owner of the partition to replace its connection.
    pub fn request_reconnect(&self, partition: Partition) {
        let mut state = lock(&self.state);
        state.reconnect = state.reconnect | PartitionSet::from(partition);
        state.get_mut(partition).owner.iter().for_each(|owner| owner.notify_one());
    }

    /// Sets the owner of each partition, in the order of the partitions. A partition with another owner than before
    /// goes offline until its new owner has subscribed to its channels.
    pub fn set_owners(&self, owners: Vec<Option<TaskWake>>) {
        let mut online = lock(&self.online);
        let mut moved = PartitionSet::default();
        {
            let mut state = lock(&self.state);
            for (partition, owner) in Partition::all().zip(owners) {
                let current = &mut state.get_mut(partition).owner;
                if current.as_ref().map(Arc::as_ptr) != owner.as_ref().map(Arc::as_ptr) {
                    let former = std::mem::replace(current, owner.clone());
                    [former, owner].iter().flatten().for_each(|task| task.notify_one());
                    moved = moved | PartitionSet::from(partition);
                }
            }
            state.reset(moved);
        }
        self.set_offline(&mut online, moved);
    }

    /// The partitions that the task owns.
    pub fn owned_by(&self, task: &TaskWake) -> PartitionSet {
        lock(&self.state).owned_by(task)
    }

    /// Whether the task's connection must be replaced.
    pub fn must_reconnect(&self, task: &TaskWake) -> bool {
        let state = lock(&self.state);
        !(state.reconnect & state.owned_by(task)).is_empty()
    }

    /// Returns the partitions of the task that it has not taken, with all their wanted channels.
    pub fn take_missing(&self, task: &TaskWake) -> (PartitionSet, Vec<Arc<str>>) {
        let mut state = lock(&self.state);
        let missing: PartitionSet =
            state.owned_by(task).iter().filter(|partition| !state.get(*partition).is_taken).collect();
        state.reconnect = state.reconnect - missing;
        let mut channels = Vec::new();
        for partition in missing.iter() {
            let partition = state.get_mut(partition);
            partition.is_taken = true;
            channels.extend(partition.wanted.iter().cloned());
        }
        (missing, channels)
    }

    /// Returns the changes of the task's partitions since it took their channels.
    pub fn take_changes(&self, task: &TaskWake) -> Vec<ChannelChange> {
        let mut state = lock(&self.state);
        let changed = state.changed & state.owned_by(task);
        let mut changes = Vec::new();
        for partition in changed.iter() {
            let PartitionChannels { wanted, changes: of_partition, .. } = state.get_mut(partition);
            for mut change in of_partition.drain(..) {
                change.is_wanted = wanted.contains(&change.channel);
                changes.push(change);
            }
        }
        state.changed = state.changed - changed;
        state.change_count -= changes.len();
        changes
    }

    /// Tells the callers of these changes that their channels are confirmed. Callers of lost partitions continue to
    /// wait.
    pub fn finish_changes(&self, changes: impl Iterator<Item = ChannelChange>, lost: PartitionSet) {
        for mut change in changes {
            if lost.contains(Partition::of_channel(&change.channel)) {
                lock(&self.state).add_change(change);
            } else if let Some(confirmed) = change.confirmed.take() {
                // Sending fails if the caller was cancelled.
                let _ = confirmed.send(());
            }
        }
    }

    /// Reports that all channels of these partitions are confirmed. Leaves out the partitions that have had another
    /// owner since the task took them.
    pub fn set_online(&self, task: &TaskWake, partitions: PartitionSet, run_id: &Arc<str>) {
        let mut online = lock(&self.online);
        let partitions = {
            let mut state = lock(&self.state);
            let owned = partitions & state.owned_by(task);
            let still_taken: PartitionSet =
                owned.iter().filter(|partition| state.get(*partition).is_taken).collect();
            for partition in still_taken.iter() {
                for confirmed in state.get_mut(partition).waiting.drain(..) {
                    let _ = confirmed.send(());
                }
            }
            still_taken
        };
        if !partitions.is_empty() {
            *online = *online | partitions;
            (self.handler)(Event::Online { run_id: run_id.clone(), partitions });
        }
    }

    /// Reports that the task has lost subscriptions of these partitions. Leaves out the partitions that the task does
    /// not own any more.
    pub fn lose(&self, task: &TaskWake, partitions: PartitionSet) {
        let mut online = lock(&self.online);
        let lost = {
            let mut state = lock(&self.state);
            let lost = partitions & state.owned_by(task);
            state.reset(lost);
            lost
        };
        self.set_offline(&mut online, lost);
    }

    fn set_offline(&self, online: &mut PartitionSet, partitions: PartitionSet) {
        let partitions = *online & partitions;
        if !partitions.is_empty() {
            *online = *online - partitions;
            (self.handler)(Event::Offline { partitions });
        }
    }
}

impl State {
    fn get_mut(&mut self, partition: Partition) -> &mut PartitionChannels {
        &mut self.partitions[usize::from(partition.0)]
    }

    fn get(&self, partition: Partition) -> &PartitionChannels {
        &self.partitions[usize::from(partition.0)]
    }

    fn owned_by(&self, task: &TaskWake) -> PartitionSet {
        let is_owned = |partition: &PartitionChannels| {
            partition.owner.as_ref().is_some_and(|owner| Arc::ptr_eq(owner, task))
        };
        Partition::all()
            .zip(&self.partitions)
            .filter(|(_, channels)| is_owned(channels))
            .map(|(partition, _)| partition)
            .collect()
    }

    /// Queues a change for the owner of its partition. If the owner has not taken the partition, only the caller is
    /// kept.
    fn add_change(&mut self, change: ChannelChange) {
        let partition = Partition::of_channel(&change.channel);
        let channels = self.get_mut(partition);
        if channels.is_taken {
            channels.changes.push(change);
            channels.owner.iter().for_each(|owner| owner.notify_one());
            self.changed = self.changed | PartitionSet::from(partition);
            self.change_count += 1;
        } else if let Some(confirmed) = change.confirmed {
            if channels.waiting.len() >= MAX_WAITING {
                channels.waiting.retain(|confirmed| !confirmed.is_closed());
            }
            channels.waiting.push(confirmed);
        }
    }

    /// Makes all channels of these partitions wait for the next task that takes them.
    fn reset(&mut self, partitions: PartitionSet) {
        for partition in partitions.iter() {
            let channels = self.get_mut(partition);
            channels.is_taken = false;
            let changes = std::mem::take(&mut channels.changes);
            let count = changes.len();
            channels.waiting.extend(changes.into_iter().filter_map(|change| change.confirmed));
            self.change_count -= count;
        }
        self.changed = self.changed - partitions;
    }
}

#[cfg(test)]
mod tests;
