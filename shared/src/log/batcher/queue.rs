//! The messages that wait for a call of `append_many.lua`. While the slot of a partition moves, its messages stay at
//! the front of the queue, and those of other partitions are taken.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{MAX_CALL_BYTES, MAX_CALL_MESSAGES};
use crate::{
    ids::{Epoch, RoomId},
    log::{
        append::AppendError,
        append_many::{BatchOutcome, FastMessage},
        keys::{PARTITIONS, Partition},
        moving::{FIRST_PAUSE, next_pause},
    },
};

/// How long a message may wait until its call begins. Then it is refused as unavailable.
const MAX_WAIT: Duration = Duration::from_secs(3);
/// Maximum size of the waiting messages of one partition. Further messages are refused as overloaded.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// Messages of one room from one call of [`super::AppendBatcher::append`], which are appended in their order.
pub struct MessageGroup {
    /// The epoch in which the caller formed the group, and with which it answers.
    pub epoch: Epoch,
    pub partition: Partition,
    pub room: RoomId,
    pub messages: Vec<FastMessage>,
    /// Approximate size of the script arguments of `messages`.
    pub bytes: usize,
    pub queued_at: Instant,
    pub outcomes: oneshot::Sender<Result<Vec<BatchOutcome>, AppendError>>,
}

impl MessageGroup {
    /// Answers the caller with an error.
    pub fn refuse(self, error: &AppendError) {
        // Sending fails if the caller was cancelled.
        let _ = self.outcomes.send(Err(error.clone()));
    }
}

/// What the task of a queue does next.
pub enum NextGroups {
    /// Appends these groups.
    Ready(Vec<MessageGroup>),
    /// Waits, because the partitions of all groups are moving.
    Wait(Duration),
    /// Ends, because no group waits. The next group starts another task.
    Empty,
}

/// When a partition that moves is tried again.
struct Pause {
    until: Instant,
    /// The pause after this one, if the partition is then still moving.
    next: Duration,
}

/// The messages that wait for a call.
pub struct AppendQueue {
    /// The waiting groups, in the order of their arrival.
    groups: VecDeque<MessageGroup>,
    /// The waiting bytes of each partition. Each partition has its own limit, so that a partition whose limit is
    /// reached blocks no other one.
    bytes: [usize; PARTITIONS as usize],
    /// Partitions that were moving at their last call.
    pauses: BTreeMap<Partition, Pause>,
    /// Whether the task of the queue is running.
    running: bool,
}

impl Default for AppendQueue {
    fn default() -> Self {
        let bytes = [0; PARTITIONS as usize];
        Self { groups: VecDeque::new(), bytes, pauses: BTreeMap::new(), running: false }
    }
}

impl AppendQueue {
    fn bytes_mut(&mut self, partition: Partition) -> &mut usize {
        &mut self.bytes[usize::from(partition.0)]
    }

    /// Adds a group. Returns whether the caller must start the task of the queue.
    pub fn push(&mut self, group: MessageGroup) -> Result<bool, AppendError> {
        let (partition, bytes) = (group.partition, group.bytes);
        if *self.bytes_mut(partition) + bytes > MAX_WAITING_BYTES {
            return Err(AppendError::Overloaded);
        }
        *self.bytes_mut(partition) += bytes;
        self.groups.push_back(group);
        Ok(!std::mem::replace(&mut self.running, true))
    }

    /// Puts groups back to the front, in their order, because their partitions move.
    pub fn put_back(&mut self, groups: Vec<MessageGroup>) {
        let partitions: BTreeSet<Partition> = groups.iter().map(|group| group.partition).collect();
        for partition in partitions {
            let pause = self.pauses.get(&partition).map_or(FIRST_PAUSE, |pause| pause.next);
            self.pauses.insert(partition, Pause { until: Instant::now() + pause, next: next_pause(pause) });
        }
        for group in groups.into_iter().rev() {
            *self.bytes_mut(group.partition) += group.bytes;
            self.groups.push_front(group);
        }
    }

    /// Takes the groups of the next call.
    pub fn take_next(&mut self, now: Instant) -> NextGroups {
        let late = self.groups.iter().take_while(|group| now - group.queued_at > MAX_WAIT).count();
        if late > 0 {
            let error = AppendError::Unavailable("Redis is slow".to_owned());
            self.take_first(late).into_iter().for_each(|group| group.refuse(&error));
        }
        if self.groups.is_empty() {
            self.pauses.clear();
            self.running = false;
            return NextGroups::Empty;
        }
        if self.pauses.is_empty() {
            let count = count_fitting(&self.groups);
            return NextGroups::Ready(self.take_first(count));
        }
        self.take_unpaused(now)
    }

