//! The rules about listeners.

use super::*;

#[test]
fn repeated_or_late_event_breaks_order() {
    let run = heard(4);
    run.hears(4);
    assert_eq!(run.broken(), [Rule::Order]);
    let run = heard(2);
    run.hears(4);
    run.hears(2);
    assert_eq!(run.broken(), [Rule::Order]);
    // It is below a position that was already complete.
    let run = heard(2);
    run.bob(What::CaughtUp(cursor("1", 4)));
    run.hears(4);
    assert_eq!(run.broken(), [Rule::Order, Rule::Complete]);
}

#[test]
fn missing_event_breaks_complete() {
    let run = heard(1);
    run.hears(4);
    assert_eq!(run.broken(), [Rule::Complete]);
    let run = heard(2);
    assert_eq!(run.broken(), [Rule::Complete], "the end was never reached");
    let run = heard(2);
    run.bob(What::Gap { after: 2, head: cursor("1", 4) });
    run.bob(What::Page { after: 2, upto: 4, next: 4, events: Vec::new() });
    assert_eq!(run.broken(), [Rule::Complete], "a page left it out");
}

#[test]
fn event_for_another_user_breaks_private() {
    let run = heard(2);
    run.hears(3);
    run.hears(4);
    assert_eq!(run.broken(), [Rule::Private]);
    // Also if it was never stored, and if the client dropped it.
    let mut run = heard(4);
    run.sends(3, None);
    let lost = Event { client_id: "c-3".to_owned(), id: "lost".to_owned(), ..event(9) };
    run.bob(What::Joining(Some(cursor("1", 4))));
    run.bob(What::Event(Arc::new(lost)));
    assert_eq!(run.broken(), [Rule::Private]);
    // Also a change of it.
    let edit = Event {
        kind: "message:edited".to_owned(),
        id: String::new(),
        client_id: String::new(),
        about: "3".to_owned(),
        seq: 5,
    };
    run = heard(4);
    run.stored.head = 5;
    run.stored.events.insert(5, vec![StoredEvent { event: edit.clone(), ..stored_event(5) }]);
    run.bob(What::Event(Arc::new(edit)));
    assert_eq!(run.broken(), [Rule::Private]);
}

#[test]
fn event_that_differs_from_others_breaks_agreement() {
    let other = |seq| Event { id: "other".to_owned(), client_id: "other".to_owned(), ..event(seq) };
    let run = heard(2);
    run.bob(What::Event(Arc::new(other(4))));
    assert_eq!(run.broken(), [Rule::Agreement]);
    // Bob discarded it at a new epoch, which is correct, but carol received another event in the same epoch.
    for (given, broken) in [(other(2), vec![Rule::Agreement]), (event(2), vec![])] {
        let run = heard(1);
        let carol = |what| run.history.add("carol", 1, ROOM, what);
        carol(What::Joining(Some(cursor("1", 1))));
        carol(What::Joined(cursor("1", 1)));
        carol(What::CaughtUp(cursor("1", 1)));
        carol(What::Event(Arc::new(given)));
        carol(What::Gap { after: 1, head: cursor("2", 4) });
        let events = (2..=4).map(|seq| Arc::new(event(seq))).collect();
        carol(What::Page { after: 1, upto: 4, next: 4, events });
        run.hears(2);
        run.hears(4);
        assert_eq!(run.broken(), broken);
    }
}

#[test]
fn frame_without_a_join_or_out_of_order_breaks_protocol() {
    let run = heard(4);
    run.bob(What::CaughtUp(cursor("1", 3)));
    assert!(run.broken().contains(&Rule::Protocol));
    let run = heard(4);
    run.history.add("bob", 1, "", What::Lost);
    run.hears(4);
    assert_eq!(run.broken(), [Rule::Protocol]);
    let run = heard(4);
    run.bob(What::Gap { after: 2, head: cursor("1", 4) });
    let events = vec![Arc::new(event(4))];
    run.bob(What::Page { after: 2, upto: 4, next: 4, events });
    assert_eq!(run.broken(), [Rule::Protocol], "a gap of the same epoch takes nothing back");
}
