//! Tests memberships and roles that change while records are delivered, refilled or replayed.

use tidings_shared::log::keys::{Partition, PartitionSet};

use super::*;

const REMOVED: &str = "removed";

fn change_record(seq: u64, user: &str, role: &str) -> Record {
    membership_change(1, seq, "", &format!("{user}\x1e{role}"))
}

fn mark(role: &str, seq: u64) -> Option<MembershipMark> {
    Some(MembershipMark { role: (role != REMOVED).then(|| role.to_owned()), seq: Seq(seq) })
}

/// A read of Redis: the last records, and the membership marks of the users in their order.
fn tail_of(epoch: u64, records: Vec<Record>, bases: &str, marks: Vec<Option<MembershipMark>>) -> TailRead {
    let head = *records.iter().map(|record| record.seq.0).max().get_or_insert(0);
    TailRead { records, marks, ..tail_read(epoch, head..=head, bases) }
}

fn refill_with(
    hub: &mut Hub<Listener>,
    tail: &TailRead,
    users: &[UserId],
    roles: Option<&StoredRoles>,
) -> RefillOutcome {
    let generation = hub.generation();
    refill_from(hub, RoomRead { tail, users, roles }, generation)
}

/// Dispatches a record. Returns the number of ended subscriptions, and whether the room is empty.
fn dispatch_change(hub: &mut Hub<Listener>, record: &Record) -> (usize, bool) {
    let (outcome, effects) = hub.dispatch(record, &Frame::text(record.json()));
    assert_eq!(outcome, DispatchOutcome::Delivered);
    carry_out(effects)
}

fn subscribe_live(hub: &mut Hub<Listener>, name: &str, seq: u64) -> (Rc<Listener>, Subscription) {
    let (peer, subscription) = subscribe_member(hub, name);
    assert!(go_live(hub, subscription, at(1, seq)));
    (peer, subscription)
}

#[test]
fn removed_user_gets_the_removal_and_nothing_after_it() {
    let mut hub = Hub::default();
    let ((alice, _), (bob, b)) = (subscribe_live(&mut hub, "alice", 5), subscribe_live(&mut hub, "bob", 5));
    assert_eq!(dispatch_change(&mut hub, &change_record(6, "bob", REMOVED)), (1, false));
    dispatch_hint(&mut hub, 1, 7);
    assert_eq!(*alice.got.borrow(), [json(1, 6), json(1, 7)]);
    assert_eq!(*bob.got.borrow(), [json(1, 6)]);
    assert_eq!(bob.ended.get(), 1);
    assert!(!hub.room(&room()).has_subscription(b));
    let again = dispatch_change(&mut hub, &change_record(8, "bob", REMOVED));
    assert_eq!(again, (0, false), "each end is reported once");
}

#[test]
fn removal_ends_all_subscriptions_and_frees_channel() {
    let mut hub = Hub::default();
    let (first, _) = subscribe_live(&mut hub, "bob", 5);
    let (replaying, r) = subscribe_member(&mut hub, "bob");
    assert_eq!(dispatch_change(&mut hub, &change_record(6, "bob", REMOVED)), (2, true));
    assert_eq!((first.ended.get(), replaying.ended.get()), (1, 1));
    assert!(!hub.room(&room()).replay_record(r, &record(1, 4, "")), "an ended subscription gets no record");
    assert_eq!(hub.room_count(), 0);
}

#[test]
fn new_role_counts_from_next_record() {
    let mut hub = Hub::default();
    let (bob, _) = subscribe_live(&mut hub, "bob", 5);
    let private = |seq, role: &str| record(1, seq, &format!("r={role}"));
    dispatch(&mut hub, &membership_change(1, 6, "r=member", "bob\x1eguest"));
    dispatch(&mut hub, &private(7, "member"));
    dispatch(&mut hub, &private(8, "guest"));
    dispatch(&mut hub, &change_record(9, "bob", "admin"));
    dispatch(&mut hub, &private(10, "admin"));
    let sent = [6, 8, 9, 10].map(|seq| json(1, seq));
    assert_eq!(*bob.got.borrow(), sent, "bob may see record 6 but not 7");
}

