//! Tests which peers get live-only records, and that these records move no position. Also tests the end of the live
//! subscriptions of a room that does not exist.

use super::*;

fn live_only_record(sender: &str, visibility: &str) -> Record {
    let line = format!(
        "1\x1f1\x1f0\x1f0\x1fr\x1fsignal\x1f{sender}\x1f\x1f\x1f{visibility}\x1f\x1f\n{{\"from\":\"{sender}\"}}"
    );
    Record::parse(Bytes::from(line)).unwrap()
}

/// Dispatches a live-only record. Returns for each peer whether it got the record.
fn dispatch_live_only(
    hub: &mut Hub<Listener>,
    peers: &[&Listener],
    sender: &str,
    visibility: &str,
) -> Vec<bool> {
    let record = live_only_record(sender, visibility);
    peers.iter().for_each(|peer| peer.got.borrow_mut().clear());
    let before = (hub.room(&room()).live_position(), hub.room(&room()).newest_position());
    assert_eq!(dispatch(hub, &record), DispatchOutcome::Delivered);
    assert_eq!(
        (hub.room(&room()).live_position(), hub.room(&room()).newest_position()),
        before,
        "a live-only record must not move the room"
    );
    peers.iter().map(|peer| !peer.got.borrow().is_empty()).collect()
}

#[test]
fn live_only_record_reaches_live_others_or_named_users() {
    let mut hub = Hub::default();
    let mut live = |name: &str| {
        let (peer, subscription) = subscribe_member(&mut hub, name);
        assert!(go_live(&mut hub, subscription, at(1, 4)));
        peer
    };
    let (ann, second, bob) = (live("ann"), live("ann"), live("bob"));
    let (replaying, _) = subscribe_member(&mut hub, "bob");
    let peers = [&*ann, &*second, &*bob, &*replaying];
    assert_eq!(dispatch_live_only(&mut hub, &peers, "ann", ""), [false, false, true, false]);
    assert_eq!(dispatch_live_only(&mut hub, &peers, "", ""), [true, true, true, false]);
    assert_eq!(dispatch_live_only(&mut hub, &peers, "ann", "u=bob"), [false, false, true, false]);
    assert_eq!(dispatch_live_only(&mut hub, &peers, "ann", "u=ann"), [true, true, false, false]);
    assert_eq!(dispatch_live_only(&mut hub, &peers, "ann", "u=eve"), [false; 4]);
}

#[test]
fn live_only_record_skips_peers_that_may_be_removed() {
    let mut hub = Hub::default();
    let (bob, subscription) = subscribe_member(&mut hub, "bob");
    assert!(go_live(&mut hub, subscription, at(1, 4)));
    let peers = [&*bob];
    assert_eq!(dispatch_live_only(&mut hub, &peers, "ann", ""), [true]);
    // Record 5 is missing, and may be the removal of the receiver.
    assert_eq!(dispatch_hint(&mut hub, 1, 6), DispatchOutcome::Refill);
    assert_eq!(dispatch_live_only(&mut hub, &peers, "ann", ""), [false]);
    assert_eq!(refill(&mut hub, &tail_read(1, 1..=6, "1:0")), RefillOutcome::FromTail);
    assert_eq!(dispatch_live_only(&mut hub, &peers, "ann", ""), [true]);
    assert!(begin_refill(&mut hub));
    assert_eq!(dispatch_live_only(&mut hub, &peers, "ann", ""), [false]);
    assert_eq!(refill(&mut hub, &tail_read(1, 1..=6, "1:0")), RefillOutcome::FromTail);
    assert_eq!(dispatch_live_only(&mut hub, &peers, "ann", ""), [true]);
}

#[test]
fn live_subscriptions_of_missing_room_end() {
    let mut hub = Hub::default();
    let (ann, first) = subscribe_member(&mut hub, "ann");
    let (bob, second) = subscribe_member(&mut hub, "bob");
    let (_, replaying) = subscribe_member(&mut hub, "cleo");
    assert!(go_live(&mut hub, first, at(1, 4)) && go_live(&mut hub, second, at(1, 4)));
    assert!(begin_refill(&mut hub));
    assert_eq!(carry_out(hub.end_live_subscriptions(&room())), (2, false));
    assert_eq!((ann.ended.get(), bob.ended.get()), (1, 1));
    assert_eq!(hub.room(&room()).live_position(), None);
    // The refill has ended, so another one may begin when a subscription goes live.
    assert!(go_live(&mut hub, replaying, at(1, 4)) && begin_refill(&mut hub));
    assert_eq!(carry_out(hub.end_live_subscriptions(&room())), (1, true));
    assert_eq!(hub.room_count(), 0);
}

#[test]
fn peer_without_space_misses_live_only_record_and_no_event() {
    let mut hub = Hub::default();
    let (bob, subscription) = subscribe_member(&mut hub, "bob");
    let (_, other) = subscribe_member(&mut hub, "cleo");
    assert!(go_live(&mut hub, subscription, at(1, 4)) && go_live(&mut hub, other, at(1, 4)));
    bob.space.set(0);
    assert_eq!(dispatch_live_only(&mut hub, &[&bob], "ann", ""), [false]);
    assert_eq!(bob.lagging.take(), Some(at(1, 4)));
    bob.space.set(usize::MAX);
    assert_eq!(dispatch_live_only(&mut hub, &[&bob], "ann", ""), [false], "bob is replaying");
    assert!(go_live(&mut hub, subscription, at(1, 4)));
    assert_eq!(dispatch_hint(&mut hub, 1, 5), DispatchOutcome::Delivered);
    assert_eq!(dispatch_live_only(&mut hub, &[&bob], "ann", ""), [true]);
}
