//! The history of one run: what every client sent, was answered and received, with times and connections, and what is
//! stored at the end; and the rules that all of it must keep together.
//! The rules look at nothing else: not at how the system works, and not at what a client made of what it received.

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

pub use changes::{Asked, Change, Changes, Outcome, Reactions, check_changes, read_reactions};
pub use stored::{Stored, StoredEvent, read_stored};
pub use story::story;

/// What stands, or is said to stand, at a place of a room's log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// Its place.
    pub seq: u64,
    /// Wire type.
    pub kind: String,
    /// Id of the message, of `message:new`.
    pub id: String,
    /// The client id; empty where the wire does not tell it.
    pub client_id: String,
    /// Text of a message; of others what they are about, in words that both the wire and the database give.
    pub about: String,
}

impl Event {
    /// The event that a frame brings; `None`: it is no log event.
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

/// What a sender was told of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is stored at this place, with this id.
    Stored { seq: u64, id: String },
    /// It was accepted at this place of this epoch.
    Accepted { epoch: String, seq: u64, id: String },
    /// Not, with this code; when it may be tried again it is.
    Refused { code: String, finally: bool },
}

/// Something that a client did or that happened to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A connection stands from here on.
    Connected,
    /// It is gone.
    Lost,
    /// It asks for the room, from its cursor on.
    Joining(Option<Cursor>),
    /// The answer, with the room's head.
    Joined(Cursor),
    /// A log event came over the connection.
    Event(Arc<Event>),
    /// `room:caught_up`
    CaughtUp(Cursor),
    /// `room:gap`
    Gap { after: u64, head: Cursor },
    /// A page of the log that fills a gap: what is above `after`, up to `next`, asked for up to `upto`.
    Page { after: u64, upto: u64, next: u64, events: Vec<Arc<Event>> },
    /// A message goes out, or goes out again.
    Sent { client_id: String, text: String, visible_to: Vec<String> },
    /// What the sender was told of it.
    Answered { client_id: String, answer: Answer },
}

/// One line of the history.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Since the run began.
    pub at: Duration,
    /// Whose client.
    pub user: String,
    /// Its connections are counted from 1.
    pub connection: u64,
    /// Which room it is about; empty: the connection itself.
    pub room: String,
    /// What happened.
    pub what: What,
}

/// Where clients write it down, all of them in one order.
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
    /// Adds a line.
    pub fn add(&self, user: &str, connection: u64, room: &str, what: What) {
        let (user, room) = (user.to_owned(), room.to_owned());
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the order is that of the times.
        entries.push(Entry { at: self.begun.elapsed(), user, connection, room, what });
    }

    /// Since the run began.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// All of it.
    pub fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Rule {
    /// What was answered `stored` is stored once, at that place, with that id.
    Stored,
    /// What was answered `accepted` is stored at that place, with that id, or its sender was told that it is not: by its
    /// void, or by a new epoch that begins below it.
    Accepted,
    /// One sender's client id stands in a room once, and in what a listener holds of it.
    Once,
    /// The stored log of a room has every place from 1 to its head, once.
    Dense,
    /// What is stored was sent, as it was sent.
    Sent,
    /// A listener is given events in the order of the log, each once.
    Order,
    /// A listener holds every event that it may see, up to where it was told that it is complete.
    Complete,
    /// No event is given to whom it is not for, stored or not, and what changes a message is for nobody else.
    Private,
    /// Nobody holds at a place anything but what is stored there, and no two were given different events at one
    /// place in one epoch.
    Agreement,
    /// Frames come where they may come.
    Protocol,
    /// What the services hold has a bound.
    Bounded,
    /// An edit, a delete or a reaction that was answered `stored` is stored and counts, and no message says what nobody
    /// asked for it to say.
    Changed,
    /// No service panics or says that it failed inside.
    Sound,
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// In which room; empty: in none.
    pub room: String,
    /// Where in its log; 0: nowhere.
    pub seq: u64,
    /// Whose view; empty: nobody's.
    pub user: String,
    /// In words.
    pub what: String,
}

/// What was checked, so that an empty history is not taken for a good one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Answers `stored`.
    pub stored: u64,
    /// Answers `accepted` that no `stored` followed.
    pub accepted: u64,
    /// Of those, what was lost and told so.
    pub given_up: u64,
    /// Events that listeners held at the end.
    pub deliveries: u64,
    /// Gaps that listeners were told of.
    pub gaps: u64,
    /// Times a listener was told of a new epoch, by a gap or, where storage had all that was lost, without.
    pub new_epochs: u64,
    /// Events that a listener could not see, and was not given.
    pub hidden: u64,
    /// Connections.
    pub connections: u64,
}

/// Holds a history against the rules.
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