#[test]
fn refill_applies_membership_changes_in_order() {
    let mut hub = Hub::default();
    let ((alice, _), (bob, _)) = (subscribe_live(&mut hub, "alice", 5), subscribe_live(&mut hub, "bob", 5));
    assert_eq!(dispatch_hint(&mut hub, 1, 10), DispatchOutcome::Refill);
    let records = vec![
        record(1, 6, ""),
        change_record(7, "alice", "guest"),
        record(1, 8, "r=member"),
        change_record(9, "bob", REMOVED),
        record(1, 10, ""),
    ];
    let users = [user("alice"), user("bob")];
    let tail = tail_of(1, records, "1:0", vec![mark("guest", 7), mark(REMOVED, 9)]);
    assert_eq!(refill_with(&mut hub, &tail, &users, None), RefillOutcome::FromTail);
    dispatch_hint(&mut hub, 1, 11);
    assert_eq!(*alice.got.borrow(), [6, 7, 9, 10, 11].map(|seq| json(1, seq)));
    assert_eq!(*bob.got.borrow(), [6, 7, 8, 9].map(|seq| json(1, seq)));
}

#[test]
fn user_removed_in_gap_does_not_get_the_gap() {
    let mut hub = Hub::default();
    let ((alice, _), (bob, _)) = (subscribe_live(&mut hub, "alice", 5), subscribe_live(&mut hub, "bob", 5));
    assert_eq!(dispatch_hint(&mut hub, 1, 300), DispatchOutcome::Refill);
    let users = [user("alice"), user("bob")];
    let tail = tail_of(1, vec![record(1, 300, "")], "1:0", vec![mark("guest", 80), mark(REMOVED, 90)]);
    assert_eq!(refill_with(&mut hub, &tail, &users, None), RefillOutcome::Gap);
    dispatch(&mut hub, &record(1, 301, "r=member"));
    dispatch_hint(&mut hub, 1, 302);
    assert_eq!(alice.got.borrow().len(), 2, "a guest gets the gap and record 302: {:?}", alice.got);
    assert!(bob.got.borrow().is_empty() && bob.ended.get() == 1);
}

#[test]
fn gap_waits_for_marks_of_all_live_subscriptions() {
    let mut hub = Hub::default();
    let (_, _) = subscribe_live(&mut hub, "alice", 5);
    dispatch_hint(&mut hub, 1, 300);
    let (bob, b) = subscribe_member(&mut hub, "bob");
    assert!(go_live(&mut hub, b, at(1, 6)), "bob is ahead of the other subscriptions");
    let tail = tail_of(1, vec![record(1, 300, "")], "1:0", vec![None]);
    assert_eq!(refill_with(&mut hub, &tail, &[user("alice")], None), RefillOutcome::Retry);
    let tail = TailRead { marks: vec![None, mark(REMOVED, 90)], ..tail };
    assert_eq!(refill_with(&mut hub, &tail, &[user("alice"), user("bob")], None), RefillOutcome::Gap);
    assert!(bob.got.borrow().is_empty() && bob.ended.get() == 1);
}

#[test]
fn gap_in_new_epoch_is_sent_after_stored_roles_are_known() {
    let mut hub = Hub::default();
    let peers = ["alice", "bob", "carol"].map(|name| subscribe_live(&mut hub, name, 5).0);
    let users = ["alice", "bob", "carol"].map(user);
    assert_eq!(dispatch_hint(&mut hub, 2, 7), DispatchOutcome::Refill);
    // Record 6 is missing. Carol's mark is newer than the stored role, and makes Carol a guest.
    let tail = tail_of(2, vec![record(2, 7, "")], "1:0,2:5", vec![None, None, mark("guest", 6)]);
    assert_eq!(refill_with(&mut hub, &tail, &users, None), RefillOutcome::RolesUnknown);
    assert!(peers.iter().all(|peer| peer.got.borrow().is_empty()));
    let of = |roles: [Option<&str>; 3]| {
        users.iter().cloned().zip(roles.map(|role| role.map(Into::into))).collect()
    };
    let past = StoredRoles { epoch: Epoch(1), by_user: of([Some("member"); 3]) };
    assert_eq!(
        refill_with(&mut hub, &tail, &users, Some(&past)),
        RefillOutcome::RolesUnknown,
        "the roles are of another epoch"
    );
    let stored = StoredRoles { epoch: Epoch(2), by_user: of([Some("admin"), None, None]) };
    assert_eq!(refill_with(&mut hub, &tail, &users, Some(&stored)), RefillOutcome::Gap);
    dispatch(&mut hub, &record(2, 8, "r=admin"));
    dispatch(&mut hub, &record(2, 9, "r=guest"));
    let [alice, bob, carol] = peers;
    let gap = r#"{"type":"room:gap","room":"r","after":5,"head":{"epoch":"2","seq":7}}"#.to_owned();
    assert_eq!(*alice.got.borrow(), [gap.clone(), json(2, 8)]);
    assert!(bob.got.borrow().is_empty() && bob.ended.get() == 1);
    assert_eq!(*carol.got.borrow(), [gap, json(2, 9)]);
}

