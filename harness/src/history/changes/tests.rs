//! Tests of the rule `Changed`: correct changes break no rule, and each kind of wrong change is found.

use std::time::Duration;

use super::*;

const ROOM: &str = "r";

fn stored_event(seq: u64, kind: &str, about: &str, changed: bool) -> StoredEvent {
    let (kind, about) = (kind.to_owned(), about.to_owned());
    let event = Event { seq, kind, id: String::new(), client_id: format!("c-{seq}"), about };
    StoredEvent { event, by: "alice".to_owned(), visible_to: None, changed }
}

/// Four messages of alice: the first is edited, the second is deleted, the third has a reaction, the fourth is
/// unchanged. All changes have the answer `stored`.
struct Run {
    requested: Vec<RequestedChange>,
    entries: Vec<Entry>,
    stored: StoredLog,
    reactions: Reactions,
}

impl Run {
    fn new() -> Run {
        let changes = ChangeRequests::default();
        let kinds = [Change::Edit("better".to_owned()), Change::Delete, Change::React("+".to_owned())];
        for (target, change) in (1..).zip(kinds) {
            let number = changes.record_request(ROOM, "alice", target, change);
            changes.record_outcome(number, ChangeOutcome::Stored(4 + target));
        }
        let events = [
            stored_event(1, "message:new", "better", true),
            stored_event(2, "message:new", "", true),
            stored_event(3, "message:new", "text 3", false),
            stored_event(4, "message:new", "text 4", false),
            stored_event(5, "message:edited", "1", false),
            stored_event(6, "message:deleted", "2", false),
            stored_event(7, "reaction:added", "3", false),
        ];
        let events = events.into_iter().map(|event| (event.event.seq, vec![event])).collect();
        let mut run = Run {
            requested: changes.all(),
            entries: Vec::new(),
            stored: StoredLog { head: 7, events },
            reactions: [(ROOM.to_owned(), 3, "alice".to_owned(), "+".to_owned())].into(),
        };
        for seq in 1..=4 {
            let text = format!("text {seq}");
            let client_id = format!("c-{seq}");
            let sent = EntryKind::Sent { client_id, text, visible_to: Vec::new(), attempt: 1 };
            run.add_entry("alice", sent);
        }
        run
    }

    fn add_entry(&mut self, user: &str, what: EntryKind) {
        let (user, room, at) = (user.to_owned(), ROOM.to_owned(), Duration::ZERO);
        self.entries.push(Entry { at, user, connection: 1, room, what });
    }

    fn bob_receives(&mut self, seq: u64, text: &str) {
        let event = stored_event(seq, "message:new", text, false).event;
        self.add_entry("bob", EntryKind::Event(Arc::new(event)));
    }

    fn message(&mut self, seq: u64) -> &mut StoredEvent {
        &mut self.stored.events.get_mut(&seq).unwrap()[0]
    }

    /// The seqs at which the rule is broken.
    fn violating_seqs(&self) -> Vec<u64> {
        let stored = [(ROOM.to_owned(), self.stored.clone())].into();
        let violations = check_changes(&self.requested, &self.entries, &stored, &self.reactions);
        assert!(violations.iter().all(|violation| violation.rule == Rule::Changed));
        violations.into_iter().map(|violation| violation.seq).collect()
    }
}

#[test]
fn changes_as_answered_break_no_rule() {
    let mut run = Run::new();
    for (seq, text) in [(1, "text 1"), (1, "better"), (2, "text 2"), (2, ""), (3, "text 3")] {
        run.bob_receives(seq, text);
    }
    let page = |seq, text| Arc::new(stored_event(seq, "message:new", text, false).event);
    let events = vec![page(1, "better"), page(2, "")];
    run.add_entry("bob", EntryKind::Page { after: 0, upto: 2, next: 2, events });
    assert_eq!(run.violating_seqs(), [0_u64; 0]);
}

#[test]
fn unanswered_change_may_be_made_or_not() {
    let mut run = Run::new();
    run.requested.iter_mut().for_each(|request| request.outcome = ChangeOutcome::Unknown);
    assert_eq!(run.violating_seqs(), [0_u64; 0]);
    (5..=7).for_each(|seq| drop(run.stored.events.remove(&seq)));
    run.reactions.clear();
    *run.message(1) = stored_event(1, "message:new", "text 1", false);
    *run.message(2) = stored_event(2, "message:new", "text 2", false);
    assert_eq!(run.violating_seqs(), [0_u64; 0]);
}

#[test]
fn stored_change_without_event_or_effect_breaks_changed() {
    for (event, target) in [(5, 1), (6, 2), (7, 3)] {
        let mut run = Run::new();
        run.stored.events.remove(&event);
        assert_eq!(run.violating_seqs(), [event], "its event is lost");
        let mut run = Run::new();
        run.message(event).event.about = "4".to_owned();
        assert_eq!(
            run.violating_seqs(),
            [event, event],
            "its event is of another message, which nobody asked for"
        );
        let mut run = Run::new();
        run.reactions.clear();
        *run.message(target) = stored_event(target, "message:new", &format!("text {target}"), false);
        let violating = run.violating_seqs();
        assert!(violating.contains(&target), "its effect is lost: {violating:?}");
    }
    let mut run = Run::new();
    run.message(2).event.about = "text 2".to_owned();
    assert_eq!(run.violating_seqs(), [2, 2], "deleted, and still readable");
    let mut run = Run::new();
    run.message(1).event.about = "text 3".to_owned();
    assert_eq!(run.violating_seqs(), [1, 1], "it says what another message says");
}

#[test]
fn final_refusal_of_a_change_breaks_changed() {
    let mut run = Run::new();
    run.requested[0].outcome = ChangeOutcome::Refused("404".to_owned());
    assert_eq!(run.violating_seqs(), [1]);
}

#[test]
fn unrequested_or_repeated_change_breaks_changed() {
    let mut run = Run::new();
    *run.message(4) = stored_event(4, "message:new", "better", true);
    assert_eq!(run.violating_seqs(), [4]);
    let mut run = Run::new();
    run.stored.events.insert(8, vec![stored_event(8, "message:deleted", "4", false)]);
    assert_eq!(run.violating_seqs(), [8]);
    let mut run = Run::new();
    run.stored.events.insert(8, vec![stored_event(8, "message:edited", "1", false)]);
    assert_eq!(run.violating_seqs(), [5, 8]);
    let mut run = Run::new();
    run.reactions.insert((ROOM.to_owned(), 4, "alice".to_owned(), "+".to_owned()));
    assert_eq!(run.violating_seqs(), [4]);
}

#[test]
fn received_text_that_was_never_requested_breaks_changed() {
    for (seq, text) in [(1, "text 2"), (2, "better"), (3, ""), (4, "text 3")] {
        let mut run = Run::new();
        run.bob_receives(seq, text);
        assert_eq!(run.violating_seqs(), [seq]);
        let mut run = Run::new();
        let events = vec![Arc::new(stored_event(seq, "message:new", text, false).event)];
        run.add_entry("bob", EntryKind::Page { after: seq - 1, upto: seq, next: seq, events });
        assert_eq!(run.violating_seqs(), [seq]);
    }
}
