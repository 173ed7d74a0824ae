//! Tests records that a room is sent in slices of two subscriptions, and what happens between the slices.

use super::*;

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

/// Replaces a subscription by one in the same slot, which goes live at this seq.
fn replace(hub: &mut Hub<Listener>, old: Subscription, name: &str, seq: u64) -> Rc<Listener> {
    assert_eq!(carry_out(hub.unsubscribe(&room(), old)), (0, false));
    let (peer, subscription) = subscribe_member(hub, name);
    assert!(go_live(hub, subscription, at(1, seq)));
    peer
}

/// Sends all slices from a slot on, and then dispatches the record.
fn send_rest(hub: &mut Hub<Listener>, record: &Record, mut from_slot: usize) -> DispatchOutcome {
    while let Some(next_slot) = dispatch_slice(hub, record, from_slot) {
        from_slot = next_slot;
    }
    dispatch(hub, record)
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
    let next_slot = dispatch_slice(&mut hub, &six, 0).unwrap();
    assert_eq!([&ann, &bob, &cleo, &dan, &eve].map(|peer| got(peer).len()), [1, 1, 0, 0, 0]);
    assert_eq!(hub.room(&room()).live_position(), Some(at(1, 5)), "eve was not sent record 6");
    assert_eq!(hub.room(&room()).newest_position(), at(1, 6));
    // The first one joins in a slot that was visited, and has not read record 6.
    let (late, early) = (replace(&mut hub, a, "fay", 5), replace(&mut hub, c, "gus", 6));
    assert_eq!(send_rest(&mut hub, &six, next_slot), DispatchOutcome::Delivered);
    assert_eq!(hub.room(&room()).live_position(), Some(at(1, 6)));
    assert_eq!(dan.lagging.take(), Some(at(1, 5)));
    assert_eq!(dispatch_hint(&mut hub, 1, 7), DispatchOutcome::Delivered);
    for peer in [&bob, &eve, &late] {
        assert_eq!(got(peer), [json(1, 6), json(1, 7)], "{}", peer.user.as_str());
    }
    assert_eq!(got(&early), [json(1, 7)], "gus has read record 6");
    assert!(got(&cleo).is_empty() && got(&ann) == [json(1, 6)] && got(&dan).is_empty());
}

#[test]
fn lagging_peer_replayed_between_slices_gets_record_once() {
    let mut hub = Hub::default();
    let [(dan, d), (ann, _), (bob, _), (cleo, _)] = live_members(&mut hub, ["dan", "ann", "bob", "cleo"]);
    dan.space.set(0);
    let six = record(1, 6, "");
    let next_slot = dispatch_slice(&mut hub, &six, 0).unwrap();
    assert_eq!(dan.lagging.take(), Some(at(1, 5)));
    dan.space.set(usize::MAX);
    assert!(hub.room(&room()).replay_record(d, &six) && go_live(&mut hub, d, at(1, 6)));
    assert_eq!(send_rest(&mut hub, &six, next_slot), DispatchOutcome::Delivered);
    for peer in [&dan, &ann, &bob, &cleo] {
        assert_eq!(got(peer), [json(1, 6)], "{}", peer.user.as_str());
    }
}

#[test]
fn sliced_record_is_sent_to_the_rest_before_a_run() {
    let mut hub = Hub::default();
    let members = live_members(&mut hub, ["ann", "bob", "cleo", "dan", "eve", "fay"]);
    let six = record(1, 6, "");
    assert!(dispatch_slice(&mut hub, &six, 0).is_some());
    assert!(!dispatch_run(&mut hub, &public_records(1, 7..=8)), "record 6 was not sent to all");
    assert_eq!(dispatch(&mut hub, &six), DispatchOutcome::Delivered);
    assert!(dispatch_run(&mut hub, &public_records(1, 7..=8)));
    for (peer, _) in members {
        assert_eq!(got(&peer), [json(1, 6), json(1, 7), json(1, 8)], "{}", peer.user.as_str());
    }
}

#[test]
fn refill_between_slices_sends_each_record_once() {
    let mut hub = Hub::default();
    let members = live_members(&mut hub, ["ann", "bob", "cleo", "dan", "eve"]);
    let six = record(1, 6, "");
    let next_slot = dispatch_slice(&mut hub, &six, 0).unwrap();
    assert!(begin_refill(&mut hub));
    assert_eq!(send_rest(&mut hub, &six, next_slot), DispatchOutcome::RefillUnderWay);
    assert_eq!(refill(&mut hub, &tail_read(1, 1..=5, "1:0")), RefillOutcome::Retry, "the read is stale");
    assert_eq!(refill(&mut hub, &tail_read(1, 1..=7, "1:0")), RefillOutcome::FromTail);
    assert_eq!(send_rest(&mut hub, &six, next_slot), DispatchOutcome::Stale);
    for (peer, _) in members {
        assert_eq!(got(&peer), [json(1, 6), json(1, 7)], "{}", peer.user.as_str());
    }
}

#[test]
fn user_removed_after_record_in_slices_gets_nothing_more() {
    for refilled in [false, true] {
        let mut hub = Hub::default();
        let [(first, _), (ann, _), (cleo, _), (second, _), (dan, _)] =
            live_members(&mut hub, ["bob", "ann", "cleo", "bob", "dan"]);
        let (six, removal) = (record(1, 6, ""), membership_change(1, 7, "", "bob\x1eremoved"));
        let next_slot = dispatch_slice(&mut hub, &six, 0).unwrap();
        assert!(got(&first).len() == 1 && got(&second).is_empty());
        if refilled {
            assert!(begin_refill(&mut hub));
            let records = vec![six.clone(), removal, record(1, 8, "")];
            let tail = TailRead { records, ..tail_read(1, 8..=8, "1:0") };
            assert_eq!(refill(&mut hub, &tail), RefillOutcome::FromTail);
            assert_eq!(send_rest(&mut hub, &six, next_slot), DispatchOutcome::Stale);
        } else {
            assert_eq!(dispatch(&mut hub, &six), DispatchOutcome::Delivered);
            assert_eq!(dispatch(&mut hub, &removal), DispatchOutcome::Delivered);
            assert_eq!(dispatch_hint(&mut hub, 1, 8), DispatchOutcome::Delivered);
        }
        for peer in [&first, &second] {
            assert_eq!((got(peer), peer.ended.get()), (vec![json(1, 6), json(1, 7)], 1), "{refilled}");
        }
        for peer in [&ann, &cleo, &dan] {
            assert_eq!(got(peer), [json(1, 6), json(1, 7), json(1, 8)], "{refilled}");
        }
    }
}
