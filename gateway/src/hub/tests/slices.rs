//! Tests records that are sent in slices of two subscriptions, and joins, leaves and refills between the slices.

use super::{lagging::take_lagging_peers, live::live_only_record, *};

/// Adds live subscriptions at the position 5, in the slots from 0 on.
fn live_members<const N: usize>(
    hub: &mut Hub<Listener>,
    names: [&str; N],
) -> [(Rc<Listener>, Subscription); N] {
    names.map(|name| {
        let (peer, subscription) = subscribe_member(hub, name);
        assert!(go_live(hub, subscription, at(1, 5)));
        (peer, subscription)
    })
}

/// Sends the first slice of a record. Returns the slot with which the next slice begins.
fn send_first_slice(hub: &mut Hub<Listener>, record: &Record) -> usize {
    match hub.dispatch(record, &Frame::text(record.json()), 0).0 {
        DispatchOutcome::Partial(next_slot) => next_slot,
        outcome => panic!("{outcome:?}"),
    }
}

/// Replaces a subscription by one in the same slot, which goes live at this seq.
fn replace(hub: &mut Hub<Listener>, old: Subscription, name: &str, seq: u64) -> Rc<Listener> {
    assert!(!hub.unsubscribe(&room(), old));
    let (peer, subscription) = subscribe_member(hub, name);
    assert!(go_live(hub, subscription, at(1, seq)));
    peer
}

fn got(peer: &Listener) -> Vec<String> {
    peer.got.borrow().clone()
}

#[test]
fn joins_and_leaves_between_slices_lose_and_repeat_nothing() {
    let mut hub = Hub::default();
    let [(ann, a), (bob, _), (cleo, c), (dan, _), (eve, _)] =
        live_members(&mut hub, ["ann", "bob", "cleo", "dan", "eve"]);
    dan.space.set(0);
    let six = record(1, 6, "");
    let next_slot = send_first_slice(&mut hub, &six);
    assert_eq!([&ann, &bob, &cleo, &dan, &eve].map(|peer| got(peer).len()), [1, 1, 0, 0, 0]);
    assert_eq!(hub.room(&room()).live_position(), Some(at(1, 5)), "eve was not sent record 6");
    // Fay joins in a slot that was already visited, and has not read record 6.
    let (late, early) = (replace(&mut hub, a, "fay", 5), replace(&mut hub, c, "gus", 6));
    assert_eq!(dispatch_from(&mut hub, &six, next_slot).0, DispatchOutcome::Delivered);
    assert_eq!(hub.room(&room()).live_position(), Some(at(1, 6)));
    assert_eq!(take_lagging_peers(&mut hub), [("dan".to_owned(), at(1, 5))]);
    assert_eq!(dispatch_hint(&mut hub, 1, 7), DispatchOutcome::Delivered);
    for peer in [&bob, &eve, &late] {
        assert_eq!(got(peer), [json(1, 6), json(1, 7)], "{}", peer.user.as_str());
    }
    assert_eq!(got(&early), [json(1, 7)], "gus has read record 6");
    assert!(got(&cleo).is_empty() && got(&ann) == [json(1, 6)] && got(&dan).is_empty());
}

#[test]
fn run_in_slices_is_sent_to_each_subscription_from_its_position() {
    let mut hub = Hub::default();
    let [(_, a), (bob, _), (_, c), (dan, _), (eve, _)] =
        live_members(&mut hub, ["ann", "bob", "cleo", "dan", "eve"]);
    dan.space.set(1);
    let run = public_records(1, 6..=8);
    let Some(DispatchOutcome::Partial(next_slot)) = dispatch_run_slice(&mut hub, &run, 0) else {
        panic!("the room is small")
    };
    assert!(got(&bob).len() == 3 && hub.room(&room()).live_position() == Some(at(1, 5)));
    let (late, early) = (replace(&mut hub, a, "fay", 5), replace(&mut hub, c, "gus", 7));
    assert!(dispatch_run_from(&mut hub, &run, next_slot));
    assert_eq!(take_lagging_peers(&mut hub), [("dan".to_owned(), at(1, 6))]);
    for peer in [&bob, &eve, &late] {
        assert_eq!(got(peer), [json(1, 6), json(1, 7), json(1, 8)], "{}", peer.user.as_str());
    }
    assert_eq!(got(&early), [json(1, 8)]);
    assert_eq!(hub.room(&room()).live_position(), Some(at(1, 8)));
}

