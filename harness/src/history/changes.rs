//! The outcomes of changes of messages: the rule `Changed`. Changes are requested over HTTP and not on the connections
//! of the history, so they are recorded separately.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use super::{Entry, Event, Rule, Stored, StoredEvent, Violation, What};
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
    /// Wire type of its event.
    pub fn kind(&self) -> &'static str {
        match self {
            Change::Edit(_) => "message:edited",
            Change::Delete => "message:deleted",
            Change::React(_) => "reaction:added",
        }
    }

    /// The text of the message after the change; `None`: unchanged.
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
    /// It is stored, as the event at this position.
    Stored(u64),
    /// It was refused finally, although the message is stored and belongs to the user.
    Refused(String),
}

/// A requested change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// In which room.
    pub room: String,
    /// By whom.
    pub user: String,
    /// Seq of the message.
    pub target: u64,
    /// What.
    pub change: Change,
    /// The answer.
    pub outcome: ChangeOutcome,
}

/// Records the requested changes. Each message is changed by one request at most, so that exactly one outcome is
/// correct.
#[derive(Debug, Clone, Default)]
pub struct Changes(Arc<Mutex<Vec<Asked>>>);

impl Changes {
    /// Records a request; returns the number for its answer.
    pub fn ask(&self, room: &str, user: &str, target: u64, change: Change) -> usize {
        let (room, user) = (room.to_owned(), user.to_owned());
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(Asked { room, user, target, change, outcome: ChangeOutcome::Unknown });
        asked.len() - 1
    }

    /// The answer.
    pub fn answer(&self, number: usize, outcome: ChangeOutcome) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = asked.get_mut(number) {
            asked.outcome = outcome;
        }
    }

    /// All requested changes so far.
    pub fn all(&self) -> Vec<Asked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The stored reactions: (room, seq of the message, user, emoji).
pub type Reactions = BTreeSet<(String, u64, String, String)>;

/// Reads the reactions of all rooms.
///
/// # Errors
/// When the database cannot be read.
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
    asked: &[Asked],
    entries: &[Entry],
    stored: &BTreeMap<String, Stored>,
    reactions: &Reactions,
) -> Vec<Violation> {
    let mut judge = Judge { asked: HashMap::new(), stored, violations: Vec::new() };
    for change in asked {
        judge.asked.entry((&change.room, change.target)).or_default().push(change);
    }
    for change in asked {
        judge.answer(change, reactions);
    }
    for (room, log) in stored {
        for event in log.events.values().flatten() {
            judge.stored(room, event);
        }
    }
    for (room, seq, user, emoji) in reactions {
        let change = Change::React(emoji.clone());
        if stored.contains_key(room) && judge.askings(room, *seq, user, |asked| asked.change == change) == 0 {
            judge.break_rule(room, *seq, user, format!("has {emoji} of {user}, who did not ask for it"));
        }
    }
    judge.given(entries);
    judge.violations
}

struct Judge<'a> {
    /// By room and seq of the message.
    asked: HashMap<(&'a str, u64), Vec<&'a Asked>>,
    stored: &'a BTreeMap<String, Stored>,
    violations: Vec<Violation>,
}

impl Judge<'_> {
    fn break_rule(&mut self, room: &str, seq: u64, user: &str, what: String) {
        let (room, user) = (room.to_owned(), user.to_owned());
        self.violations.push(Violation { rule: Rule::Changed, room, seq, user, what });
    }

    fn at(&self, room: &str, seq: u64) -> Option<&StoredEvent> {
        self.stored.get(room)?.events.get(&seq)?.first()
    }

    fn askings(&self, room: &str, target: u64, user: &str, which: impl Fn(&Asked) -> bool) -> usize {
        let asked = self.asked.get(&(room, target)).into_iter().flatten();
        asked.filter(|asked| asked.user == user && which(asked)).count()
    }

    /// Whether somebody requested this text for a message.
    fn may_say(&self, room: &str, target: u64, text: &str) -> bool {
        let mut asked = self.asked.get(&(room, target)).into_iter().flatten();
        asked.any(|asked| asked.change.text() == Some(text))
    }

    /// Checks that a change with the answer `stored` has its event and its effect.
    fn answer(&mut self, asked: &Asked, reactions: &Reactions) {
        let Asked { room, user, target, change, outcome } = asked;
        let seq = match outcome {
            ChangeOutcome::Unknown => return,
            ChangeOutcome::Refused(why) => {
                return self.break_rule(room, *target, user, format!("{change:?} was refused: {why}"));
            }
            ChangeOutcome::Stored(seq) => *seq,
        };
        let event = self.at(room, seq);
        let is_there = |stored: &StoredEvent| {
            let Event { kind, about, .. } = &stored.event;
            kind == change.kind() && *about == target.to_string() && stored.by == *user
        };
        if !event.is_some_and(is_there) {
            let what = format!("{change:?} was answered stored at {seq}, and there is {event:?}");
            self.break_rule(room, seq, user, what);
        }
        let message = self.at(room, *target);
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
    fn stored(&mut self, room: &str, stored: &StoredEvent) {
        let Event { seq, kind, about, .. } = &stored.event;
        match kind.as_str() {
            "message:new" if stored.changed && !self.may_say(room, *seq, about) => {
                self.break_rule(room, *seq, &stored.by, format!("nobody asked for it to say {about:?}"));
            }
            "message:edited" | "message:deleted" | "reaction:added" | "reaction:removed" => {
                let target = about.parse().unwrap_or_default();
                let is_of = |asked: &Asked| asked.change.kind() == kind;
                let asked = self.askings(room, target, &stored.by, is_of);
                let events = self.stored.get(room).into_iter().flat_map(|log| log.events.values().flatten());
                let is_one = |other: &&StoredEvent| {
                    (&other.event.kind, &other.event.about, &other.by) == (kind, about, &stored.by)
                };
                let made = events.filter(is_one).count();
                if made > asked {
                    let what = format!("{kind} of {target} stands {made} times, asked for {asked} times");
                    self.break_rule(room, *seq, &stored.by, what);
                }
            }
            _ => {}
        }
    }

    /// Checks that listeners received only original or requested texts.
    fn given(&mut self, entries: &[Entry]) {
        let mut said: HashMap<(&str, &str), &str> = HashMap::new();
        for entry in entries {
            if let What::Sent { client_id, text, .. } = &entry.what {
                said.insert((&entry.room, client_id), text);
            }
        }
        for entry in entries {
            let events = match &entry.what {
                What::Event(event) => std::slice::from_ref(event),
                What::Page { events, .. } => events.as_slice(),
                _ => continue,
            };
            for event in events.iter().filter(|event| event.kind == "message:new") {
                let Some(first) = said.get(&(entry.room.as_str(), event.client_id.as_str())) else {
                    continue;
                };
                if event.about != **first && !self.may_say(&entry.room, event.seq, &event.about) {
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
