//! Tests of the rules: a correct history breaks no rule, and a history that breaks a rule is found.

use super::*;

mod listeners;
mod prefix;

const ROOM: &str = "r";

fn cursor(epoch: &str, seq: u64) -> Cursor {
    Cursor { epoch: epoch.to_owned(), seq }
}

fn event(seq: u64) -> Event {
    Event {
        seq,
        kind: "message:new".to_owned(),
        id: format!("id-{seq}"),
        client_id: format!("c-{seq}"),
        about: format!("text {seq}"),
    }
}

fn stored_event(seq: u64) -> StoredEvent {
    StoredEvent { event: event(seq), by: "alice".to_owned(), visible_to: None, changed: false }
}

/// A room with four stored messages of alice; only carol may see the third. The tests add what alice and bob do.
struct Run {
    history: History,
    stored: StoredLog,
    redis_losses: Vec<RangeInclusive<Duration>>,
}

impl Run {
    fn new() -> Run {
        let mut stored = StoredLog { head: 4, events: BTreeMap::new() };
        for seq in 1..=4 {
            stored.events.insert(seq, vec![stored_event(seq)]);
        }
        stored.events.get_mut(&3).unwrap()[0].visible_to = Some(vec!["carol".to_owned()]);
        Run { history: History::default(), stored, redis_losses: Vec::new() }
    }

    fn add_bob(&self, what: EntryKind) {
        self.history.add("bob", 1, ROOM, what);
    }

    fn bob_receives(&self, seq: u64) {
        self.add_bob(EntryKind::Event(Arc::new(event(seq))));
    }

    fn alice_sends(&self, seq: u64, answer: Option<AckOutcome>) {
        let visible_to = if seq == 3 { vec!["carol".to_owned()] } else { Vec::new() };
        let client_id = format!("c-{seq}");
        let text = format!("text {seq}");
        let sent = EntryKind::Sent { client_id: client_id.clone(), text, visible_to, attempt: 1 };
        self.history.add("alice", 1, ROOM, sent);
        if let Some(answer) = answer {
            self.history.add("alice", 1, ROOM, EntryKind::Answered { client_id, answer });
        }
    }

    fn stored_answer(seq: u64) -> Option<AckOutcome> {
        Some(AckOutcome::Stored { seq, id: format!("id-{seq}") })
    }

    fn alice_sends_all(&self) {
        (1..=4).for_each(|seq| self.alice_sends(seq, Self::stored_answer(seq)));
    }

    fn bob_joins(&self) {
        self.history.add("bob", 1, "", EntryKind::Connected);
        self.add_bob(EntryKind::Joining(Some(cursor("1", 0))));
        self.add_bob(EntryKind::Joined(cursor("1", 0)));
        self.add_bob(EntryKind::CaughtUp(cursor("1", 0)));
    }

    fn broken_rules(&self) -> Vec<Rule> {
        let rooms = [(ROOM.to_owned(), self.stored.clone())].into_iter().collect();
        let (_, violations) = check(&self.history.take(), &rooms, &self.redis_losses);
        let mut rules: Vec<Rule> = violations.into_iter().map(|violation| violation.rule).collect();
        rules.dedup();
        rules
    }
}

/// A run in which all messages are sent and stored, and bob receives those up to this seq correctly.
fn run_received_up_to(upto: u64) -> Run {
    let run = Run::new();
    run.alice_sends_all();
    run.bob_joins();
    (1..=upto).filter(|seq| *seq != 3).for_each(|seq| run.bob_receives(seq));
    run
}

#[test]
fn correct_history_breaks_no_rule_and_is_counted() {
    let run = Run::new();
    run.alice_sends_all();
    run.bob_joins();
    run.bob_receives(1);
    run.history.add("bob", 1, "", EntryKind::Lost);
    run.history.add("bob", 2, "", EntryKind::Connected);
    run.add_bob(EntryKind::Joining(Some(cursor("1", 1))));
    run.add_bob(EntryKind::Joined(cursor("2", 4)));
    run.add_bob(EntryKind::Gap { after: 0, head: cursor("2", 3) });
    run.bob_receives(4);
    let events = vec![Arc::new(event(1)), Arc::new(event(2)), Arc::new(event(4))];
    run.add_bob(EntryKind::Page { after: 0, upto: 3, next: 4, events });
    run.add_bob(EntryKind::CaughtUp(cursor("2", 4)));
    run.add_bob(EntryKind::CaughtUp(cursor("3", 4)));
    let rooms = [(ROOM.to_owned(), run.stored.clone())].into_iter().collect();
    let (checked, violations) = check(&run.history.take(), &rooms, &[]);
    assert_eq!(violations, []);
    let expected = CheckCounts {
        stored: 4,
        deliveries: 3,
        gaps: 1,
        new_epochs: 2,
        hidden: 1,
        connections: 2,
        ..CheckCounts::default()
    };
    assert_eq!(checked, expected);
}

