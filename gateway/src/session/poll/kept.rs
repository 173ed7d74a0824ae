//! Keeps each answered poll on its worker for some seconds: its client with the subscriptions, and the frames that
//! arrive. A later poll of the user with the cursors of that answer continues the kept poll, and reads nothing from
//! Redis for these rooms. Any other poll joins its rooms again, so losing a kept poll loses no event.

mod queue;

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use tidings_shared::ids::{Cursor, RoomId, UserId};
use tokio::time::Instant;

use super::{Poll, answer::AnswerPositions, workers::PollWorkers};
use crate::client::PollBuffer;
use queue::{HasPollBuffer, KeptQueue};

/// An answered poll, with the cursors in its answer.
struct KeptPoll {
    poll: Poll,
    reached: AnswerPositions,
}

impl HasPollBuffer for KeptPoll {
    fn buffer(&self) -> &PollBuffer {
        &self.poll.buffer
    }
}

impl KeptPoll {
    /// Whether a poll with these cursors continues this one. The new poll must have the cursor of the last answer for
    /// each joined room, and may join further rooms. A kept poll with an ended subscription is never continued: if the
    /// new poll joined that room again, it would get the frames that wait here twice.
    fn is_continued_by(&self, cursors: &[(RoomId, Option<Cursor>)]) -> bool {
        let client = &self.poll.handle.client;
        let joined = || cursors.iter().filter(|(room, _)| client.subscription(room).is_some());
        let is_reached = |(room, cursor): &(RoomId, Option<Cursor>)| {
            cursor.is_some() && self.reached.cursors.get(room) == Some(cursor)
        };
        let reached = self.reached.cursors.values().flatten().count();
        self.poll.buffer.close_code().is_none()
            && client.rooms().len() == reached
            && joined().count() == reached
            && joined().all(is_reached)
    }
}

/// The kept polls of one worker.
pub(super) struct KeptPolls {
    queue: RefCell<KeptQueue<KeptPoll>>,
    worker: usize,
    workers: Arc<PollWorkers>,
}

impl KeptPolls {
    /// Creates the queue, and starts the task that ends kept polls, on the current thread.
    pub fn start(worker: usize, workers: Arc<PollWorkers>) -> Rc<Self> {
        let polls = Rc::new(Self { queue: RefCell::default(), worker, workers });
        tokio::task::spawn_local(expire_kept_polls(polls.clone()));
        polls
    }

    /// Keeps an answered poll. If there are too many, the oldest kept poll of the user or of the worker ends.
    pub fn keep(&self, user: &UserId, poll: Poll, reached: AnswerPositions) {
        let (rooms, kept) = (reached.cursors.len(), KeptPoll { poll, reached });
        let surplus = self.queue.borrow_mut().push(user, rooms, kept, Instant::now());
        drop(surplus);
        self.workers.set_owner(user, self.worker);
        self.queue.borrow().usage().changed.notify_one();
    }

    /// Takes the kept poll that a poll of this user with these cursors continues, and the epochs of its rooms.
    pub fn take(
        &self,
        user: &UserId,
        cursors: &[(RoomId, Option<Cursor>)],
    ) -> Option<(Poll, HashMap<RoomId, String>)> {
        let kept = self.queue.borrow_mut().take(user, |kept| kept.is_continued_by(cursors))?;
        self.clear_owner_if_unused(user);
        Some((kept.poll, kept.reached.epochs))
    }

    /// Ends the kept polls that must end. Returns the time at which the next one ends.
    fn end_expired(&self) -> Option<Instant> {
        let ended = self.queue.borrow_mut().take_ended(Instant::now());
        for (user, kept) in ended {
            self.clear_owner_if_unused(&user);
            drop(kept);
        }
        self.queue.borrow().next_end()
    }

    /// If this worker keeps no poll of the user any more, records this in [`PollWorkers`].
    fn clear_owner_if_unused(&self, user: &UserId) {
        if !self.queue.borrow().has_item_of(user) {
            self.workers.clear_owner(user, self.worker);
        }
    }
}

/// Ends kept polls when their time is over, when they have closed, and when there are too many or they have too many
/// bytes. Never returns.
async fn expire_kept_polls(polls: Rc<KeptPolls>) {
    let usage = polls.queue.borrow().usage().clone();
    loop {
        let next_end = polls.end_expired();
        let timer = async {
            match next_end {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = timer => {}
            () = usage.changed.notified() => {}
        }
    }
}
