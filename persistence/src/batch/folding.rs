//! Folds changes (edits, deletes, reactions) into the new state of their messages. Pure, no I/O. The outcome does not
//! depend on how the log is cut into batches, because a deleted message never changes again and the reactions of a
//! message are a set of (emoji, user).

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidings_shared::ids::{RoomId, Seq, UserId};
use uuid::Uuid;

use super::change::{Action, ChangeRow};

/// Maximum number of different emoji on one message. Limits the size of a page of messages.
pub const MAX_EMOJI: usize = 100;

/// The room and the seq of a message.
pub type MessagePosition = (RoomId, Seq);

/// The stored state of a message that the changes of a batch refer to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageState {
    pub id: Uuid,
    pub deleted: bool,
    /// The current number of reactions with each emoji.
    pub emoji: BTreeMap<String, i64>,
    /// The stored reactions (emoji, user) among those that the batch adds or removes.
    pub existing: BTreeSet<(String, String)>,
}

/// The rows that the writer changes for one message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MessageOutcome {
    /// The seq of the last event that changed the message.
    pub last_seq: Seq,
    /// The versions that edits made, in log order. The last one is the present content.
    pub versions: Vec<EditedVersion>,
    pub deleted: bool,
    /// Reactions to insert: (emoji, user), and when each was added.
    pub added: BTreeMap<(String, String), AddedReaction>,
    /// Stored (emoji, user) pairs to delete. If the user added the reaction again, the pair is also in `added`.
    pub removed: BTreeSet<(String, String)>,
}

/// The event that added a reaction: its seq and time (ms since 1970).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddedReaction {
    pub seq: Seq,
    pub at_ms: i64,
}

/// A version of a message that an edit made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditedVersion {
    pub seq: Seq,
    pub at_ms: i64,
    pub by: String,
    pub content: String,
    /// JSON text; None if the edit did not change the metadata.
    pub metadata: Option<String>,
    /// The mentioned users; None if the edit did not change the mentions.
    pub mentions: Option<Vec<UserId>>,
}

/// The combined effect of the changes of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FoldedChanges {
    pub outcomes: BTreeMap<MessagePosition, MessageOutcome>,
    /// Indices of changes that are refused because the message would get more than `MAX_EMOJI` different emoji.
    pub refused: Vec<usize>,
    /// Indices of edits of messages whose content is removed. Their texts must not be stored.
    pub late_edits: Vec<usize>,
}

/// Folds changes, which are in the order of their rooms' logs. A change has no effect if its target is not a message,
/// has another id than the change names, or is deleted.
#[must_use]
pub fn fold(changes: &[ChangeRow<'_>], mut states: HashMap<MessagePosition, MessageState>) -> FoldedChanges {
    let mut folded = FoldedChanges::default();
    for (index, change) in changes.iter().enumerate() {
        let key = (change.room.clone(), change.target);
        let Some(state) = states.get_mut(&key) else { continue };
        if state.id != change.target_id {
            continue;
        }
        if state.deleted {
            if matches!(change.action, Action::Edit { .. }) {
                folded.late_edits.push(index);
            }
            continue;
        }
        if exceeds_emoji_limit(state, &change.action) {
            folded.refused.push(index);
            continue;
        }
        if has_no_effect(state, change) {
            continue;
        }
        apply(state, folded.outcomes.entry(key).or_default(), change);
    }
    folded
}

fn exceeds_emoji_limit(state: &MessageState, action: &Action<'_>) -> bool {
    let Action::AddReaction(emoji) = action else { return false };
    state.emoji.len() >= MAX_EMOJI && !state.emoji.contains_key(emoji.as_ref())
}

fn has_no_effect(state: &MessageState, change: &ChangeRow<'_>) -> bool {
    let exists = |emoji: &str| state.existing.contains(&reaction_pair(emoji, change));
    match &change.action {
        Action::AddReaction(emoji) => exists(emoji),
        Action::RemoveReaction(emoji) => !exists(emoji),
        Action::Edit { .. } | Action::Delete => false,
    }
}

fn reaction_pair(emoji: &str, change: &ChangeRow<'_>) -> (String, String) {
    (emoji.to_owned(), change.record.sender().to_owned())
}

fn apply(state: &mut MessageState, outcome: &mut MessageOutcome, change: &ChangeRow<'_>) {
    let (seq, at_ms) = (change.record.seq, change.record.at_ms);
    outcome.last_seq = seq;
    match &change.action {
        Action::Edit { content, metadata, mentions } => outcome.versions.push(EditedVersion {
            seq,
            at_ms,
            by: change.record.sender().to_owned(),
            content: content.clone().into_owned(),
            metadata: metadata.map(ToOwned::to_owned),
            mentions: mentions.clone(),
        }),
        Action::Delete => {
            state.deleted = true;
            outcome.deleted = true;
            // The writer deletes all reactions of a deleted message, so no reaction is listed.
            outcome.added.clear();
            outcome.removed.clear();
        }
        Action::AddReaction(emoji) => {
            *state.emoji.entry(emoji.clone().into_owned()).or_default() += 1;
            state.existing.insert(reaction_pair(emoji, change));
            outcome.added.insert(reaction_pair(emoji, change), AddedReaction { seq, at_ms });
        }
        Action::RemoveReaction(emoji) => {
            if let Some(count) = state.emoji.get_mut(emoji.as_ref()) {
                *count -= 1;
                if *count <= 0 {
                    state.emoji.remove(emoji.as_ref());
                }
            }
            let pair = reaction_pair(emoji, change);
            state.existing.remove(&pair);
            // A reaction that this batch added is not stored yet, so it needs no deletion.
            if outcome.added.remove(&pair).is_none() {
                outcome.removed.insert(pair);
            }
        }
    }
}