    /// Takes groups of partitions that do not wait for the end of a pause. The groups of a partition keep their order.
    fn take_unpaused(&mut self, now: Instant) -> NextGroups {
        let groups = &self.groups;
        self.pauses.retain(|partition, pause| {
            // Keeps an ended pause for the length of the next one, so that a failed retry continues the backoff.
            groups.iter().any(|group| group.partition == *partition) || now < pause.until + pause.next
        });
        let is_paused =
            |group: &MessageGroup| self.pauses.get(&group.partition).is_some_and(|pause| now < pause.until);
        let (mut waiting, ready): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.groups).into_iter().partition(is_paused);
        self.groups = ready;
        let count = if self.groups.is_empty() { 0 } else { count_fitting(&self.groups) };
        let taken = self.take_first(count);
        waiting.append(&mut self.groups);
        self.groups = waiting;
        if !taken.is_empty() {
            return NextGroups::Ready(taken);
        }
        let until = self.pauses.values().map(|pause| pause.until).filter(|until| *until > now).min();
        NextGroups::Wait(until.map_or(FIRST_PAUSE, |until| until - now))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds a group to the queue. Its size identifies it.
    fn push(queue: &mut AppendQueue, partition: u16, bytes: usize) {
        let group = MessageGroup {
            epoch: Epoch(1),
            partition: Partition(partition),
            room: RoomId::parse("a").unwrap(),
            messages: Vec::new(),
            bytes,
            queued_at: Instant::now(),
            outcomes: oneshot::channel().0,
        };
        queue.push(group).unwrap();
    }

    fn take(queue: &mut AppendQueue, now: Instant) -> Vec<MessageGroup> {
        match queue.take_next(now) {
            NextGroups::Ready(groups) => groups,
            NextGroups::Wait(_) | NextGroups::Empty => Vec::new(),
        }
    }

    fn sizes(groups: &[MessageGroup]) -> Vec<usize> {
        groups.iter().map(|group| group.bytes).collect()
    }

    #[test]
    fn groups_of_moving_partition_wait_in_their_order() {
        let mut queue = AppendQueue::default();
        let begun = Instant::now();
        [(1, 10), (2, 20), (1, 11)]
            .into_iter()
            .for_each(|(partition, size)| push(&mut queue, partition, size));
        let (moving, others): (Vec<_>, Vec<_>) =
            take(&mut queue, begun).into_iter().partition(|group| group.partition == Partition(1));
        assert_eq!((sizes(&moving), sizes(&others)), (vec![10, 11], vec![20]));
        push(&mut queue, 1, 12);
        push(&mut queue, 2, 21);
        queue.put_back(moving);
        assert_eq!(sizes(&take(&mut queue, begun)), [21], "the other partition does not wait");
        assert!(matches!(queue.take_next(begun), NextGroups::Wait(_)));
        let again = take(&mut queue, begun + Duration::from_secs(1));
        assert_eq!(sizes(&again), [10, 11, 12]);
        assert!(matches!(queue.take_next(begun + Duration::from_secs(1)), NextGroups::Empty));
        assert_eq!(queue.bytes.iter().sum::<usize>(), 0);
    }

    #[test]
    fn groups_put_back_count_for_their_own_partitions() {
        let mut queue = AppendQueue::default();
        [(1, 10), (2, 20), (1, 11)]
            .into_iter()
            .for_each(|(partition, size)| push(&mut queue, partition, size));
        let begun = Instant::now();
        let moving = take(&mut queue, begun);
        queue.put_back(moving);
        assert_eq!(queue.bytes[..4], [0, 21, 20, 0]);
        assert!(matches!(queue.take_next(begun), NextGroups::Wait(_)), "both partitions wait");
        assert_eq!(sizes(&take(&mut queue, begun + Duration::from_secs(1))), [10, 20, 11]);
        assert_eq!(queue.bytes.iter().sum::<usize>(), 0);
    }

    #[test]
    fn group_that_waits_too_long_is_refused() {
        let mut queue = AppendQueue::default();
        push(&mut queue, 1, 10);
        let moving = take(&mut queue, Instant::now());
        queue.put_back(moving);
        let late = Instant::now() + MAX_WAIT + Duration::from_secs(1);
        assert!(matches!(queue.take_next(late), NextGroups::Empty));
    }
}
