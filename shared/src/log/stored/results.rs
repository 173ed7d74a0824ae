//! The outcome of a wait until an event is stored. It is sent to the waiting task, or into a queue of one thread.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::ids::Seq;

/// The outcome of a wait until an accepted event is committed in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// The event is committed at the seq at which it was accepted.
    AsAccepted,
    /// The event is a late duplicate, so its seq became a void. The first message with the same client id is at `seq`.
    First { seq: Seq, id: String, at_ms: i64 },
    /// The event could not be stored, and its seq became a void.
    Rejected,
    /// It is unknown whether the event is stored. The sender can safely send it again with the same client id.
    Unavailable,
}

impl Stored {
    /// Parses the outcome of an exception as `stored.lua` writes it: `rejected`, or `<seq> <id> <at_ms>`. A malformed
    /// outcome is `Unavailable`.
    pub(super) fn parse(text: &str) -> Self {
        if text == "rejected" {
            return Self::Rejected;
        }
        let mut words = text.split(' ');
        let mut first = || {
            Some(Self::First {
                seq: Seq(words.next()?.parse().ok()?),
                id: words.next()?.to_owned(),
                at_ms: words.next()?.parse().ok()?,
            })
        };
        first().unwrap_or(Self::Unavailable)
    }
}

/// A queue of outcomes for one thread, each with the ticket that the thread gave to the wait. The thread is woken only
/// once for a watermark that ends many waits.
#[derive(Debug, Default)]
pub struct StoredQueue {
    results: Mutex<Vec<(u64, Stored)>>,
    ready: Notify,
}

impl StoredQueue {
    fn push(&self, ticket: u64, stored: Stored) {
        self.results().push((ticket, stored));
        self.ready.notify_one();
    }

    /// Waits until there are outcomes, then removes and returns all of them. Only one task may wait at a time.
    pub async fn take_all(&self) -> Vec<(u64, Stored)> {
        loop {
            let results = std::mem::take(&mut *self.results());
            if !results.is_empty() {
                return results;
            }
            self.ready.notified().await;
        }
    }

    fn results(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Stored)>> {
        // A poisoned lock is usable, because no code that holds the lock can panic in the middle of a change.
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends the outcome of one wait to the waiting task, or into a queue with the ticket of the wait.
#[derive(Debug)]
pub(super) enum ResultSender {
    Task(oneshot::Sender<Stored>),
    Queue(Arc<StoredQueue>, u64),
}

impl ResultSender {
    /// Delivers the outcome, or drops the outcome if the task no longer waits.
    pub fn send(self, stored: Stored) {
        match self {
            Self::Task(task) => {
                // Sending fails if the task has timed out.
                let _ = task.send(stored);
            }
            Self::Queue(queue, ticket) => queue.push(ticket, stored),
        }
    }

    /// Whether the task that waited for the outcome was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Task(task) if task.is_closed())
    }
}
