//! Stochastic fair queueing: items wait in queues by the hash of their room, and the queues are served in turn. A room
//! with many items delays another room by at most one visit. If its queue becomes too large, only this queue is
//! emptied. Rooms whose ids have the same hash share a queue. Pure.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, BuildHasherDefault},
};

use rustc_hash::FxHasher;

/// Number of queues. A quiet room shares the queue of a given busy room with a probability of 1/256.
const QUEUE_COUNT: usize = 256;
/// Maximum bytes of one queue: an eighth of the bytes that the bus queues for a worker.
const MAX_QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// A visit to a queue ends after this many items, or this many bytes, and the next queue follows.
const MAX_VISIT_ITEMS: usize = 16;
const MAX_VISIT_BYTES: usize = 16 * 1024;

struct ItemQueue<T> {
    /// The items, each with its bytes.
    items: VecDeque<(T, usize)>,
    bytes: usize,
}

/// The index of one of the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct QueueIndex(usize);

impl QueueIndex {
    /// The queue of a room.
    pub fn of_room(room: &str) -> Self {
        let hash = BuildHasherDefault::<FxHasher>::default().hash_one(room);
        // The high bits of this hash depend on all characters.
        Self(usize::try_from(hash >> 40).unwrap_or_default() % QUEUE_COUNT)
    }
}

/// Queues of items that are served in turn.
pub(super) struct FairQueue<T> {
    queues: Vec<ItemQueue<T>>,
    /// The queues with items, in the order in which they are visited.
    order: VecDeque<QueueIndex>,
    /// The numbers of items and bytes that the current visit may still take.
    visit_budget: (usize, usize),
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        let queues = (0..QUEUE_COUNT).map(|_| ItemQueue { items: VecDeque::new(), bytes: 0 }).collect();
        Self { queues, order: VecDeque::new(), visit_budget: (MAX_VISIT_ITEMS, MAX_VISIT_BYTES) }
    }
}

impl<T> FairQueue<T> {
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Adds an item behind the other items of its queue. If the queue then has too many bytes, empties the queue and
    /// returns its items and their bytes.
    pub fn push(&mut self, index: QueueIndex, item: T, bytes: usize) -> Option<(Vec<T>, usize)> {
        let queue = &mut self.queues[index.0];
        if queue.items.is_empty() {
            self.order.push_back(index);
        }
        queue.items.push_back((item, bytes));
        queue.bytes += bytes;
        if queue.bytes <= MAX_QUEUE_BYTES {
            return None;
        }
        let (items, bytes) = (std::mem::take(&mut queue.items), std::mem::take(&mut queue.bytes));
        self.remove_from_order(index);
        Some((items.into_iter().map(|(item, _)| item).collect(), bytes))
    }

    /// Takes the next item, with its queue and its bytes.
    pub fn pop(&mut self) -> Option<(T, QueueIndex, usize)> {
        let index = *self.order.front()?;
        let (item, bytes) = self.pop_from(index)?;
        self.visit_budget =
            (self.visit_budget.0.saturating_sub(1), self.visit_budget.1.saturating_sub(bytes));
        if self.order.front() != Some(&index) {
            self.visit_budget = (MAX_VISIT_ITEMS, MAX_VISIT_BYTES);
        } else if self.visit_budget.0 == 0 || self.visit_budget.1 == 0 {
            self.end_visit(index);
        }
        Some((item, index, bytes))
    }

    /// Takes the next item of this queue with its bytes, even if another queue is being visited.
    pub fn pop_from(&mut self, index: QueueIndex) -> Option<(T, usize)> {
        let queue = &mut self.queues[index.0];
        let (item, bytes) = queue.items.pop_front()?;
        queue.bytes -= bytes;
        if queue.items.is_empty() {
            queue.items = VecDeque::new();
            self.remove_from_order(index);
        }
        Some((item, bytes))
    }

    pub fn is_queue_empty(&self, index: QueueIndex) -> bool {
        self.queues[index.0].items.is_empty()
    }

    /// Ends the visit to a queue, unless the visit has already ended. If other queues have items, the next item comes
    /// from one of them.
    pub fn end_visit(&mut self, index: QueueIndex) {
        if self.order.front() == Some(&index) {
            self.order.rotate_left(1);
            self.visit_budget = (MAX_VISIT_ITEMS, MAX_VISIT_BYTES);
        }
    }

