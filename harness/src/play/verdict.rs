//! Compares the sent messages with each listener's copies and with the history. Pure.

use std::collections::{BTreeMap, HashSet};

use super::room_view::RoomView;
use crate::recorder::Received;

/// The messages that were sent to one room and answered `stored`, by seq.
#[derive(Debug, Default)]
pub struct ExpectedMessages {
    by_seq: BTreeMap<u64, Received>,
    client_ids: HashSet<String>,
    /// How often a message was answered `stored` with the seq of another message.
    collisions: u64,
}

impl ExpectedMessages {
    /// Adds a message with the answer `stored`.
    pub fn add(&mut self, message: Received) {
        self.client_ids.insert(message.client_id.clone());
        if self.by_seq.insert(message.seq, message).is_some() {
            self.collisions += 1;
        }
    }

    /// The highest seq of an expected message.
    pub fn last_seq(&self) -> u64 {
        self.by_seq.keys().next_back().copied().unwrap_or_default()
    }

    /// Number of expected messages above this seq.
    pub fn count_above(&self, seq: u64) -> u64 {
        self.by_seq.range(seq + 1..).count() as u64
    }

    /// Number of expected messages.
    pub fn count(&self) -> u64 {
        self.client_ids.len() as u64
    }
}

/// The four counts, and the first errors in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Copies that a listener lacks.
    pub missing: u64,
    /// Copies that were delivered more than once.
    pub duplicated: u64,
    /// Copies that were delivered after a later message.
    pub reordered: u64,
    /// Differences between the sent messages and the history, and copies of messages that nobody sent.
    pub history_mismatch: u64,
    /// Number of copies that all listeners together held at the end.
    pub deliveries: u64,
    /// Number of other violations.
    pub others: u64,
    /// Descriptions of the first errors.
    pub descriptions: Vec<String>,
}

const MAX_DESCRIPTIONS: usize = 50;

impl Verdict {
    /// Whether all four counts are 0 and there are no other violations.
    pub fn is_clean(&self) -> bool {
        self.missing + self.duplicated + self.reordered + self.history_mismatch + self.others == 0
    }

    /// Adds a description of an error.
    pub fn describe(&mut self, what: String) {
        if self.descriptions.len() < MAX_DESCRIPTIONS {
            self.descriptions.push(what);
        }
    }

    /// Adds the counts and descriptions of another verdict.
    pub fn add(&mut self, other: Verdict) {
        self.missing += other.missing;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.history_mismatch += other.history_mismatch;
        self.deliveries += other.deliveries;
        self.others += other.others;
        other.descriptions.into_iter().for_each(|what| self.describe(what));
    }
}

/// Checks that a listener has all messages above its start up to its cursor, each once and with the sent bytes.
pub fn check_listener(who: &str, expected: &ExpectedMessages, view: &RoomView) -> Verdict {
    let mut verdict = Verdict::default();
    let violations = &view.violations;
    verdict.duplicated += violations.duplicated;
    verdict.reordered += violations.reordered;
    verdict.others += violations.others;
    for what in &violations.descriptions {
        verdict.describe(format!("{who}: {what}"));
    }
    let mut held = HashSet::new();
    for message in &view.messages {
        verdict.deliveries += 1;
        if expected.by_seq.get(&message.seq) == Some(&**message) {
            held.insert(message.seq);
        } else if expected.client_ids.contains(&message.client_id) {
            verdict.duplicated += 1;
            verdict.describe(format!("{who} holds {message:?}, which stands elsewhere or differs"));
        } else {
            verdict.history_mismatch += 1;
            verdict.describe(format!("{who} holds {message:?}, which nobody sent"));
        }
    }
    let (Some(start), Some(cursor)) = (view.start, view.cursor) else { return verdict };
    // Messages at or below the start are not required: the first loaded page may contain them or not.
    for (seq, message) in expected.by_seq.range(start + 1..).take_while(|(seq, _)| **seq <= cursor) {
        if !held.contains(seq) {
            verdict.missing += 1;
            verdict.describe(format!("{who} lacks {message:?} (start {start}, cursor {cursor})"));
        }
    }
    verdict
}