#[test]
fn answer_stored_without_the_stored_event_breaks_stored() {
    for (seq, id) in [(2, "id-9"), (3, "id-2")] {
        let run = run_received_up_to(4);
        run.history.add(
            "alice",
            1,
            ROOM,
            EntryKind::Answered {
                client_id: "c-2".to_owned(),
                answer: AckOutcome::Stored { seq, id: id.to_owned() },
            },
        );
        assert_eq!(run.broken_rules(), [Rule::Stored]);
    }
    let run = run_received_up_to(4);
    run.alice_sends(5, Run::stored_answer(5));
    assert_eq!(run.broken_rules(), [Rule::Stored]);
}

#[test]
fn unreported_loss_of_an_accepted_message_breaks_accepted() {
    let accepted = |seq| Some(AckOutcome::Accepted { epoch: "2".to_owned(), seq, id: "id-5".to_owned() });
    let run = run_received_up_to(4);
    run.alice_sends(5, accepted(5));
    assert_eq!(run.broken_rules(), [Rule::Accepted]);
    // The message is stored, but the answer differs from the stored position or id.
    let run = run_received_up_to(4);
    run.alice_sends(4, accepted(4));
    assert_eq!(run.broken_rules(), [Rule::Accepted]);

    let run = run_received_up_to(4);
    run.history.add("alice", 1, ROOM, EntryKind::Joining(Some(cursor("1", 4))));
    run.history.add("alice", 1, ROOM, EntryKind::Joined(cursor("1", 4)));
    run.history.add("alice", 1, ROOM, EntryKind::CaughtUp(cursor("1", 4)));
    // A gap in the same epoch does not report the loss. A gap before the message was accepted does not either.
    run.history.add("alice", 1, ROOM, EntryKind::Gap { after: 4, head: cursor("2", 4) });
    run.alice_sends(5, accepted(5));
    run.history.add("alice", 1, ROOM, EntryKind::CaughtUp(cursor("2", 4)));
    run.history.add("alice", 1, ROOM, EntryKind::Gap { after: 4, head: cursor("2", 4) });
    // A gap that begins above the message does not report its loss either.
    run.history.add("alice", 1, ROOM, EntryKind::Gap { after: 5, head: cursor("3", 5) });
    let entries = run.history.take();
    let rooms: BTreeMap<_, _> = [(ROOM.to_owned(), run.stored.clone())].into_iter().collect();
    assert_eq!(check(&entries, &rooms, &[]).1[0].rule, Rule::Accepted);
    for told in [
        EntryKind::Gap { after: 4, head: cursor("3", 4) },
        EntryKind::CaughtUp(cursor("3", 4)),
        EntryKind::Event(Arc::new(Event {
            kind: "message:void".to_owned(),
            client_id: "c-5".to_owned(),
            ..event(9)
        })),
    ] {
        let mut entries = entries.clone();
        let at = Duration::from_secs(3600);
        entries.push(Entry {
            at,
            user: "alice".to_owned(),
            connection: 1,
            room: ROOM.to_owned(),
            what: told,
        });
        assert!(check(&entries, &rooms, &[]).1.iter().all(|violation| violation.rule != Rule::Accepted));
    }
}

#[test]
fn client_id_at_two_positions_breaks_once() {
    let mut run = run_received_up_to(4);
    run.stored.head = 5;
    let event = Event { client_id: "c-4".to_owned(), about: "text 4".to_owned(), ..event(5) };
    run.stored.events.insert(5, vec![StoredEvent { event: event.clone(), ..stored_event(4) }]);
    run.add_bob(EntryKind::Event(Arc::new(event)));
    assert_eq!(run.broken_rules(), [Rule::Once]);
}

/// A run in which Bob received a message twice, but the second record is a void now.
fn run_with_a_late_duplicate() -> Run {
    let mut run = run_received_up_to(4);
    let again = Event { client_id: "c-4".to_owned(), ..event(5) };
    let void = Event { kind: "void".to_owned(), id: String::new(), about: String::new(), ..again.clone() };
    run.stored.events.insert(5, vec![StoredEvent { event: void, ..stored_event(5) }]);
    run.stored.head = 5;
    run.add_bob(EntryKind::Event(Arc::new(again)));
    run
}