#[test]
fn refill_between_slices_sends_each_record_once() {
    let mut hub = Hub::default();
    let members = live_members(&mut hub, ["ann", "bob", "cleo", "dan", "eve"]);
    let six = record(1, 6, "");
    let next_slot = send_first_slice(&mut hub, &six);
    assert!(hub.begin_refill(&room()));
    assert_eq!(dispatch_from(&mut hub, &six, next_slot).0, DispatchOutcome::RefillUnderWay);
    assert_eq!(refill(&mut hub, &tail_read(1, 1..=7, "1:0")), RefillOutcome::FromTail);
    assert_eq!(dispatch_from(&mut hub, &six, next_slot).0, DispatchOutcome::Stale);
    for (peer, _) in members {
        assert_eq!(got(&peer), [json(1, 6), json(1, 7)], "{}", peer.user.as_str());
    }
}

#[test]
fn user_removed_by_record_in_slices_gets_nothing_after_it() {
    for refilled in [false, true] {
        let mut hub = Hub::default();
        let [(first, b), (ann, _), (second, _), (cleo, _), (dan, _)] =
            live_members(&mut hub, ["bob", "ann", "bob", "cleo", "dan"]);
        let removal = membership_change(1, 6, "", "bob\x1eremoved");
        let next_slot = send_first_slice(&mut hub, &removal);
        assert!(got(&ann) == [json(1, 6)] && got(&cleo).is_empty());
        assert_eq!(got(&first).is_empty(), hub.room(&room()).has_subscription(b));
        if refilled {
            assert!(hub.begin_refill(&room()));
            let records = vec![removal.clone(), record(1, 7, "")];
            let tail = TailRead { records, ..tail_read(1, 7..=7, "1:0") };
            assert_eq!(refill(&mut hub, &tail), RefillOutcome::FromTail);
            assert_eq!(dispatch_from(&mut hub, &removal, next_slot).0, DispatchOutcome::Stale);
        } else {
            let (outcome, ended) = dispatch_from(&mut hub, &removal, next_slot);
            assert_eq!((outcome, ended.subscriptions), (DispatchOutcome::Delivered, 2));
            assert_eq!(dispatch_hint(&mut hub, 1, 7), DispatchOutcome::Delivered);
        }
        for peer in [&first, &second] {
            assert!(got(peer) == [json(1, 6)] && peer.ended.get() == 1, "{refilled}: {:?}", got(peer));
        }
        for peer in [&ann, &cleo, &dan] {
            assert_eq!(got(peer), [json(1, 6), json(1, 7)], "{}", peer.user.as_str());
        }
    }
}

#[test]
fn live_only_record_in_slices_is_sent_once_when_room_shrinks() {
    let mut hub = Hub::default();
    let [(_, a), (bob, _), (_, c), (_, d), (eve, _)] =
        live_members(&mut hub, ["ann", "bob", "cleo", "dan", "eve"]);
    let signal = live_only_record("ann", "");
    let next_slot = send_first_slice(&mut hub, &signal);
    for left in [a, c, d] {
        assert!(!hub.unsubscribe(&room(), left));
    }
    assert_eq!(dispatch_from(&mut hub, &signal, next_slot).0, DispatchOutcome::Delivered);
    assert_eq!([&bob, &eve].map(|peer| got(peer).len()), [1, 1]);
}
