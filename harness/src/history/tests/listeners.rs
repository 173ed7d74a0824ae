//! Tests of the rules about the views of listeners.

use super::*;

#[test]
fn repeated_or_late_event_breaks_order() {
    let run = run_received_up_to(4);
    run.bob_receives(4);
    assert_eq!(run.broken_rules(), [Rule::Order]);
    let run = run_received_up_to(2);
    run.bob_receives(4);
    run.bob_receives(2);
    assert_eq!(run.broken_rules(), [Rule::Order]);
    // The event is below the position of an earlier `room:caught_up`.
    let run = run_received_up_to(2);
    run.add_bob(EntryKind::CaughtUp(cursor("1", 4)));
    run.bob_receives(4);
    assert_eq!(run.broken_rules(), [Rule::Order, Rule::Complete]);
}

#[test]
fn missing_event_breaks_complete() {
    let run = run_received_up_to(1);
    run.bob_receives(4);
    assert_eq!(run.broken_rules(), [Rule::Complete]);
    let run = run_received_up_to(2);
    assert_eq!(run.broken_rules(), [Rule::Complete], "the end was never reached");
    let run = run_received_up_to(2);
    run.add_bob(EntryKind::Gap { after: 2, head: cursor("1", 4) });
    run.add_bob(EntryKind::Page { after: 2, upto: 4, next: 4, events: Vec::new() });
    assert_eq!(run.broken_rules(), [Rule::Complete], "a page left it out");
}

#[test]
fn caught_up_during_a_fill_counts_after_it() {
    let run = run_received_up_to(1);
    run.add_bob(EntryKind::Gap { after: 1, head: cursor("2", 2) });
    run.add_bob(EntryKind::CaughtUp(cursor("3", 4)));
    run.add_bob(EntryKind::Page { after: 1, upto: 2, next: 2, events: vec![Arc::new(event(2))] });
    assert_eq!(run.broken_rules(), [Rule::Complete], "the fourth event was never sent");
    let run = run_received_up_to(1);
    run.add_bob(EntryKind::Gap { after: 1, head: cursor("2", 2) });
    run.bob_receives(4);
    run.add_bob(EntryKind::CaughtUp(cursor("3", 4)));
    run.add_bob(EntryKind::Page { after: 1, upto: 2, next: 2, events: vec![Arc::new(event(2))] });
    assert_eq!(run.broken_rules(), []);
}

#[test]
fn event_for_another_user_breaks_private() {
    let run = run_received_up_to(2);
    run.bob_receives(3);
    run.bob_receives(4);
    assert_eq!(run.broken_rules(), [Rule::Private]);
    // The rule also applies to an event that was never stored and that the client dropped.
    let mut run = run_received_up_to(4);
    run.alice_sends(3, None);
    let lost = Event { client_id: "c-3".to_owned(), id: "lost".to_owned(), ..event(9) };
    run.add_bob(EntryKind::Joining(Some(cursor("1", 4))));
    run.add_bob(EntryKind::Event(Arc::new(lost)));
    assert_eq!(run.broken_rules(), [Rule::Private]);
    // The rule also applies to a change of the message.
    let edit = Event {
        kind: "message:edited".to_owned(),
        id: String::new(),
        client_id: String::new(),
        about: "3".to_owned(),
        seq: 5,
    };
    run = run_received_up_to(4);
    run.stored.head = 5;
    run.stored.events.insert(5, vec![StoredEvent { event: edit.clone(), ..stored_event(5) }]);
    run.add_bob(EntryKind::Event(Arc::new(edit)));
    assert_eq!(run.broken_rules(), [Rule::Private]);
}

#[test]
fn event_that_differs_from_others_breaks_agreement() {
    let other = |seq| Event { id: "other".to_owned(), client_id: "other".to_owned(), ..event(seq) };
    let run = run_received_up_to(2);
    run.add_bob(EntryKind::Event(Arc::new(other(4))));
    assert_eq!(run.broken_rules(), [Rule::Agreement]);
    // At a new epoch bob correctly discarded his event. Carol received an event at the same position of the old epoch.
    for (given, broken) in [(other(2), vec![Rule::Agreement]), (event(2), vec![])] {
        let run = run_received_up_to(1);
        let carol = |what| run.history.add("carol", 1, ROOM, what);
        carol(EntryKind::Joining(Some(cursor("1", 1))));
        carol(EntryKind::Joined(cursor("1", 1)));
        carol(EntryKind::CaughtUp(cursor("1", 1)));
        carol(EntryKind::Event(Arc::new(given)));
        carol(EntryKind::Gap { after: 1, head: cursor("2", 4) });
        let events = (2..=4).map(|seq| Arc::new(event(seq))).collect();
        carol(EntryKind::Page { after: 1, upto: 4, next: 4, events });
        run.bob_receives(2);
        run.bob_receives(4);
        assert_eq!(run.broken_rules(), broken);
    }
}

#[test]
fn frame_without_a_join_or_out_of_order_breaks_protocol() {
    let run = run_received_up_to(4);
    run.add_bob(EntryKind::CaughtUp(cursor("1", 3)));
    assert!(run.broken_rules().contains(&Rule::Protocol));
    let run = run_received_up_to(4);
    run.history.add("bob", 1, "", EntryKind::Lost);
    run.bob_receives(4);
    assert_eq!(run.broken_rules(), [Rule::Protocol]);
    let run = run_received_up_to(4);
    run.add_bob(EntryKind::Gap { after: 2, head: cursor("1", 4) });
    let events = vec![Arc::new(event(4))];
    run.add_bob(EntryKind::Page { after: 2, upto: 4, next: 4, events });
    assert_eq!(run.broken_rules(), [Rule::Protocol], "a gap of the same epoch takes nothing back");
}
