//! The history of one run, and the rules that it must satisfy. The history contains everything that clients sent and
//! received, with times and connections, and the data that is stored at the end. The rules use only the history: they
//! know nothing of the services, and do not trust the state that clients derived from their frames.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::frames::{Cursor, ServerFrame};

mod audience;
mod changes;
mod copies;
mod prefix;
mod sends;
mod stored;
mod story;

pub use changes::{
    Change, ChangeOutcome, ChangeRequests, Reactions, RequestedChange, check_changes, read_reactions,
};
pub use prefix::{PrefixCheck, RoomSnapshot};
pub use stored::{StoredEvent, StoredLog, read_stored};
pub use story::describe_violation;

/// An event at a position of a room's log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// The position in the log.
    pub seq: u64,
    /// The `type` of the frame.
    pub kind: String,
    /// The message id of a `message:new`; empty for other events.
    pub id: String,
    /// The client id; empty if the frame has none.
    pub client_id: String,
    /// The text of a message. For other events, a description that is the same for a frame and for the stored event.
    pub about: String,
}

impl Event {
    /// The log event of a frame; `None` for other frames.
    pub fn from_frame(frame: &ServerFrame) -> Option<Event> {
        let (_, seq) = frame.log_position()?;
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
    /// The message is stored at this seq, with this id.
    Stored { seq: u64, id: String },
    /// The message was accepted at this seq of this epoch.
    Accepted { epoch: String, seq: u64, id: String },
    /// The message was refused with this code. If `finally` is set, a retry cannot succeed.
    Refused { code: String, finally: bool },
}

/// Something that one client did or received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// The connection is open.
    Connected,
    /// The connection ended.
    Lost,
    /// The client joins the room after its cursor, if it has one.
    Joining(Option<Cursor>),
    /// The answer to a join, with the room's head.
    Joined(Cursor),
    /// A log event came over the connection.
    Event(Arc<Event>),
    /// `room:caught_up`
    CaughtUp(Cursor),
    /// `room:gap`
    Gap { after: u64, head: Cursor },
    /// A page of the log that fills a gap. It has the events above `after` up to `next`; the request asked for events
    /// up to `upto`.
    Page { after: u64, upto: u64, next: u64, events: Vec<Arc<Event>> },
    /// The client sends a message, or repeats it. It says that this is the attempt with this number, from 1.
    Sent { client_id: String, text: String, visible_to: Vec<String>, attempt: u32 },
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
    /// The room; empty if the entry is about the connection.
    pub room: String,
    /// What happened.
    pub what: EntryKind,
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
    pub fn add(&self, user: &str, connection: u64, room: &str, what: EntryKind) {
        let (user, room) = (user.to_owned(), room.to_owned());
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // Reading the time under the lock keeps the entries in order of time.
        entries.push(Entry { at: self.begun.elapsed(), user, connection, room, what });
    }

    /// Time since the run began.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Removes and returns all entries.
    pub fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Rule {
    /// A message with the answer `stored` is stored once, at that position, with that id.
    Stored,
    /// A message with the answer `accepted` is stored at that position, with that id. Otherwise its sender was informed
    /// that the message is lost: by its void, or by a new epoch that begins below the message.
    Accepted,
    /// A sender's client id occurs once in a room, and once in each listener's view of the room. A second event that
    /// became a void counts too, unless Redis lost data meanwhile or the client sent `attempt: 1` twice.
    Once,
    /// The stored log of a room has every position from 1 to its head, once.
    Dense,
    /// Whenever PostgreSQL is read during a run, it holds the events 1 to the head of a room and no others.
    Prefix,
    /// Every stored message equals a message that was sent.
    Sent,
    /// A listener receives events in the order of the log, each once.
    Order,
    /// A listener has every event that it may see, up to the position to which the server reported it complete.
    Complete,
    /// Nobody receives an event that they may not see, whether the event is stored or not. A change has the audience of
    /// its message.
    Private,
    /// Every listener has the stored event at each position, and no two listeners received different events at the same
    /// position of one epoch.
    Agreement,
    /// Frames come only when the protocol allows them.
    Protocol,
    /// The buffers and the memory of the services stay within their limits.
    Bounded,
    /// An edit, delete or reaction with the answer `stored` is stored and has its effect, and no message has a text
    /// that nobody requested.
    Changed,
    /// The feed has every stored event, in the order of its room.
    Feed,
    /// The receiver of webhooks gets every stored event, first in the order of its room.
    Webhook,
    /// A file that a stored message shows is there with all its bytes, for those who see the message. An upload keeps
    /// the bytes below each offset that it reported.
    File,
    /// A user who is away is told of each stored message that the user may see, and of nothing else.
    Push,
    /// No service panics or reports an internal error.
    Sound,
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The broken rule.
    pub rule: Rule,
    /// The room; empty if no room is concerned.
    pub room: String,
    /// The position in the room's log; 0 if no position is concerned.
    pub seq: u64,
    /// The user whose view or message breaks the rule; empty if no user is concerned.
    pub user: String,
    /// A description of the violation.
    pub what: String,
}

/// The counts of a checked history. With them a caller can tell an empty history from a correct one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckCounts {
    /// Number of answers `stored`.
    pub stored: u64,
    /// Number of answers `accepted` without a later `stored`.
    pub accepted: u64,
    /// Number of the `accepted` messages that were lost and reported as lost.
    pub given_up: u64,
    /// Number of events that listeners had at the end, summed over all listeners.
    pub deliveries: u64,
    /// Number of gaps that listeners received.
    pub gaps: u64,
    /// Number of times that a listener got a new epoch. This needs no gap if PostgreSQL had everything that Redis lost.
    pub new_epochs: u64,
    /// Number of stored events that listeners may not see, summed over all listeners.
    pub hidden: u64,
    pub connections: u64,
}

/// Checks a history against the rules. `redis_losses` are the times of the faults in which Redis may have lost data.
pub fn check(
    entries: &[Entry],
    stored: &BTreeMap<String, StoredLog>,
    redis_losses: &[RangeInclusive<Duration>],
) -> (CheckCounts, Vec<Violation>) {
    let (mut checked, mut violations) = (CheckCounts::default(), Vec::new());
    sends::check(entries, stored, redis_losses, &mut checked, &mut violations);
    audience::check(stored, &mut violations);
    copies::check(entries, stored, &mut checked, &mut violations);
    checked.connections = entries.iter().filter(|entry| entry.what == EntryKind::Connected).count() as u64;
    violations
        .sort_by(|one, other| (&one.rule, &one.room, one.seq).cmp(&(&other.rule, &other.room, other.seq)));
    (checked, violations)
}

#[cfg(test)]
mod tests;
