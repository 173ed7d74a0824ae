//! Members come, go and change their roles while others talk.

use super::*;

const REMOVED: &str = "removed";

fn change(seq: u64, user: &str, role: &str) -> Record {
    changing(1, seq, "", &format!("{user}\x1e{role}"))
}

fn mark(role: &str, seq: u64) -> Option<Mark> {
    Some(Mark { role: (role != REMOVED).then(|| role.to_owned()), seq: Seq(seq) })
}

/// What Redis holds: the last records, and marks of these users.
fn tail_of(epoch: u64, records: Vec<Record>, bases: &str, marks: Vec<Option<Mark>>) -> TailRead {
    let head = *records.iter().map(|record| record.seq.0).max().get_or_insert(0);
    TailRead { records, marks, ..read(epoch, head..=head, bases) }
}

fn refill_with(
    hub: &mut Hub<Listener>,
    tail: &TailRead,
    users: &[UserId],
    roles: Option<&Roles>,
) -> Refilled {
    let generation = hub.generation();
    hub.refill(&room(), RoomRead { tail, users, roles }, generation)
}

fn live(hub: &mut Hub<Listener>, name: &str, seq: u64) -> (Rc<Listener>, Subscription) {
    let (peer, subscription) = listener(hub, name);
    assert!(go_live(hub, subscription, at(1, seq)));
    (peer, subscription)
}

#[test]
fn a_removal_is_sent_to_all_before_it_and_the_removed_one_hears_nothing_more() {
    let mut hub = Hub::default();
    let ((alice, _), (bob, b)) = (live(&mut hub, "alice", 5), live(&mut hub, "bob", 5));
    assert_eq!(dispatch(&mut hub, &change(6, "bob", REMOVED)), Dispatch::Delivered);
    hint(&mut hub, 1, 7);
    assert_eq!(*alice.got.borrow(), [json(1, 6), json(1, 7)]);
    assert_eq!(*bob.got.borrow(), [json(1, 6)]);
    assert_eq!(bob.ended.get(), 1);
    assert!(!hub.has(&room(), b));
    let ended = hub.take_ended();
    assert_eq!((ended.subscriptions, ended.rooms.len()), (1, 0));
    assert_eq!(hub.take_ended().subscriptions, 0, "told once");
}

#[test]
fn all_subscriptions_of_a_removed_user_end_and_the_last_takes_the_channel_with_it() {
    let mut hub = Hub::default();
    let (first, _) = live(&mut hub, "bob", 5);
    let (replaying, r) = listener(&mut hub, "bob");
    dispatch(&mut hub, &change(6, "bob", REMOVED));
    assert_eq!((first.ended.get(), replaying.ended.get()), (1, 1));
    assert!(!hub.replay(&room(), r, &record(1, 4, "")), "what it was not sent it may not be sent");
    let ended = hub.take_ended();
    assert_eq!((ended.subscriptions, ended.rooms), (2, vec![room()]));
    assert_eq!(hub.room_count(), 0);
}

#[test]
fn a_new_role_counts_from_the_next_record_on() {
    let mut hub = Hub::default();
    let (bob, _) = live(&mut hub, "bob", 5);
    let private = |seq, role: &str| record(1, seq, &format!("r={role}"));
    dispatch(&mut hub, &changing(1, 6, "r=member", "bob\x1eguest"));
    dispatch(&mut hub, &private(7, "member"));
    dispatch(&mut hub, &private(8, "guest"));
    dispatch(&mut hub, &change(9, "bob", "admin"));
    dispatch(&mut hub, &private(10, "admin"));
    let sent = [6, 8, 9, 10].map(|seq| json(1, seq));
    assert_eq!(*bob.got.borrow(), sent, "6 was still theirs, 7 not any more");
}

#[test]
fn a_refill_applies_changes_at_their_places() {
    let mut hub = Hub::default();
    let ((alice, _), (bob, _)) = (live(&mut hub, "alice", 5), live(&mut hub, "bob", 5));
    assert_eq!(hint(&mut hub, 1, 10), Dispatch::Refill);
    let records = vec![
        record(1, 6, ""),
        change(7, "alice", "guest"),
        record(1, 8, "r=member"),
        change(9, "bob", REMOVED),
        record(1, 10, ""),
    ];
    let users = [user("alice"), user("bob")];
    let tail = tail_of(1, records, "1:0", vec![mark("guest", 7), mark(REMOVED, 9)]);
    assert_eq!(refill_with(&mut hub, &tail, &users, None), Refilled::FromTail);
    hint(&mut hub, 1, 11);
    assert_eq!(*alice.got.borrow(), [6, 7, 9, 10, 11].map(|seq| json(1, seq)));
    assert_eq!(*bob.got.borrow(), [6, 7, 8, 9].map(|seq| json(1, seq)));
}

