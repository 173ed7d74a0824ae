//! The history of one run: everything that clients sent and received, with times and connections, and the stored data
//! at the end; and the rules that it must satisfy. The rules use nothing else: not the internals of the system, and not
//! the clients' interpretation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::frames::{Cursor, ServerFrame};

mod audience;
mod changes;
mod copies;
mod sends;
mod stored;
mod story;

pub use changes::{Asked, Change, ChangeOutcome, Changes, Reactions, check_changes, read_reactions};
pub use stored::{Stored, StoredEvent, read_stored};
pub use story::story;

/// An event at a position of a room's log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// Its place.
    pub seq: u64,
    /// Wire type.
    pub kind: String,
    /// Id of the message, of `message:new`.
    pub id: String,
    /// The client id; empty if the frame has none.
    pub client_id: String,
    /// The text of a message; for other events a description that frames and the database have in common.
    pub about: String,
}

impl Event {
    /// The event of a frame; `None`: it is not a log event.
    pub fn of(frame: &ServerFrame) -> Option<Event> {
        let (_, seq) = frame.place()?;
        let kind = frame.kind().to_owned();
        Some(match frame {
            ServerFrame::Message(message) => Event {
                seq,
                kind,
                id: message.id.clone(),
                client_id: message.client_id.clone(),
                about: message.content.clone(),
            },
            ServerFrame::Void(void) => Event {
                seq,
                kind,
                id: String::new(),
                client_id: void.client_id.clone().unwrap_or_default(),
                about: void.target.to_string(),
            },
            ServerFrame::Other(value) => Event {
                seq,
                kind,
                id: String::new(),
                client_id: value["client_id"].as_str().unwrap_or_default().to_owned(),
                about: value["target"].as_u64().map(|target| target.to_string()).unwrap_or_default(),
            },
            _ => return None,
        })
    }
}

/// The answer to a sent message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AckOutcome {
    /// It is stored at this place, with this id.
    Stored { seq: u64, id: String },
    /// It was accepted at this place of this epoch.
    Accepted { epoch: String, seq: u64, id: String },
    /// It was refused with this code; `finally`: a retry makes no sense.
    Refused { code: String, finally: bool },
}

/// Something that a client did or received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The connection is open.
    Connected,
    /// The connection ended.
    Lost,
    /// The client joins the room, after its cursor.
    Joining(Option<Cursor>),
    /// The answer, with the room's head.
    Joined(Cursor),
    /// A log event came over the connection.
    Event(Arc<Event>),
    /// `room:caught_up`
    CaughtUp(Cursor),
    /// `room:gap`
    Gap { after: u64, head: Cursor },
    /// A page of the log that fills a gap: the events above `after` up to `next`; `upto` was requested.
    Page { after: u64, upto: u64, next: u64, events: Vec<Arc<Event>> },
    /// The client sends a message, or repeats it.
    Sent { client_id: String, text: String, visible_to: Vec<String> },
    /// The answer to a sent message.
    Answered { client_id: String, answer: AckOutcome },
}

/// One line of the history.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Time since the run began.
    pub at: Duration,
    /// The user of the client.
    pub user: String,
    /// Number of the client's connection, from 1.
    pub connection: u64,
    /// The room; empty: the connection itself.
    pub room: String,
    /// What happened.
    pub what: What,
}

/// Records the entries of all clients in one order.
#[derive(Debug, Clone)]
pub struct History {
    begun: Instant,
    entries: Arc<Mutex<Vec<Entry>>>,
}

impl Default for History {
    fn default() -> Self {
        Self { begun: Instant::now(), entries: Arc::default() }
    }
}

impl History {
    /// Adds an entry.
    pub fn add(&self, user: &str, connection: u64, room: &str, what: What) {
        let (user, room) = (user.to_owned(), room.to_owned());
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // The time is read under the lock, so that entries are ordered by time.
        entries.push(Entry { at: self.begun.elapsed(), user, connection, room, what });
    }

    /// Time since the run began.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Takes all entries.
    pub fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Rule {
    /// A message with the answer `stored` is stored once, at that position, with that id.
    Stored,
    /// A message with the answer `accepted` is stored at that position, with that id, or its sender was informed that
    /// it is not: by its void, or by a new epoch that begins below it.
    Accepted,
    /// A sender's client id occurs once in a room, and once in each listener's view of it.
    Once,
    /// The stored log of a room has every position from 1 to its head, once.
    Dense,
    /// Everything that is stored was sent like this.
    Sent,
    /// A listener receives events in the order of the log, each once.
    Order,
    /// A listener has every event that it may see, up to the position at which the server said that it is complete.
    Complete,
    /// Nobody receives an event that they may not see, whether it is stored or not. A change has the audience of its
    /// message.
    Private,
    /// Every listener has the stored event at each position, and no two listeners received different events at the same
    /// position of one epoch.
    Agreement,
    /// Frames come only when the protocol allows them.
    Protocol,
    /// The buffers of the services are bounded.
    Bounded,
    /// An edit, delete or reaction with the answer `stored` is stored and has its effect, and no message has a text
    /// that nobody requested.
    Changed,
    /// No service panics or reports an internal error.
    Sound,
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The broken rule.
    pub rule: Rule,
    /// The room; empty: none.
    pub room: String,
    /// The position in its log; 0: none.
    pub seq: u64,
    /// The user whose view it is; empty: none.
    pub user: String,
    /// In words.
    pub what: String,
}

/// What was checked, so that an empty history does not pass as a good one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Answers `stored`.
    pub stored: u64,
    /// Answers `accepted` without a later `stored`.
    pub accepted: u64,
    /// How many of these were lost, and reported as lost.
    pub given_up: u64,
    /// Events that listeners had at the end.
    pub deliveries: u64,
    /// Gaps that listeners received.
    pub gaps: u64,
    /// How often a listener got a new epoch: by a gap or, if PostgreSQL had everything that Redis lost, without a gap.
    pub new_epochs: u64,
    /// Events that a listener may not see, and did not receive.
    pub hidden: u64,
    /// Connections.
    pub connections: u64,
}

/// Checks a history against the rules.
pub fn check(entries: &[Entry], stored: &BTreeMap<String, Stored>) -> (Checked, Vec<Violation>) {
    let (mut checked, mut violations) = (Checked::default(), Vec::new());
    sends::check(entries, stored, &mut checked, &mut violations);
    audience::check(stored, &mut violations);
    copies::check(entries, stored, &mut checked, &mut violations);
    checked.connections = entries.iter().filter(|entry| entry.what == What::Connected).count() as u64;
    violations
        .sort_by(|one, other| (&one.rule, &one.room, one.seq).cmp(&(&other.rule, &other.room, other.seq)));
    (checked, violations)
}

#[cfg(test)]
mod tests;
