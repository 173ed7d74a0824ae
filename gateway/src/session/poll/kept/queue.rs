//! The queue of the kept polls of one worker, in the order in which they end. Pure: the caller passes the time.

use std::{cell::Cell, collections::BTreeMap, rc::Rc, time::Duration};

use rustc_hash::FxHashMap;
use tidings_shared::ids::UserId;
use tokio::time::Instant;

use crate::client::{KeptPollUsage, PollBuffer};

/// How long a poll is kept after its answer. Clients poll again at once, or after a short pause.
const KEEP_DURATION: Duration = Duration::from_secs(10);
/// Maximum number of kept polls of one worker, and of one user.
const MAX_KEPT_POLLS: usize = 10_000;
const MAX_KEPT_POLLS_PER_USER: usize = 8;
/// Maximum bytes of all kept polls of one worker. A frame that several polls hold counts for each of them. Above the
/// maximum, only polls of users with more than an equal share end, so that users with many bytes cannot end the kept
/// polls of all others.
const MAX_KEPT_BYTES: usize = 32 * 1024 * 1024;
/// The bytes that remain when polls end because there were too many bytes. The difference lets many frames come before
/// polls must end again.
const REMAINING_BYTES: usize = MAX_KEPT_BYTES / 8 * 7;
/// Estimated memory of a kept poll without its frames, in bytes: a fixed part, and a part for each room.
const POLL_BYTES: usize = 2 * 1024;
const ROOM_BYTES: usize = 512;

/// An item of the queue, which has the buffer of one poll.
pub(super) trait HasPollBuffer {
    fn buffer(&self) -> &PollBuffer;
}

struct Entry<T> {
    user: UserId,
    item: T,
    ends_at: Instant,
}

/// The items of one user, and their bytes.
#[derive(Default)]
struct UserEntries {
    /// The numbers of the items, oldest first.
    numbers: Vec<u64>,
    bytes: Rc<Cell<usize>>,
}

/// The kept items of one worker, by number. Numbers grow: an item that was added later has a higher number.
pub(super) struct KeptQueue<T> {
    entries: BTreeMap<u64, Entry<T>>,
    users: FxHashMap<UserId, UserEntries>,
    next_number: u64,
    usage: Rc<KeptPollUsage>,
}

impl<T: HasPollBuffer> Default for KeptQueue<T> {
    fn default() -> Self {
        let usage = KeptPollUsage::new(MAX_KEPT_BYTES);
        Self { entries: BTreeMap::new(), users: FxHashMap::default(), next_number: 0, usage }
    }
}

impl<T: HasPollBuffer> KeptQueue<T> {
    /// The bytes that all items hold, and the numbers of the items that have closed.
    pub fn usage(&self) -> &Rc<KeptPollUsage> {
        &self.usage
    }

    /// Keeps an item of this many rooms. Returns the user's oldest item if the user has too many.
    pub fn push(&mut self, user: &UserId, rooms: usize, item: T, now: Instant) -> Option<T> {
        let number = self.next_number;
        self.next_number += 1;
        let UserEntries { numbers, bytes } = self.users.entry(user.clone()).or_default();
        item.buffer().keep(&self.usage, bytes, number, POLL_BYTES + rooms * ROOM_BYTES);
        self.entries.insert(number, Entry { user: user.clone(), item, ends_at: now + KEEP_DURATION });
        numbers.push(number);
        let oldest = (numbers.len() > MAX_KEPT_POLLS_PER_USER).then(|| numbers[0]);
        oldest.and_then(|oldest| self.remove(oldest)).map(|entry| entry.item)
    }

    /// Takes the user's oldest item for which `is_wanted` returns true.
    pub fn take(&mut self, user: &UserId, is_wanted: impl Fn(&T) -> bool) -> Option<T> {
        let is_wanted = |number: &&u64| self.entries.get(number).is_some_and(|entry| is_wanted(&entry.item));
        let number = *self.users.get(user)?.numbers.iter().find(is_wanted)?;
        self.remove(number).map(|entry| entry.item)
    }

