//! Live-only records: which peers get them, and that they move no position.

use super::*;

fn live_only(sender: &str, visibility: &str) -> Record {
    let line = format!(
        "1\x1f1\x1f0\x1f0\x1fr\x1fsignal\x1f{sender}\x1f\x1f\x1f{visibility}\x1f\x1f\n{{\"from\":\"{sender}\"}}"
    );
    Record::parse(Bytes::from(line)).unwrap()
}

/// Dispatches a live-only record. Returns for each peer whether it got the record.
fn reached(hub: &mut Hub<Listener>, peers: &[&Listener], sender: &str, visibility: &str) -> Vec<bool> {
    let record = live_only(sender, visibility);
    peers.iter().for_each(|peer| peer.got.borrow_mut().clear());
    let before = (hub.room(&room()).live_position(), hub.room(&room()).newest());
    assert_eq!(hub.dispatch(&record, &Frame::text(record.json())).0, Dispatch::Delivered);
    assert_eq!(
        (hub.room(&room()).live_position(), hub.room(&room()).newest()),
        before,
        "a live-only record must not move the room"
    );
    peers.iter().map(|peer| !peer.got.borrow().is_empty()).collect()
}

#[test]
fn live_only_record_reaches_live_others_or_named_users() {
    let mut hub = Hub::default();
    let mut live = |name: &str| {
        let (peer, subscription) = listener(&mut hub, name);
        assert!(go_live(&mut hub, subscription, at(1, 4)));
        peer
    };
    let (ann, second, bob) = (live("ann"), live("ann"), live("bob"));
    let (replaying, _) = listener(&mut hub, "bob");
    let peers = [&*ann, &*second, &*bob, &*replaying];
    assert_eq!(reached(&mut hub, &peers, "ann", ""), [false, false, true, false]);
    assert_eq!(reached(&mut hub, &peers, "", ""), [true, true, true, false]);
    assert_eq!(reached(&mut hub, &peers, "ann", "u=bob"), [false, false, true, false]);
    assert_eq!(reached(&mut hub, &peers, "ann", "u=ann"), [true, true, false, false]);
    assert_eq!(reached(&mut hub, &peers, "ann", "u=eve"), [false; 4]);
}

#[test]
fn live_only_record_skips_peers_that_may_be_removed() {
    let mut hub = Hub::default();
    let (bob, subscription) = listener(&mut hub, "bob");
    assert!(go_live(&mut hub, subscription, at(1, 4)));
    let peers = [&*bob];
    assert_eq!(reached(&mut hub, &peers, "ann", ""), [true]);
    // Record 5 is missing, and may be the removal of the receiver.
    let later = record(1, 6, "");
    assert_eq!(hub.dispatch(&later, &Frame::text(later.json())).0, Dispatch::Refill);
    assert_eq!(reached(&mut hub, &peers, "ann", ""), [false]);
    assert_eq!(refill(&mut hub, &read(1, 1..=6, "1:0")), RefillOutcome::FromTail);
    assert_eq!(reached(&mut hub, &peers, "ann", ""), [true]);
    assert!(hub.begin_refill(&room()));
    assert_eq!(reached(&mut hub, &peers, "ann", ""), [false]);
    assert_eq!(refill(&mut hub, &read(1, 1..=6, "1:0")), RefillOutcome::FromTail);
    assert_eq!(reached(&mut hub, &peers, "ann", ""), [true]);
}