/// Checks that the history contains exactly the sent messages.
pub fn check_history(what: &str, expected: &ExpectedMessages, history: &[Received]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut seen = HashSet::new();
    for message in history {
        let right = expected.by_seq.get(&message.seq) == Some(message);
        if !right || !seen.insert(message.seq) {
            verdict.history_mismatch += 1;
            verdict.describe(format!("{what} shows {message:?} wrongly or twice"));
        }
    }
    for (seq, message) in &expected.by_seq {
        if !seen.contains(seq) {
            verdict.history_mismatch += 1;
            verdict.describe(format!("{what} lacks {message:?}"));
        }
    }
    if !history.is_sorted_by_key(|message| message.seq) {
        verdict.history_mismatch += 1;
        verdict.describe(format!("{what} is not in order"));
    }
    if expected.collisions > 0 {
        verdict.history_mismatch += expected.collisions;
        verdict.describe(format!("{} acks of {what} shared a seq", expected.collisions));
    }
    verdict
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::frames::{Cursor, ServerFrame};
    use crate::recorder::{Interner, Recorder};

    fn received(seq: u64) -> Received {
        let (id, client_id) = (format!("id-{seq}"), format!("c-{seq}"));
        Received { seq, id, client_id, sender: "alice".to_owned(), text: format!("text {seq}") }
    }

    fn expected(seqs: &[u64]) -> ExpectedMessages {
        let mut expected = ExpectedMessages::default();
        seqs.iter().for_each(|seq| expected.add(received(*seq)));
        expected
    }

    /// A listener that received these messages live, as (seq, number in the client id).
    fn listener(messages: &[(u64, u64)]) -> RoomView {
        let mut recorder = Recorder::new("r", Arc::new(Interner::default()));
        recorder.begin(Cursor { epoch: "1".to_owned(), seq: 0 });
        let room = json!({
            "room": "r", "kind": "private", "role": "member", "head": { "epoch": "1", "seq": 0 },
            "read_seq": 0, "members": 1,
        });
        recorder.joined(&serde_json::from_value(room).unwrap());
        for (seq, number) in messages {
            let frame = json!({
                "type": "message:new", "room": "r", "seq": seq, "at": "", "id": format!("id-{number}"),
                "kind": "text", "client_id": format!("c-{number}"), "sender": { "id": "alice" },
                "content": format!("text {number}"),
            });
            recorder.event(ServerFrame::from_value(frame));
        }
        RoomView::from(&recorder)
    }

    #[test]
    fn complete_listener_is_clean() {
        let verdict = check_listener("bob", &expected(&[1, 2, 3]), &listener(&[(1, 1), (2, 2), (3, 3)]));
        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!(verdict.deliveries, 3);
    }

    #[test]
    fn absent_message_below_the_cursor_is_missing() {
        let verdict = check_listener("bob", &expected(&[1, 2, 3]), &listener(&[(1, 1), (3, 3)]));
        assert_eq!((verdict.missing, verdict.duplicated), (1, 0));
    }

    #[test]
    fn repeated_message_with_another_seq_is_duplicated() {
        let verdict = check_listener("bob", &expected(&[1, 2]), &listener(&[(1, 1), (2, 2), (3, 1)]));
        assert_eq!((verdict.missing, verdict.duplicated), (0, 1));
    }

    #[test]
    fn message_after_a_later_one_is_reordered() {
        let verdict = check_listener("bob", &expected(&[1, 2]), &listener(&[(2, 2), (1, 1)]));
        assert_eq!((verdict.missing, verdict.reordered), (1, 1));
    }

    #[test]
    fn history_with_missing_or_changed_messages_does_not_match() {
        let sent = expected(&[1, 2]);
        assert!(check_history("messages", &sent, &[received(1), received(2)]).is_clean());
        assert_eq!(check_history("messages", &sent, &[received(1)]).history_mismatch, 1);
        let twice = [received(1), received(2), received(2)];
        assert_eq!(check_history("messages", &sent, &twice).history_mismatch, 1);
        let changed = [received(1), Received { text: "text 2 ".to_owned(), ..received(2) }];
        assert_eq!(check_history("messages", &sent, &changed).history_mismatch, 2);
    }
}