    /// Takes the items that must end, with their users: those that have closed or whose time is over, the oldest ones
    /// while there are too many, and those that [`Self::remove_above_share`] removes.
    pub fn take_ended(&mut self, now: Instant) -> Vec<(UserId, T)> {
        let closed = self.usage.take_closed();
        let mut ended: Vec<_> = closed.into_iter().filter_map(|number| self.remove(number)).collect();
        while let Some((&number, oldest)) = self.entries.first_key_value()
            && (oldest.ends_at <= now || self.entries.len() > MAX_KEPT_POLLS)
        {
            ended.extend(self.remove(number));
        }
        self.remove_above_share(&mut ended);
        ended.into_iter().map(|entry| (entry.user, entry.item)).collect()
    }

    /// When the oldest item ends; `None` if there is no item.
    pub fn next_end(&self) -> Option<Instant> {
        self.entries.first_key_value().map(|(_, oldest)| oldest.ends_at)
    }

    /// Whether the user has an item.
    pub fn has_item_of(&self, user: &UserId) -> bool {
        self.users.contains_key(user)
    }

    /// If all items together have too many bytes, removes the oldest items of the users that have more than an equal share
    /// of the remaining bytes. If no user has more, all items together have at most the remaining bytes.
    fn remove_above_share(&mut self, removed: &mut Vec<Entry<T>>) {
        if !self.usage.is_over_limit() {
            return;
        }
        let share = REMAINING_BYTES / self.users.len().max(1);
        let above = self.users.values().filter(|user| user.bytes.get() > share);
        let mut numbers: Vec<u64> = above.flat_map(|user| user.numbers.iter().copied()).collect();
        numbers.sort_unstable();
        for number in numbers {
            if self.usage.bytes() <= REMAINING_BYTES {
                return;
            }
            let user = self.entries.get(&number).and_then(|entry| self.users.get(&entry.user));
            if user.is_some_and(|user| user.bytes.get() > share) {
                removed.extend(self.remove(number));
            }
        }
    }