#[test]
fn who_was_removed_in_a_gap_is_not_even_told_the_gap() {
    let mut hub = Hub::default();
    let ((alice, _), (bob, _)) = (live(&mut hub, "alice", 5), live(&mut hub, "bob", 5));
    assert_eq!(hint(&mut hub, 1, 300), Dispatch::Refill);
    let users = [user("alice"), user("bob")];
    let tail = tail_of(1, vec![record(1, 300, "")], "1:0", vec![mark("guest", 80), mark(REMOVED, 90)]);
    assert_eq!(refill_with(&mut hub, &tail, &users, None), Refilled::Gap);
    dispatch(&mut hub, &record(1, 301, "r=member"));
    hint(&mut hub, 1, 302);
    assert_eq!(alice.got.borrow().len(), 2, "the gap and 302, of which a guest is told: {:?}", alice.got);
    assert!(bob.got.borrow().is_empty() && bob.ended.get() == 1);
}

#[test]
fn a_gap_waits_until_the_marks_of_all_who_are_live_were_read() {
    let mut hub = Hub::default();
    let (_, _) = live(&mut hub, "alice", 5);
    hint(&mut hub, 1, 300);
    let (bob, b) = listener(&mut hub, "bob");
    assert!(go_live(&mut hub, b, at(1, 6)), "ahead of the others");
    let tail = tail_of(1, vec![record(1, 300, "")], "1:0", vec![None]);
    assert_eq!(refill_with(&mut hub, &tail, &[user("alice")], None), Refilled::Again);
    let tail = TailRead { marks: vec![None, mark(REMOVED, 90)], ..tail };
    assert_eq!(refill_with(&mut hub, &tail, &[user("alice"), user("bob")], None), Refilled::Gap);
    assert!(bob.got.borrow().is_empty() && bob.ended.get() == 1);
}

#[test]
fn in_a_new_epoch_nothing_is_sent_before_the_stored_roles_are_known() {
    let mut hub = Hub::default();
    let peers = ["alice", "bob", "carol"].map(|name| live(&mut hub, name, 5).0);
    let users = ["alice", "bob", "carol"].map(user);
    assert_eq!(hint(&mut hub, 2, 6), Dispatch::Refill);
    // Carol is a member again by a mark that is ahead of what is stored.
    let tail = tail_of(2, vec![record(2, 6, "")], "1:0,2:5", vec![None, None, mark("guest", 6)]);
    assert_eq!(refill_with(&mut hub, &tail, &users, None), Refilled::RolesUnknown);
    assert!(peers.iter().all(|peer| peer.got.borrow().is_empty()));
    let of = |roles: [Option<&str>; 3]| {
        users.iter().cloned().zip(roles.map(|role| role.map(Into::into))).collect()
    };
    let past = Roles { epoch: Epoch(1), of: of([Some("member"); 3]) };
    assert_eq!(refill_with(&mut hub, &tail, &users, Some(&past)), Refilled::RolesUnknown, "of another epoch");
    let stored = Roles { epoch: Epoch(2), of: of([Some("admin"), None, None]) };
    assert_eq!(refill_with(&mut hub, &tail, &users, Some(&stored)), Refilled::FromTail);
    dispatch(&mut hub, &record(2, 7, "r=admin"));
    dispatch(&mut hub, &record(2, 8, "r=guest"));
    let [alice, bob, carol] = peers;
    let caught_up = r#"{"type":"room:caught_up","room":"r","epoch":"2","seq":5}"#.to_owned();
    assert_eq!(*alice.got.borrow(), [caught_up.clone(), json(2, 6), json(2, 7)]);
    assert!(bob.got.borrow().is_empty() && bob.ended.get() == 1);
    assert_eq!(*carol.got.borrow(), [caught_up, json(2, 6), json(2, 8)]);
}

#[test]
fn what_could_be_forgotten_meanwhile_is_asked_of_persistence() {
    let mut hub = Hub::default();
    let (bob, _) = live(&mut hub, "bob", 5);
    hub.doubt_all();
    hub.suspect(&room());
    let tail = tail_of(1, vec![record(1, 6, "")], "1:0", vec![None]);
    assert_eq!(refill_with(&mut hub, &tail, &[user("bob")], None), Refilled::RolesUnknown);
    let stored = Roles { epoch: Epoch(1), of: [(user("bob"), None)].into_iter().collect() };
    refill_with(&mut hub, &tail, &[user("bob")], Some(&stored));
    assert!(bob.got.borrow().is_empty() && bob.ended.get() == 1);
}

