//! Tests peers that take no more frames: from which record they are replayed, and which frames they get meanwhile.

use super::*;

#[test]
fn peer_without_space_is_replayed_from_its_last_record() {
    let mut hub = Hub::default();
    let (alice, a) = subscribe_member(&mut hub, "alice");
    let (bob, b) = subscribe_member(&mut hub, "bob");
    assert!(go_live(&mut hub, a, at(1, 5)) && go_live(&mut hub, b, at(1, 5)));
    bob.space.set(1);
    assert_eq!([6, 7, 8].map(|seq| dispatch_hint(&mut hub, 1, seq)), [DispatchOutcome::Delivered; 3]);
    assert_eq!(bob.lagging.take(), Some(at(1, 6)));
    bob.space.set(usize::MAX);
    assert!(!go_live(&mut hub, b, at(1, 6)), "records 7 and 8 were not sent to bob");
    for seq in 7..=8 {
        assert!(hub.room(&room()).replay_record(b, &record(1, seq, "")));
    }
    assert!(go_live(&mut hub, b, at(1, 8)));
    // A run stops at the first frame that the peer does not take.
    bob.space.set(2);
    assert!(dispatch_run(&mut hub, &public_records(1, 9..=11)));
    assert_eq!(bob.lagging.take(), Some(at(1, 10)));
    assert!(hub.room(&room()).replay_record(b, &record(1, 11, "")));
    assert!(go_live(&mut hub, b, at(1, 11)));
    // A refill also stops at the first frame that the peer does not take.
    bob.space.set(1);
    assert_eq!(dispatch_hint(&mut hub, 1, 14), DispatchOutcome::Refill);
    assert_eq!(refill(&mut hub, &tail_read(1, 4..=14, "1:0")), RefillOutcome::FromTail);
    assert_eq!(bob.lagging.take(), Some(at(1, 12)));
    assert_eq!(alice.lagging.get(), None);
    let until = |last| (6..=last).map(|seq| json(1, seq)).collect::<Vec<_>>();
    assert_eq!((&*alice.got.borrow(), &*bob.got.borrow()), (&until(14), &until(12)));
}

#[test]
fn single_lagging_subscription_goes_live_at_newest_record() {
    let mut hub = Hub::default();
    let (alice, a) = subscribe_member(&mut hub, "alice");
    assert!(go_live(&mut hub, a, at(1, 5)));
    alice.space.set(0);
    assert_eq!(dispatch_hint(&mut hub, 1, 6), DispatchOutcome::Delivered);
    assert_eq!(alice.lagging.take(), Some(at(1, 5)));
    assert_eq!(dispatch_hint(&mut hub, 1, 7), DispatchOutcome::NobodyLive);
    assert!(!go_live(&mut hub, a, at(1, 5)) && !go_live(&mut hub, a, at(1, 6)));
    assert!(go_live(&mut hub, a, at(1, 7)));
}

#[test]
fn role_change_that_a_peer_does_not_take_still_applies() {
    let mut hub = Hub::default();
    let (bob, b) = subscribe_member(&mut hub, "bob");
    assert!(go_live(&mut hub, b, at(1, 5)));
    bob.space.set(0);
    dispatch(&mut hub, &membership_change(1, 6, "", "bob\x1eguest"));
    assert_eq!(bob.lagging.take(), Some(at(1, 5)));
    assert_eq!(hub.room(&room()).role(b, Epoch(1)).as_deref(), Some("guest"));
    dispatch(&mut hub, &membership_change(1, 7, "", "bob\x1eremoved"));
    assert!(!hub.room(&room()).has_subscription(b) && bob.ended.get() == 1);
}

#[test]
fn peer_that_does_not_take_its_removal_is_not_replayed() {
    let mut hub = Hub::default();
    let (bob, b) = subscribe_member(&mut hub, "bob");
    assert!(go_live(&mut hub, b, at(1, 5)));
    bob.space.set(0);
    dispatch(&mut hub, &membership_change(1, 6, "", "bob\x1eremoved"));
    assert_eq!((bob.ended.get(), bob.lagging.get()), (1, None));
}