    fn remove_from_order(&mut self, index: QueueIndex) {
        self.order.retain(|other| *other != index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(queue: &mut FairQueue<(usize, u32)>, room: &str, number: u32, bytes: usize) -> bool {
        let index = QueueIndex::of_room(room);
        queue.push(index, (index.0, number), bytes).is_none()
    }

    fn pop_all_of(queue: &mut FairQueue<(usize, u32)>, room: &str) -> Vec<(usize, u32)> {
        let (order, index) = (std::iter::from_fn(|| queue.pop()), QueueIndex::of_room(room).0);
        order
            .enumerate()
            .filter(|(_, (item, ..))| item.0 == index)
            .map(|(at, (item, ..))| (at, item.1))
            .collect()
    }

    #[test]
    fn quiet_room_waits_for_one_visit_of_a_hot_room() {
        let mut queue = FairQueue::default();
        for number in 0..1_000 {
            assert!(push(&mut queue, "hot", number, 100));
        }
        assert!(push(&mut queue, "quiet", 1, 100) && push(&mut queue, "quiet", 2, 100));
        assert_eq!(pop_all_of(&mut queue, "quiet"), [(MAX_VISIT_ITEMS, 1), (MAX_VISIT_ITEMS + 1, 2)]);
        assert!(queue.is_empty());
    }

    #[test]
    fn large_records_end_a_visit_early() {
        let mut queue = FairQueue::default();
        for number in 0..10 {
            push(&mut queue, "hot", number, MAX_VISIT_BYTES / 2);
        }
        push(&mut queue, "quiet", 1, 100);
        assert_eq!(pop_all_of(&mut queue, "quiet"), [(2, 1)]);
    }

    #[test]
    fn second_end_visit_does_not_end_next_visit() {
        let mut queue = FairQueue::default();
        for number in 0..100 {
            push(&mut queue, "hot", number, 100);
        }
        push(&mut queue, "quiet", 1, 100);
        let (hot, quiet) = (QueueIndex::of_room("hot"), QueueIndex::of_room("quiet"));
        // A turn that is over after each item ends the visits early.
        for expected in [hot, quiet, hot] {
            let (_, index, _) = queue.pop().unwrap();
            assert_eq!(index, expected);
            queue.end_visit(index);
            queue.end_visit(index);
        }
        push(&mut queue, "quiet", 2, 100);
        let indexes: Vec<_> = (0..MAX_VISIT_ITEMS).map(|_| queue.pop().unwrap().1).collect();
        assert_eq!(indexes, [hot; MAX_VISIT_ITEMS]);
        // The visit to the hot room has ended with its last item.
        queue.end_visit(hot);
        assert_eq!(queue.pop().unwrap().1, quiet);
    }

    #[test]
    fn items_of_a_room_keep_their_order() {
        let mut queue = FairQueue::default();
        let rooms = ["a", "b", "c", "d"];
        for number in 0..400 {
            push(&mut queue, rooms[number as usize % 4], number / 4, 7_000);
        }
        let all: Vec<(usize, u32)> = std::iter::from_fn(|| queue.pop().map(|(item, ..)| item)).collect();
        for room in rooms {
            let own = all.iter().filter(|item| item.0 == QueueIndex::of_room(room).0).map(|item| item.1);
            assert!(own.eq(0..100), "{room}");
        }
    }

    #[test]
    fn overflow_empties_the_queue_of_the_hot_room_only() {
        let mut queue = FairQueue::default();
        push(&mut queue, "quiet", 1, 100);
        let taken = (0..100).take_while(|number| push(&mut queue, "hot", *number, 64 * 1024)).count();
        assert_eq!(taken, MAX_QUEUE_BYTES / (64 * 1024));
        assert!(
            queue.is_queue_empty(QueueIndex::of_room("hot"))
                && !queue.is_queue_empty(QueueIndex::of_room("quiet"))
        );
        assert!(push(&mut queue, "hot", 7, 100));
        assert_eq!(pop_all_of(&mut queue, "hot"), [(1, 7)]);
    }
}
