//! Changes folded into what becomes of their messages: pure, no I/O.
//! Promises that the outcome is the same however the log is cut into batches: after a delete nothing changes a
//! message, and its reactions are a set of (emoji, user).

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidings_shared::ids::{RoomId, Seq};
use uuid::Uuid;

use super::change::{Action, ChangeRow};

/// Different emoji under one message. What a page of messages holds is bounded by it.
pub const MAX_EMOJI: usize = 100;

/// A message's place.
pub type Place = (RoomId, Seq);

/// What PostgreSQL holds of a message that changes are aimed at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    pub id: Uuid,
    pub deleted: bool,
    /// How often each emoji was given.
    pub emoji: BTreeMap<String, i64>,
    /// Of the (emoji, user) that the changes name, those that are there.
    pub given: BTreeSet<(String, String)>,
}

/// What is written of one message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Of the event that last changed it.
    pub last_seq: Seq,
    /// In order, the last one is the message's content from now on.
    pub versions: Vec<Version>,
    pub deleted: bool,
    /// (emoji, user), and when it was given.
    pub given: BTreeMap<(String, String), Given>,
    /// Those of before that are gone, also where they were given anew.
    pub taken: BTreeSet<(String, String)>,
}

/// When a reaction was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    pub seq: Seq,
    pub at_ms: i64,
}

/// What a message says from an edit on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub seq: Seq,
    pub at_ms: i64,
    pub by: String,
    pub content: String,
    /// JSON text; `None`: as before.
    pub metadata: Option<String>,
}

/// What the changes of a batch come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Folded {
    pub outcomes: BTreeMap<Place, Outcome>,
    /// Indices of the changes that would take a message over a bound.
    pub refused: Vec<usize>,
}

/// Folds changes, given in the order of their rooms' logs. What is aimed at no message, at another one than it names,
/// or at a deleted one changes nothing.
#[must_use]
pub fn fold(changes: &[ChangeRow<'_>], mut standings: HashMap<Place, Standing>) -> Folded {
    let mut folded = Folded::default();
    for (index, change) in changes.iter().enumerate() {
        let place = (change.room.clone(), change.target);
        let Some(standing) = standings.get_mut(&place) else { continue };
        if standing.id != change.target_id || standing.deleted {
            continue;
        }
        if is_over_the_bound(standing, &change.action) {
            folded.refused.push(index);
            continue;
        }
        if is_so_already(standing, change) {
            continue;
        }
        apply(standing, folded.outcomes.entry(place).or_default(), change);
    }
    folded
}

fn is_over_the_bound(standing: &Standing, action: &Action<'_>) -> bool {
    let Action::AddReaction(emoji) = action else { return false };
    standing.emoji.len() >= MAX_EMOJI && !standing.emoji.contains_key(emoji.as_ref())
}

fn is_so_already(standing: &Standing, change: &ChangeRow<'_>) -> bool {
    let is_given = |emoji: &str| standing.given.contains(&pair(emoji, change));
    match &change.action {
        Action::AddReaction(emoji) => is_given(emoji),
        Action::RemoveReaction(emoji) => !is_given(emoji),
        Action::Edit { .. } | Action::Delete => false,
    }
}

fn pair(emoji: &str, change: &ChangeRow<'_>) -> (String, String) {
    (emoji.to_owned(), change.record.sender().to_owned())
}

fn apply(standing: &mut Standing, outcome: &mut Outcome, change: &ChangeRow<'_>) {
    let (seq, at_ms) = (change.record.seq, change.record.at_ms);
    outcome.last_seq = seq;
    match &change.action {
        Action::Edit { content, metadata } => outcome.versions.push(Version {
            seq,
            at_ms,
            by: change.record.sender().to_owned(),
            content: content.clone().into_owned(),
            metadata: metadata.map(ToOwned::to_owned),
        }),
        Action::Delete => {
            standing.deleted = true;
            outcome.deleted = true;
            // All of them go with the message.
            outcome.given.clear();
            outcome.taken.clear();
        }
        Action::AddReaction(emoji) => {
            *standing.emoji.entry(emoji.clone().into_owned()).or_default() += 1;
            standing.given.insert(pair(emoji, change));
            outcome.given.insert(pair(emoji, change), Given { seq, at_ms });
        }
        Action::RemoveReaction(emoji) => {
            if let Some(count) = standing.emoji.get_mut(emoji.as_ref()) {
                *count -= 1;
                if *count <= 0 {
                    standing.emoji.remove(emoji.as_ref());
                }
            }
            let pair = pair(emoji, change);
            standing.given.remove(&pair);
            // One that was given in this batch is not there to be taken.
            if outcome.given.remove(&pair).is_none() {
                outcome.taken.insert(pair);
            }
        }
    }
}