#[test]
fn new_epoch_with_all_records_asks_for_no_stored_roles() {
    let mut hub = Hub::default();
    let [alice, bob] = ["alice", "bob"].map(|name| subscribe_live(&mut hub, name, 5).0);
    begin_refill(&mut hub);
    // Record 6 survived from epoch 1. The marks of both users are gone.
    let records = vec![change_record(6, "bob", REMOVED), record(2, 7, "")];
    let tail = tail_of(2, records, "1:0,2:6", vec![None, None]);
    let users = ["alice", "bob"].map(user);
    assert_eq!(refill_with(&mut hub, &tail, &users, None), RefillOutcome::FromTail);
    let caught_up = r#"{"type":"room:caught_up","room":"r","epoch":"2","seq":5}"#.to_owned();
    assert_eq!(*alice.got.borrow(), [caught_up.clone(), json(1, 6), json(2, 7)]);
    assert_eq!(*bob.got.borrow(), [caught_up, json(1, 6)]);
    assert_eq!(bob.ended.get(), 1);
}

#[test]
fn lost_events_in_new_epoch_make_refill_ask_for_roles() {
    let mut hub = Hub::default();
    let (bob, _) = subscribe_live(&mut hub, "bob", 5);
    begin_refill(&mut hub);
    // Event 5 was lost, and may have been the change that made Bob a member again.
    let tail = tail_of(2, vec![record(2, 5, "")], "1:0,2:4", vec![None]);
    assert_eq!(refill_with(&mut hub, &tail, &[user("bob")], None), RefillOutcome::RolesUnknown);
    assert!(bob.got.borrow().is_empty());
}

#[test]
fn expired_marks_behind_a_gap_make_refill_ask_for_stored_roles() {
    let mut hub = Hub::default();
    let (bob, _) = subscribe_live(&mut hub, "bob", 5);
    hub.expire_marks_of(PartitionSet::ALL);
    begin_refill(&mut hub);
    let tail = tail_of(1, vec![record(1, 7, "")], "1:0", vec![None]);
    assert_eq!(refill_with(&mut hub, &tail, &[user("bob")], None), RefillOutcome::RolesUnknown);
    let stored = StoredRoles { epoch: Epoch(1), by_user: [(user("bob"), None)].into_iter().collect() };
    refill_with(&mut hub, &tail, &[user("bob")], Some(&stored));
    assert!(bob.got.borrow().is_empty() && bob.ended.get() == 1);
}

#[test]
fn read_before_expiry_does_not_renew_trust_in_marks() {
    let mut hub = Hub::default();
    let ((_, joined), (_, replaying)) =
        (subscribe_joining(&mut hub, "ann"), subscribe_joining(&mut hub, "bob"));
    set_initial_role(&mut hub, replaying, at(1, 4));
    let before = hub.generation();
    hub.invalidate_reads();
    hub.expire_marks_of(PartitionSet::ALL);
    assert!(hub.set_initial_role(&room(), joined, "member", (at(1, 5), before)));
    let mark = mark("member", 5);
    let read = MarkRead { head: at(1, 5), mark: mark.as_ref(), generation: before };
    let (refresh, effects) = hub.refresh_role(&room(), replaying, read, None);
    carry_out(effects);
    assert_eq!(refresh, RoleRefresh::UpToDate);
    for subscription in [joined, replaying] {
        assert_eq!(refresh_role(&mut hub, subscription, (at(1, 6), None), None), RoleRefresh::RoleUnknown);
    }
}

#[test]
fn lost_partition_expires_marks_of_its_rooms_only() {
    let mut hub = Hub::default();
    let (_, live) = subscribe_live(&mut hub, "ann", 5);
    let (_, replaying) = subscribe_joining(&mut hub, "bob");
    set_initial_role(&mut hub, replaying, at(1, 5));
    let own = PartitionSet::from(Partition::of(&room()));
    let others = PartitionSet::ALL - own;
    assert!(hub.live_rooms_of(own).eq([&room()]) && hub.live_rooms_of(others).next().is_none());
    hub.expire_marks_of(others);
    assert_eq!(refresh_role(&mut hub, replaying, (at(1, 6), None), None), RoleRefresh::UpToDate);
    hub.expire_marks_of(own);
    assert_eq!(refresh_role(&mut hub, replaying, (at(1, 7), None), None), RoleRefresh::RoleUnknown);
    assert_eq!(carry_out(hub.unsubscribe(&room(), live)), (0, false));
    assert_eq!(hub.live_rooms_of(PartitionSet::ALL).count(), 0);
}

