//! The rule `Changed`, about edits, deletes and reactions. Clients request them over HTTP and not on the connections of
//! the history, so they are recorded separately.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use super::{Entry, EntryKind, Event, Rule, StoredEvent, StoredLog, Violation};
use crate::postgres::Database;

/// A change of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The message gets this text.
    Edit(String),
    /// The message is deleted.
    Delete,
    /// The message gets this reaction.
    React(String),
}

impl Change {
    /// The `type` of the change's event.
    pub fn kind(&self) -> &'static str {
        match self {
            Change::Edit(_) => "message:edited",
            Change::Delete => "message:deleted",
            Change::React(_) => "reaction:added",
        }
    }

    /// The text of the message after the change; `None` if the change keeps the text.
    fn text(&self) -> Option<&str> {
        match self {
            Change::Edit(text) => Some(text),
            Change::Delete => Some(""),
            Change::React(_) => None,
        }
    }
}

/// The answer to a requested change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeOutcome {
    /// No answer, or a temporary error: the change may have been made.
    Unknown,
    /// The change is stored, as the event at this position.
    Stored(u64),
    /// The change was refused finally. This is a violation, because the message is stored and belongs to the user.
    Refused(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedChange {
    pub room: String,
    /// The user who requested it.
    pub user: String,
    /// Seq of the message to change.
    pub target: u64,
    pub change: Change,
    pub outcome: ChangeOutcome,
}

/// Records the requested changes. At most one request may change each message; otherwise more than one outcome would be
/// correct.
#[derive(Debug, Clone, Default)]
pub struct ChangeRequests(Arc<Mutex<Vec<RequestedChange>>>);

impl ChangeRequests {
    /// Records a request, with an unknown outcome. Returns its number, which [`ChangeRequests::record_outcome`] needs.
    pub fn record_request(&self, room: &str, user: &str, target: u64, change: Change) -> usize {
        let (room, user) = (room.to_owned(), user.to_owned());
        let mut requested = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        requested.push(RequestedChange { room, user, target, change, outcome: ChangeOutcome::Unknown });
        requested.len() - 1
    }

    /// Records the outcome of the request with this number.
    pub fn record_outcome(&self, number: usize, outcome: ChangeOutcome) {
        let mut requested = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(request) = requested.get_mut(number) {
            request.outcome = outcome;
        }
    }

    /// All changes that were requested so far.
    pub fn all(&self) -> Vec<RequestedChange> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The stored reactions: (room, seq of the message, user, emoji).
pub type Reactions = BTreeSet<(String, u64, String, String)>;

/// Reads the reactions of all rooms.
pub async fn read_reactions(database: &Database) -> Result<Reactions> {
    let mut reactions = Reactions::new();
    for row in database.query("SELECT room_id, seq, user_id, emoji FROM reactions").await? {
        let [room, seq, user, emoji] = row.as_slice() else {
            anyhow::bail!("a row of another form: {row:?}")
        };
        reactions.insert((room.clone(), seq.parse().context("a seq")?, user.clone(), emoji.clone()));
    }
    Ok(reactions)
}

/// Compares the requested changes with the stored data and with the texts that listeners received.
pub fn check_changes(
    requested: &[RequestedChange],
    entries: &[Entry],
    stored: &BTreeMap<String, StoredLog>,
    reactions: &Reactions,
) -> Vec<Violation> {
    let mut checker =
        ChangeChecker { requested: HashMap::new(), stored, made: HashMap::new(), violations: Vec::new() };
    for change in requested {
        checker.requested.entry((&change.room, change.target)).or_default().push(change);
    }
    for (room, log) in stored {
        for event in log.events.values().flatten() {
            *checker.made.entry(identity(room, event)).or_default() += 1;
        }
    }
    for change in requested {
        checker.check_outcome(change, reactions);
    }
    for (room, log) in stored {
        for event in log.events.values().flatten() {
            checker.check_stored(room, event);
        }
    }
    for (room, seq, user, emoji) in reactions {
        let change = Change::React(emoji.clone());
        if stored.contains_key(room)
            && checker.count_requests(room, *seq, user, |request| request.change == change) == 0
        {
            checker.break_rule(room, *seq, user, format!("has {emoji} of {user}, who did not ask for it"));
        }
    }
    checker.check_received_texts(entries);
    checker.violations
}

/// The room, kind, target and user of a change. Changes that have all of these in common are counted together.
type Identity<'a> = (&'a str, &'a str, &'a str, &'a str);

fn identity<'a>(room: &'a str, stored: &'a StoredEvent) -> Identity<'a> {
    (room, &stored.event.kind, &stored.event.about, &stored.by)
}

struct ChangeChecker<'a> {
    /// The requested changes by room and seq of the message.
    requested: HashMap<(&'a str, u64), Vec<&'a RequestedChange>>,
    stored: &'a BTreeMap<String, StoredLog>,
    /// The number of stored changes with each identity.
    made: HashMap<Identity<'a>, usize>,
    violations: Vec<Violation>,
}

impl ChangeChecker<'_> {
    fn break_rule(&mut self, room: &str, seq: u64, user: &str, what: String) {
        let (room, user) = (room.to_owned(), user.to_owned());
        self.violations.push(Violation { rule: Rule::Changed, room, seq, user, what });
    }

    fn stored_event(&self, room: &str, seq: u64) -> Option<&StoredEvent> {
        self.stored.get(room)?.events.get(&seq)?.first()
    }

    /// Number of requests of a user to change this message for which `which` is true.
    fn count_requests(
        &self,
        room: &str,
        target: u64,
        user: &str,
        which: impl Fn(&RequestedChange) -> bool,
    ) -> usize {
        let requested = self.requested.get(&(room, target)).into_iter().flatten();
        requested.filter(|request| request.user == user && which(request)).count()
    }

    /// Whether an edit or delete of this message requested this text.
    fn is_requested_text(&self, room: &str, target: u64, text: &str) -> bool {
        let mut requested = self.requested.get(&(room, target)).into_iter().flatten();
        requested.any(|request| request.change.text() == Some(text))
    }

    /// Checks that a change with the answer `stored` has its event and its effect.
    fn check_outcome(&mut self, request: &RequestedChange, reactions: &Reactions) {
        let RequestedChange { room, user, target, change, outcome } = request;
        let seq = match outcome {
            ChangeOutcome::Unknown => return,
            ChangeOutcome::Refused(why) => {
                return self.break_rule(room, *target, user, format!("{change:?} was refused: {why}"));
            }
            ChangeOutcome::Stored(seq) => *seq,
        };
        let event = self.stored_event(room, seq);
        let is_there = |stored: &StoredEvent| {
            let Event { kind, about, .. } = &stored.event;
            kind == change.kind() && *about == target.to_string() && stored.by == *user
        };
        if !event.is_some_and(is_there) {
            let what = format!("{change:?} was answered stored at {seq}, and there is {event:?}");
            self.break_rule(room, seq, user, what);
        }
        let message = self.stored_event(room, *target);
        let has_effect = match change {
            Change::React(emoji) => reactions.contains(&(room.clone(), *target, user.clone(), emoji.clone())),
            _ => message
                .is_some_and(|stored| stored.changed && change.text() == Some(stored.event.about.as_str())),
        };
        if !has_effect {
            let what = format!("{change:?} was answered stored at {seq}, and has no effect on {message:?}");
            self.break_rule(room, *target, user, what);
        }
    }

    /// Checks that every stored change was requested.
    fn check_stored(&mut self, room: &str, stored: &StoredEvent) {
        let Event { seq, kind, about, .. } = &stored.event;
        match kind.as_str() {
            "message:new" if stored.changed && !self.is_requested_text(room, *seq, about) => {
                self.break_rule(room, *seq, &stored.by, format!("nobody asked for it to say {about:?}"));
            }
            "message:edited" | "message:deleted" | "reaction:added" | "reaction:removed" => {
                let target = about.parse().unwrap_or_default();
                let is_of = |request: &RequestedChange| request.change.kind() == kind;
                let request_count = self.count_requests(room, target, &stored.by, is_of);
                let made = self.made.get(&identity(room, stored)).copied().unwrap_or_default();
                if made > request_count {
                    let what =
                        format!("{kind} of {target} stands {made} times, asked for {request_count} times");
                    self.break_rule(room, *seq, &stored.by, what);
                }
            }
            _ => {}
        }
    }

    /// Checks that listeners received only texts that were sent or requested by an edit.
    fn check_received_texts(&mut self, entries: &[Entry]) {
        let mut texts: HashMap<(&str, &str), &str> = HashMap::new();
        for entry in entries {
            if let EntryKind::Sent { client_id, text, .. } = &entry.what {
                texts.insert((&entry.room, client_id), text);
            }
        }
        for entry in entries {
            let events = match &entry.what {
                EntryKind::Event(event) => std::slice::from_ref(event),
                EntryKind::Page { events, .. } => events.as_slice(),
                _ => continue,
            };
            for event in events.iter().filter(|event| event.kind == "message:new") {
                let Some(first) = texts.get(&(entry.room.as_str(), event.client_id.as_str())) else {
                    continue;
                };
                if event.about != **first && !self.is_requested_text(&entry.room, event.seq, &event.about) {
                    let what =
                        format!("was given {event:?}, which said {first:?} and was not to be changed so");
                    self.break_rule(&entry.room, event.seq, &entry.user, what);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
