//! Tests folding with examples, and compares it with a simple model for generated logs that are cut into batches.

use bytes::Bytes;
use proptest::prelude::*;
use tidings_shared::log::Record;

use super::*;

fn room() -> RoomId {
    RoomId::parse("r").unwrap()
}

/// The id of the message at a seq.
fn id_of(target: u64) -> Uuid {
    Uuid::from_u128(u128::from(target))
}

/// The record of a change, and the message id that it names.
struct Sample {
    record: Record,
    target: u64,
    target_id: Uuid,
    action: Action<'static>,
}

fn sample(seq: u64, user: &str, target: u64, action: Action<'static>) -> Sample {
    let header = ["1", "1", &seq.to_string(), &(1000 + seq).to_string(), "r", "x", user, "c", "", "", "", ""];
    let raw = Bytes::from(format!("{}\n{{}}", header.join("\u{1f}")));
    Sample { record: Record::parse(raw).unwrap(), target, target_id: id_of(target), action }
}

fn rows(samples: &[Sample]) -> Vec<ChangeRow<'_>> {
    samples
        .iter()
        .enumerate()
        .map(|(event, sample)| ChangeRow {
            room: room(),
            record: &sample.record,
            event,
            target: Seq(sample.target),
            target_id: sample.target_id,
            action: sample.action.clone(),
        })
        .collect()
}

fn edit(content: &str) -> Action<'static> {
    Action::Edit { content: content.to_owned().into(), metadata: None, mentions: None }
}

fn add(emoji: &str) -> Action<'static> {
    Action::AddReaction(emoji.to_owned().into())
}

fn remove(emoji: &str) -> Action<'static> {
    Action::RemoveReaction(emoji.to_owned().into())
}

fn initial_states() -> HashMap<MessagePosition, MessageState> {
    HashMap::from([((room(), Seq(1)), MessageState { id: id_of(1), ..MessageState::default() })])
}

/// Folds changes of message 1, which has no earlier changes.
fn outcome(samples: &[Sample]) -> Option<MessageOutcome> {
    fold(&rows(samples), initial_states()).outcomes.remove(&(room(), Seq(1)))
}

#[test]
fn deleted_message_ignores_later_changes() {
    let samples = [
        sample(2, "bob", 1, add("+")),
        sample(3, "alice", 1, Action::Delete),
        sample(4, "alice", 1, edit("late")),
        sample(5, "bob", 1, add("-")),
        sample(6, "alice", 1, Action::Delete),
    ];
    let outcome = outcome(&samples).unwrap();
    assert_eq!((outcome.last_seq, outcome.deleted), (Seq(3), true));
    assert!(outcome.versions.is_empty() && outcome.added.is_empty());
    let deleted = MessageState { id: id_of(1), deleted: true, ..MessageState::default() };
    let folded = fold(&rows(&samples), HashMap::from([((room(), Seq(1)), deleted)]));
    assert_eq!(folded, FoldedChanges { late_edits: vec![2], ..FoldedChanges::default() });
}

#[test]
fn repeated_reaction_counts_once() {
    let again = [sample(2, "bob", 1, add("+")), sample(3, "bob", 1, add("+"))];
    let outcome = outcome(&again).unwrap();
    assert_eq!(outcome.last_seq, Seq(2), "a repetition changes nothing");
    let added: Vec<_> = outcome.added.into_iter().collect();
    assert_eq!(added, [(("+".to_owned(), "bob".to_owned()), AddedReaction { seq: Seq(2), at_ms: 1002 })]);
}

#[test]
fn missing_reaction_cannot_be_removed() {
    assert_eq!(outcome(&[sample(2, "bob", 1, remove("+"))]), None);
    let both = [sample(2, "bob", 1, add("+")), sample(3, "bob", 1, remove("+"))];
    let outcome = outcome(&both).unwrap();
    assert_eq!((outcome.last_seq, outcome.added.len(), outcome.removed.len()), (Seq(3), 0, 0));
}

#[test]
fn each_edit_is_a_version_and_keeps_omitted_metadata() {
    let samples = [
        sample(
            2,
            "alice",
            1,
            Action::Edit { content: "one".into(), metadata: Some("{\"a\":1}"), mentions: Some(Vec::new()) },
        ),
        sample(3, "bob", 1, edit("two")),
    ];
    let versions = outcome(&samples).unwrap().versions;
    let fields: Vec<_> = versions
        .iter()
        .map(|version| {
            (version.seq.0, version.by.as_str(), version.content.as_str(), version.metadata.as_deref())
        })
        .collect();
    assert_eq!(fields, [(2, "alice", "one", Some("{\"a\":1}")), (3, "bob", "two", None)]);
}

#[test]
fn change_with_wrong_target_has_no_effect() {
    let mut other = sample(2, "alice", 1, edit("x"));
    other.target_id = id_of(9);
    let nowhere = sample(3, "alice", 2, edit("x"));
    assert_eq!(fold(&rows(&[other, nowhere]), initial_states()), FoldedChanges::default());
}