#[test]
fn join_ignores_hints_until_read_and_goes_live_after_them() {
    let mut hub = Hub::default();
    let (bob, b) = subscribe_joining(&mut hub, "bob");
    dispatch(&mut hub, &change_record(6, "bob", REMOVED));
    assert!(hub.room(&room()).has_subscription(b), "bob may have been added again; only the read shows it");
    // The join read the room before the removal.
    set_initial_role(&mut hub, b, at(1, 5));
    let generation = hub.generation();
    assert!(!hub.go_live(&room(), b, at(1, 5), generation), "record 6 exists");
    assert_eq!(refresh_role(&mut hub, b, (at(1, 6), mark(REMOVED, 6)), None), RoleRefresh::Ended);
    assert_eq!((bob.ended.get(), hub.room_count()), (1, 0));
}

#[test]
fn late_removal_hint_does_not_end_readded_member() {
    let mut hub = Hub::default();
    let (_, _) = subscribe_live(&mut hub, "alice", 5);
    let (bob, b) = subscribe_joining(&mut hub, "bob");
    set_initial_role(&mut hub, b, at(1, 7));
    let generation = hub.generation();
    assert!(hub.go_live(&room(), b, at(1, 7), generation));
    dispatch(&mut hub, &change_record(6, "bob", REMOVED));
    dispatch(&mut hub, &change_record(7, "bob", "member"));
    dispatch_hint(&mut hub, 1, 8);
    assert_eq!(*bob.got.borrow(), [json(1, 8)]);
}

#[test]
fn replay_uses_current_role_and_goes_live_at_its_position() {
    let mut hub = Hub::default();
    let (_, _) = subscribe_live(&mut hub, "alice", 5);
    let (bob, b) = subscribe_joining(&mut hub, "bob");
    set_initial_role(&mut hub, b, at(1, 5));
    // Record 6 is missing, so record 7 is not sent to live subscriptions.
    assert_eq!(dispatch(&mut hub, &change_record(7, "bob", "guest")), DispatchOutcome::Refill);
    assert!(hub.room(&room()).replay_record(b, &record(1, 4, "r=member")));
    assert!(hub.room(&room()).replay_record(b, &record(1, 5, "r=guest")));
    assert_eq!(*bob.got.borrow(), [json(1, 5)]);
    let generation = hub.generation();
    assert!(
        !hub.go_live(&room(), b, at(1, 5), generation),
        "bob is a guest from 7 on, and record 6 would be filtered by that role"
    );
    assert_eq!(refresh_role(&mut hub, b, (at(1, 7), mark("guest", 7)), None), RoleRefresh::UpToDate);
    assert!(hub.go_live(&room(), b, at(1, 7), generation));
}

#[test]
fn replay_into_new_epoch_asks_for_role() {
    let mut hub = Hub::default();
    let (bob, b) = subscribe_joining(&mut hub, "bob");
    set_initial_role(&mut hub, b, at(1, 5));
    assert_eq!(refresh_role(&mut hub, b, (at(2, 6), None), None), RoleRefresh::RoleUnknown);
    let stored =
        StoredRoles { epoch: Epoch(2), by_user: [(user("bob"), Some("guest".into()))].into_iter().collect() };
    assert_eq!(refresh_role(&mut hub, b, (at(2, 6), None), Some(&stored)), RoleRefresh::UpToDate);
    hub.room(&room()).replay_record(b, &record(2, 6, "r=member"));
    assert!(bob.got.borrow().is_empty());
}

#[test]
fn role_is_unknown_while_room_is_behind() {
    let mut hub = Hub::default();
    let (_, b) = subscribe_live(&mut hub, "bob", 5);
    let role =
        |hub: &Hub<Listener>, epoch| hub.room(&room()).role(b, Epoch(epoch)).map(|role| role.to_string());
    assert_eq!(role(&hub, 1).as_deref(), Some("member"));
    assert_eq!(role(&hub, 2), None, "the roles are of another epoch");
    dispatch_hint(&mut hub, 1, 9);
    assert_eq!(role(&hub, 1), None, "the role may have changed");
    refill(&mut hub, &tail_read(1, 6..=9, "1:0"));
    assert_eq!(role(&hub, 1).as_deref(), Some("member"));
}

#[test]
fn ended_subscription_of_missing_room_tells_its_peer() {
    let mut hub = Hub::default();
    let (bob, b) = subscribe_live(&mut hub, "bob", 5);
    let (carol, c) = subscribe_live(&mut hub, "carol", 5);
    assert_eq!(carry_out(hub.end_subscription(&room(), b)), (1, false));
    assert_eq!(carry_out(hub.end_subscription(&room(), b)), (0, false), "each end is reported once");
    assert_eq!(carry_out(hub.end_subscription(&room(), c)), (1, true));
    assert_eq!((bob.ended.get(), carol.ended.get()), (1, 1));
}