#[test]
fn duplicate_that_became_a_void_breaks_once() {
    // Bob drops his copy, as the `message:void` of the second record demands.
    let announced = || {
        let mut run = run_with_a_late_duplicate();
        let void = Event {
            kind: "message:void".to_owned(),
            id: String::new(),
            client_id: "c-4".to_owned(),
            about: "5".to_owned(),
            seq: 6,
        };
        run.stored.events.insert(6, vec![StoredEvent { event: void.clone(), ..stored_event(6) }]);
        run.stored.head = 6;
        run.add_bob(EntryKind::Event(Arc::new(void)));
        run
    };
    assert_eq!(announced().broken_rules(), [Rule::Once]);
    // Redis lost data, but long after the message was last sent.
    let mut run = announced();
    run.redis_losses.push(Duration::from_secs(3600)..=Duration::from_secs(3601));
    assert_eq!(run.broken_rules(), [Rule::Once]);
    // Redis lost data while the message was sent.
    let mut run = announced();
    run.redis_losses.push(Duration::ZERO..=Duration::from_secs(1));
    assert_eq!(run.broken_rules(), []);
    // The client says of both attempts that it never sent the message before.
    let run = announced();
    run.alice_sends(4, Run::stored_answer(4));
    assert_eq!(run.broken_rules(), []);
    // A rejected record is a void too, and no message has its client id.
    let mut run = announced();
    run.stored.events.get_mut(&5).unwrap()[0].event.client_id = "c-5".to_owned();
    assert!(!run.broken_rules().contains(&Rule::Once));
}

#[test]
fn missing_void_breaks_complete_and_two_copies_break_once() {
    for told in [false, true] {
        let mut run = run_with_a_late_duplicate();
        run.redis_losses.push(Duration::ZERO..=Duration::MAX);
        if told {
            let kind = "message:void".to_owned();
            let about = "5".to_owned();
            let void = Event { kind, id: String::new(), client_id: "c-4".to_owned(), about, seq: 6 };
            run.stored.events.insert(6, vec![StoredEvent { event: void.clone(), ..stored_event(6) }]);
            run.stored.head = 6;
            run.add_bob(EntryKind::Event(Arc::new(void)));
        }
        let expected = if told { vec![] } else { vec![Rule::Once, Rule::Complete] };
        assert_eq!(run.broken_rules(), expected);
    }
}

#[test]
fn gap_double_position_and_wrong_head_break_dense() {
    let mut run = run_received_up_to(4);
    run.stored.events.remove(&3);
    run.alice_sends(3, None);
    assert!(run.broken_rules().contains(&Rule::Dense));
    let mut run = run_received_up_to(4);
    let void = Event { kind: "void".to_owned(), client_id: "rejected".to_owned(), ..event(4) };
    run.stored.events.get_mut(&4).unwrap().push(StoredEvent { event: void, ..stored_event(4) });
    assert_eq!(run.broken_rules(), [Rule::Dense]);
    let mut run = run_received_up_to(4);
    run.stored.head = 5;
    assert!(run.broken_rules().contains(&Rule::Dense));
}

#[test]
fn stored_event_that_was_not_sent_like_this_breaks_sent() {
    let spoil: [fn(&mut StoredEvent); 3] = [
        |event| event.event.client_id = "another".to_owned(),
        |event| event.event.about.push('!'),
        |event| event.visible_to = None,
    ];
    for spoil in spoil {
        let mut run = run_received_up_to(4);
        spoil(&mut run.stored.events.get_mut(&3).unwrap()[0]);
        assert!(run.broken_rules().contains(&Rule::Sent));
    }
    let mut run = run_received_up_to(4);
    let edited = &mut run.stored.events.get_mut(&2).unwrap()[0];
    (edited.changed, edited.event.about) = (true, "edited".to_owned());
    assert_eq!(run.broken_rules(), []);
}

#[test]
fn story_contains_the_position_and_nearby_faults() {
    let run = run_received_up_to(2);
    run.bob_receives(3);
    let entries = run.history.take();
    let rooms = [(ROOM.to_owned(), run.stored.clone())].into_iter().collect();
    let (_, violations) = check(&entries, &rooms, &[]);
    let private = violations.iter().find(|violation| violation.rule == Rule::Private).unwrap();
    let told = describe_violation(&entries, private, &[(Duration::ZERO, "kill gateway 0".to_owned())]);
    assert!(told.contains("Private") && told.contains("id-3") && told.contains("kill gateway 0"), "{told}");
    assert_eq!(told.matches("alice").count(), 3, "of others only what is next to it: {told}");
}
