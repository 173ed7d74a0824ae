//! Results of waits for "stored". Each result goes to the task that waits for it, or into a queue for all waits of one
//! thread.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::ids::Seq;

/// The result of a wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// Committed at the position at which it was accepted.
    Here,
    /// A late duplicate: the first message of this client id is at `seq`.
    First { seq: Seq, id: String, at_ms: i64 },
    /// The event could not be stored.
    Rejected,
    /// It is unknown whether the event is stored; the sender may repeat the client id.
    Unavailable,
}

impl Stored {
    /// Parses an outcome as `stored.lua` gets it.
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

/// Results of the waits of one thread. The thread chose a ticket for each wait. A watermark that answers many waits wakes
/// the thread once.
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

    /// Waits for results, and takes all of them. Only one task may wait.
    pub async fn take(&self) -> Vec<(u64, Stored)> {
        loop {
            let results = std::mem::take(&mut *self.results());
            if !results.is_empty() {
                return results;
            }
            self.ready.notified().await;
        }
    }

    fn results(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Stored)>> {
        // No code that runs under the lock can panic half-way through a change.
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where one result is sent.
#[derive(Debug)]
pub(super) enum ResultSender {
    Task(oneshot::Sender<Stored>),
    Queue(Arc<StoredQueue>, u64),
}

impl ResultSender {
    pub fn send(self, stored: Stored) {
        match self {
            Self::Task(task) => {
                // The task may have timed out.
                let _ = task.send(stored);
            }
            Self::Queue(queue, ticket) => queue.push(ticket, stored),
        }
    }

    /// Whether nobody waits for the result any more.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Task(task) if task.is_closed())
    }
}