#[test]
fn what_was_read_before_the_doubt_does_not_take_it_away() {
    let mut hub = Hub::default();
    let ((_, joined), (_, replaying)) = (joining(&mut hub, "ann"), joining(&mut hub, "bob"));
    settle(&mut hub, replaying, at(1, 4));
    let before = hub.generation();
    hub.missed();
    hub.doubt_all();
    assert!(hub.settle(&room(), joined, "member", (at(1, 5), before)));
    let mark = mark("member", 5);
    let read = MarkRead { head: at(1, 5), mark: mark.as_ref(), generation: before };
    assert_eq!(hub.renew(&room(), replaying, read, None), Renewed::Stands);
    for subscription in [joined, replaying] {
        assert_eq!(renew(&mut hub, subscription, (at(1, 6), None), None), Renewed::RoleUnknown);
    }
}

#[test]
fn hints_do_not_touch_a_join_that_has_read_nothing_and_it_goes_live_only_behind_them() {
    let mut hub = Hub::default();
    let (bob, b) = joining(&mut hub, "bob");
    dispatch(&mut hub, &change(6, "bob", REMOVED));
    assert!(hub.has(&room(), b), "they may have been added again, which only the read tells");
    // It read the room before the removal.
    settle(&mut hub, b, at(1, 5));
    let generation = hub.generation();
    assert!(!hub.go_live(&room(), b, at(1, 5), generation), "6 exists");
    assert_eq!(renew(&mut hub, b, (at(1, 6), mark(REMOVED, 6)), None), Renewed::Ended);
    assert_eq!(bob.ended.get(), 1);
    assert_eq!(hub.take_ended().rooms, [room()]);
}

#[test]
fn a_late_hint_of_a_removal_does_not_end_who_joined_after_being_added_again() {
    let mut hub = Hub::default();
    let (_, _) = live(&mut hub, "alice", 5);
    let (bob, b) = joining(&mut hub, "bob");
    settle(&mut hub, b, at(1, 7));
    let generation = hub.generation();
    assert!(hub.go_live(&room(), b, at(1, 7), generation));
    dispatch(&mut hub, &change(6, "bob", REMOVED));
    dispatch(&mut hub, &change(7, "bob", "member"));
    hint(&mut hub, 1, 8);
    assert_eq!(*bob.got.borrow(), [json(1, 8)]);
}

#[test]
fn replay_goes_by_the_role_now_and_live_begins_where_that_is_known() {
    let mut hub = Hub::default();
    let (_, _) = live(&mut hub, "alice", 5);
    let (bob, b) = joining(&mut hub, "bob");
    settle(&mut hub, b, at(1, 5));
    // Not delivered to those who are live: 6 is missing.
    assert_eq!(dispatch(&mut hub, &change(7, "bob", "guest")), Dispatch::Refill);
    assert!(hub.replay(&room(), b, &record(1, 4, "r=member")));
    assert!(hub.replay(&room(), b, &record(1, 5, "r=guest")));
    assert_eq!(*bob.got.borrow(), [json(1, 5)]);
    let generation = hub.generation();
    assert!(
        !hub.go_live(&room(), b, at(1, 5), generation),
        "a guest from 7 on: 6 would be sent by that role"
    );
    assert_eq!(renew(&mut hub, b, (at(1, 7), mark("guest", 7)), None), Renewed::Stands);
    assert!(hub.go_live(&room(), b, at(1, 7), generation));
}

#[test]
fn a_replay_into_a_new_epoch_asks_for_the_role() {
    let mut hub = Hub::default();
    let (bob, b) = joining(&mut hub, "bob");
    settle(&mut hub, b, at(1, 5));
    assert_eq!(renew(&mut hub, b, (at(2, 6), None), None), Renewed::RoleUnknown);
    let stored = Roles { epoch: Epoch(2), of: [(user("bob"), Some("guest".into()))].into_iter().collect() };
    assert_eq!(renew(&mut hub, b, (at(2, 6), None), Some(&stored)), Renewed::Stands);
    hub.replay(&room(), b, &record(2, 6, "r=member"));
    assert!(bob.got.borrow().is_empty());
}

#[test]
fn a_role_is_told_only_while_the_room_is_not_behind() {
    let mut hub = Hub::default();
    let (_, b) = live(&mut hub, "bob", 5);
    let role = |hub: &Hub<Listener>, epoch| hub.role(&room(), b, Epoch(epoch)).map(|role| role.to_string());
    assert_eq!(role(&hub, 1).as_deref(), Some("member"));
    assert_eq!(role(&hub, 2), None, "of another epoch");
    hint(&mut hub, 1, 9);
    assert_eq!(role(&hub, 1), None, "it may be another by now");
    refill(&mut hub, &read(1, 6..=9, "1:0"));
    assert_eq!(role(&hub, 1).as_deref(), Some("member"));
}