#[test]
fn message_never_exceeds_the_emoji_limit() {
    let mut samples: Vec<Sample> =
        (0..=MAX_EMOJI as u64).map(|n| sample(2 + n, "bob", 1, add(&n.to_string()))).collect();
    let next = 2 + samples.len() as u64;
    samples.push(sample(next, "eve", 1, add("0")));
    samples.push(sample(next + 1, "bob", 1, remove("7")));
    samples.push(sample(next + 2, "bob", 1, add("new")));
    let mut folded = fold(&rows(&samples), initial_states());
    assert_eq!(
        folded.refused,
        [MAX_EMOJI],
        "an existing emoji, and one that takes a free place, are not refused"
    );
    let outcome = folded.outcomes.remove(&(room(), Seq(1))).unwrap();
    assert_eq!(outcome.added.len(), MAX_EMOJI + 1);
    let full = (0..MAX_EMOJI).map(|n| (n.to_string(), 1)).collect();
    let states = HashMap::from([(
        (room(), Seq(1)),
        MessageState { id: id_of(1), emoji: full, ..MessageState::default() },
    )]);
    let one_more = [sample(500, "bob", 1, add("new")), sample(501, "bob", 1, add("5"))];
    assert_eq!(fold(&rows(&one_more), states).refused, [0], "also for stored reactions");
}

/// A message as the rows of the database hold it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct StoredMessage {
    deleted: bool,
    last_seq: u64,
    versions: Vec<(u64, String)>,
    reactions: BTreeMap<(String, String), u64>,
}

impl StoredMessage {
    /// Applies one change by the rules of folding.
    fn apply(&mut self, change: &ChangeRow<'_>) {
        let (seq, user) = (change.record.seq.0, change.record.sender().to_owned());
        let changed = match &change.action {
            _ if self.deleted => false,
            Action::Edit { content, .. } => {
                self.versions.push((seq, content.clone().into_owned()));
                true
            }
            Action::Delete => {
                self.deleted = true;
                self.reactions.clear();
                true
            }
            Action::AddReaction(emoji) => {
                let pair = (emoji.clone().into_owned(), user);
                let fresh = !self.reactions.contains_key(&pair);
                self.reactions.entry(pair).or_insert(seq);
                fresh
            }
            Action::RemoveReaction(emoji) => {
                self.reactions.remove(&(emoji.clone().into_owned(), user)).is_some()
            }
        };
        if changed {
            self.last_seq = seq;
        }
    }

    /// The state of the message as the writer reads it.
    fn state(&self, target: u64) -> MessageState {
        let mut emoji = BTreeMap::new();
        for (name, _) in self.reactions.keys() {
            *emoji.entry(name.clone()).or_insert(0) += 1;
        }
        MessageState {
            id: id_of(target),
            deleted: self.deleted,
            emoji,
            existing: self.reactions.keys().cloned().collect(),
        }
    }

    /// Applies an outcome as the writer does, in the same order.
    fn write(&mut self, outcome: MessageOutcome) {
        self.last_seq = outcome.last_seq.0;
        self.deleted = outcome.deleted;
        self.versions.extend(outcome.versions.into_iter().map(|version| (version.seq.0, version.content)));
        if outcome.deleted {
            self.reactions.clear();
        }
        for pair in outcome.removed {
            assert!(self.reactions.remove(&pair).is_some(), "only an existing reaction is removed");
        }
        for (pair, added) in outcome.added {
            assert!(self.reactions.insert(pair, added.seq.0).is_none(), "only a missing reaction is added");
        }
    }
}

fn actions() -> impl Strategy<Value = Action<'static>> {
    prop_oneof![
        4 => (0..3).prop_map(|n| add(&format!("e{n}"))),
        4 => (0..3).prop_map(|n| remove(&format!("e{n}"))),
        2 => (0..100).prop_map(|n| edit(&format!("text {n}"))),
        1 => Just(Action::Delete),
    ]
}

proptest! {
    #[test]
    fn folding_does_not_depend_on_how_the_log_is_cut(
        changes in prop::collection::vec((1_u64..4, 0..3, actions()), 1..60),
        cuts in prop::collection::vec(1_usize..9, 1..30),
    ) {
        let samples: Vec<Sample> = changes
            .into_iter()
            .zip(10..)
            .map(|((target, user, action), seq)| sample(seq, &format!("u{user}"), target, action))
            .collect();
        let all = rows(&samples);
        let mut model: BTreeMap<u64, StoredMessage> = (1..4).map(|target| (target, StoredMessage::default())).collect();
        let mut stored = model.clone();
        for change in &all {
            model.get_mut(&change.target.0).unwrap().apply(change);
        }
        let (mut rest, mut cuts) = (&all[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (batch, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            rest = later;
            let states = stored.iter().map(|(target, stored)| ((room(), Seq(*target)), stored.state(*target)));
            let folded = fold(batch, states.collect());
            prop_assert!(folded.refused.is_empty());
            for ((_, target), outcome) in folded.outcomes {
                stored.get_mut(&target.0).unwrap().write(outcome);
            }
        }
        prop_assert_eq!(stored, model);
    }
}