    fn remove(&mut self, number: u64) -> Option<Entry<T>> {
        let entry = self.entries.remove(&number)?;
        entry.item.buffer().stop_keeping();
        if let Some(user) = self.users.get_mut(&entry.user) {
            user.numbers.retain(|other| *other != number);
            if user.numbers.is_empty() {
                self.users.remove(&entry.user);
            }
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        client::ClientTransport,
        transport::{Frame, close_code},
    };

    impl HasPollBuffer for Rc<PollBuffer> {
        fn buffer(&self) -> &PollBuffer {
            self
        }
    }

    fn users(count: usize) -> Vec<UserId> {
        (0..count).map(|n| UserId::parse(&format!("user{n}")).unwrap()).collect()
    }

    /// Keeps a poll of this many rooms for each user, and returns their buffers.
    fn keep(
        queue: &mut KeptQueue<Rc<PollBuffer>>,
        users: &[UserId],
        rooms: usize,
        now: Instant,
    ) -> Vec<Rc<PollBuffer>> {
        users
            .iter()
            .map(|user| {
                let buffer = PollBuffer::new(rooms);
                assert!(queue.push(user, rooms, buffer.clone(), now).is_none());
                buffer
            })
            .collect()
    }

    fn names(ended: &[(UserId, Rc<PollBuffer>)]) -> Vec<&str> {
        ended.iter().map(|(user, _)| user.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn kept_polls_expire_in_deadline_order() {
        let (mut queue, users, begun) = (KeptQueue::default(), users(3), Instant::now());
        keep(&mut queue, &users[..2], 1, begun);
        keep(&mut queue, &users[2..], 1, begun + Duration::from_secs(1));
        assert!(queue.take(&users[0], |_| false).is_none() && queue.take(&users[0], |_| true).is_some());
        assert!(!queue.has_item_of(&users[0]) && queue.take_ended(begun).is_empty());
        let first_end = queue.next_end().unwrap();
        assert_eq!((first_end, names(&queue.take_ended(first_end))), (begun + KEEP_DURATION, vec!["user1"]));
        assert_eq!(names(&queue.take_ended(first_end + Duration::from_secs(1))), ["user2"]);
        assert_eq!(queue.next_end(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_above_the_limit_end_the_oldest_only() {
        let (mut queue, users, now) = (KeptQueue::default(), users(600), Instant::now());
        let buffers = keep(&mut queue, &users, 1, now);
        assert!(queue.take_ended(now).is_empty());
        let frame = Frame::text("x".repeat(60 * 1024));
        for buffer in &buffers {
            ClientTransport::Poll(buffer.clone()).send(frame.clone());
        }
        let ended = queue.take_ended(now);
        let each = POLL_BYTES + ROOM_BYTES + frame.len();
        assert_eq!(ended.len(), 600 - REMAINING_BYTES / each);
        assert!(ended.iter().zip(&users).all(|((ended, _), user)| ended == user));
        // A poll of many rooms counts many bytes, even without frames.
        let (mut queue, many) = (KeptQueue::default(), 100);
        keep(&mut queue, &users[..many], 1_000, now);
        assert_eq!(queue.take_ended(now).len(), many - REMAINING_BYTES / (POLL_BYTES + 1_000 * ROOM_BYTES));
    }

    #[tokio::test(start_paused = true)]
    async fn users_above_an_equal_share_lose_their_polls_first() {
        let (mut queue, users, now) = (KeptQueue::default(), users(10), Instant::now());
        let (quiet, rooms) = (&users[0], 1_000);
        // The quiet user's poll is the oldest of all.
        keep(&mut queue, &users[..1], 1, now);
        (0..MAX_KEPT_POLLS_PER_USER).for_each(|_| drop(keep(&mut queue, &users[1..], rooms, now)));
        let each = POLL_BYTES + rooms * ROOM_BYTES;
        assert!(MAX_KEPT_POLLS_PER_USER * each > MAX_KEPT_BYTES / users.len());
        let surplus =
            (9 * MAX_KEPT_POLLS_PER_USER * each + POLL_BYTES + ROOM_BYTES - REMAINING_BYTES).div_ceil(each);
        let ended = queue.take_ended(now);
        assert!(queue.has_item_of(quiet) && queue.usage().bytes() <= REMAINING_BYTES);
        let oldest = users[1..].iter().cycle().take(surplus);
        assert_eq!(names(&ended), oldest.map(UserId::as_str).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn number_of_kept_items_is_limited_for_each_user_and_for_all() {
        let (mut queue, now) = (KeptQueue::default(), Instant::now());
        let alice = &users(1)[0];
        let buffers: Vec<_> = (0..=MAX_KEPT_POLLS_PER_USER).map(|_| PollBuffer::new(0)).collect();
        let surplus: Vec<_> =
            buffers.iter().filter_map(|buffer| queue.push(alice, 0, buffer.clone(), now)).collect();
        assert!(surplus.len() == 1 && Rc::ptr_eq(&surplus[0], &buffers[0]));
        keep(&mut queue, &users(MAX_KEPT_POLLS + 1)[1..], 0, now);
        let ended = queue.take_ended(now);
        assert_eq!(names(&ended), [alice.as_str(); MAX_KEPT_POLLS_PER_USER]);
    }

    #[tokio::test(start_paused = true)]
    async fn closed_poll_ends_at_once() {
        let (mut queue, users, now) = (KeptQueue::default(), users(2), Instant::now());
        let buffers = keep(&mut queue, &users, 0, now);
        let woken = queue.usage().clone();
        ClientTransport::Poll(buffers[1].clone()).close(close_code::TOO_SLOW, "");
        tokio::time::timeout(Duration::from_secs(1), woken.changed.notified()).await.unwrap();
        assert_eq!(names(&queue.take_ended(now)), ["user1"]);
    }
}
