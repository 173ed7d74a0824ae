//! Tests of the hub: each peer's frames are compared with the list of frames that the peer must get.
//!
//! Long because the tests of all children use the same peers and reads.

mod lagging;
mod live;
mod membership;
mod model;
mod slices;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use bytes::Bytes;
use tidings_shared::{
    ids::{Epoch, RoomId, Seq, UserId},
    log::{Bases, MembershipMark, Record, RoomHead, TailRead},
};

use super::*;

struct Listener {
    user: UserId,
    got: RefCell<Vec<String>>,
    /// The number of its subscriptions that the hub has ended.
    ended: Cell<usize>,
    /// The position from which the peer must be replayed, if the hub has made its subscription lagging.
    lagging: Cell<Option<Position>>,
    /// The number of shared frames that the peer takes.
    space: Cell<usize>,
}

impl Peer for Listener {
    fn user(&self) -> &UserId {
        &self.user
    }
    fn send(&self, frame: Frame) {
        let bytes = frame.into_bytes();
        let header = if bytes[1] < 126 { 2 } else { 4 };
        self.got.borrow_mut().push(String::from_utf8_lossy(&bytes[header..]).into_owned());
    }
    fn try_send(&self, frame: &Frame) -> bool {
        let Some(left) = self.space.get().checked_sub(1) else { return false };
        self.space.set(left);
        self.send(frame.clone());
        true
    }
    fn try_send_run(&self, run: &FrameRun) -> usize {
        run.frames().iter().take_while(|frame| self.try_send(frame)).count()
    }
}

/// Tells the peers the effects of a call. Returns the number of ended subscriptions, and whether the room is empty.
fn carry_out(effects: HubEffects<Listener>) -> (usize, bool) {
    assert_eq!(effects.room, effects.requires_work().then(room));
    effects.ended.iter().for_each(|ended| ended.peer.ended.set(ended.peer.ended.get() + 1));
    effects.lagging.iter().for_each(|lagging| lagging.peer.lagging.set(Some(lagging.reached)));
    (effects.ended.len(), effects.is_room_empty)
}

fn room() -> RoomId {
    RoomId::parse("r").unwrap()
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn record(epoch: u64, seq: u64, visibility: &str) -> Record {
    membership_change(epoch, seq, visibility, "")
}

/// A record that changes a membership. `membership` has the user and the role, separated by `\x1e`.
fn membership_change(epoch: u64, seq: u64, visibility: &str, membership: &str) -> Record {
    let line = format!(
        "1\x1f{epoch}\x1f{seq}\x1f0\x1fr\x1fmessage:new\x1fsender\x1f\x1f\x1f{visibility}\x1f{membership}\x1f\n{{\"e\":{epoch},\"s\":{seq}}}"
    );
    Record::parse(Bytes::from(line)).unwrap()
}

fn json(epoch: u64, seq: u64) -> String {
    format!("{{\"e\":{epoch},\"s\":{seq}}}")
}

fn tail_read(epoch: u64, seqs: std::ops::RangeInclusive<u64>, bases: &str) -> TailRead {
    let seq = Seq(*seqs.end());
    let head = RoomHead { epoch: Epoch(epoch), seq, bases: Bases::decode(bases), ..RoomHead::default() };
    TailRead { head, records: seqs.map(|seq| record(epoch, seq, "")).collect(), marks: Vec::new() }
}

fn at(epoch: u64, seq: u64) -> Position {
    Position { epoch: Epoch(epoch), seq: Seq(seq) }
}

/// Adds a subscription whose join has not read the room.
fn subscribe_joining(hub: &mut Hub<Listener>, name: &str) -> (Rc<Listener>, Subscription) {
    let peer = Rc::new(Listener {
        user: user(name),
        got: RefCell::default(),
        ended: Cell::new(0),
        lagging: Cell::new(None),
        space: Cell::new(usize::MAX),
    });
    let (_, subscription) = hub.subscribe(&room(), peer.clone());
    (peer, subscription)
}

/// Adds a subscription whose join has read that its user is a member.
fn subscribe_member(hub: &mut Hub<Listener>, name: &str) -> (Rc<Listener>, Subscription) {
    let (peer, subscription) = subscribe_joining(hub, name);
    set_initial_role(hub, subscription, Position::default());
    (peer, subscription)
}

/// Sets the role of a subscription to member, as its join does after reading the room.
fn set_initial_role(hub: &mut Hub<Listener>, subscription: Subscription, head: Position) {
    let generation = hub.generation();
    assert!(hub.set_initial_role(&room(), subscription, "member", (head, generation)));
}

/// Updates the role of a subscription, as its replay does after reading the room up to this head.
fn refresh_role(
    hub: &mut Hub<Listener>,
    subscription: Subscription,
    (head, mark): (Position, Option<MembershipMark>),
    roles: Option<&StoredRoles>,
) -> RoleRefresh {
    let generation = hub.generation();
    let read = MarkRead { head, mark: mark.as_ref(), generation };
    let (refresh, effects) = hub.refresh_role(&room(), subscription, read, roles);
    carry_out(effects);
    refresh
}

fn begin_refill(hub: &mut Hub<Listener>) -> bool {
    let effects = hub.begin_refill(&room());
    let begins = effects.must_refill;
    carry_out(effects);
    begins
}

/// Makes a subscription go live at `reached`, after a read without a membership mark.
fn go_live(hub: &mut Hub<Listener>, subscription: Subscription, reached: Position) -> bool {
    let generation = hub.generation();
    let stored = StoredRoles {
        epoch: reached.epoch,
        by_user: hub
            .room(&room())
            .users_with_known_role()
            .into_iter()
            .map(|user| (user, Some("member".into())))
            .collect(),
    };
    refresh_role(hub, subscription, (reached, None), Some(&stored));
    hub.go_live(&room(), subscription, reached, generation)
}

/// Refills the room from a tail read without membership marks, with stored roles that make every user a `member`.
fn refill(hub: &mut Hub<Listener>, tail: &TailRead) -> RefillOutcome {
    let (generation, users) = (hub.generation(), hub.room(&room()).users_with_known_role());
    let tail = TailRead { marks: vec![None; users.len()], ..tail.clone() };
    let of = users.iter().map(|user| (user.clone(), Some("member".into()))).collect();
    let stored = StoredRoles { epoch: tail.head.epoch, by_user: of };
    refill_from(hub, RoomRead { tail: &tail, users: &users, roles: Some(&stored) }, generation)
}

fn refill_from(hub: &mut Hub<Listener>, read: RoomRead<'_>, generation: Generation) -> RefillOutcome {
    let (outcome, effects) = hub.refill(&room(), read, generation);
    carry_out(effects);
    outcome
}

/// Dispatches a record that every member may see.
fn dispatch_hint(hub: &mut Hub<Listener>, epoch: u64, seq: u64) -> DispatchOutcome {
    dispatch(hub, &record(epoch, seq, ""))
}

fn dispatch(hub: &mut Hub<Listener>, record: &Record) -> DispatchOutcome {
    let (outcome, effects) = hub.dispatch(record, &Frame::text(record.json()));
    assert_eq!(effects.must_refill, outcome == DispatchOutcome::Refill);
    carry_out(effects);
    outcome
}

fn dispatch_slice(hub: &mut Hub<Listener>, record: &Record, from_slot: usize) -> Option<usize> {
    let (next_slot, effects) = hub.dispatch_slice(record, &Frame::text(record.json()), from_slot);
    carry_out(effects);
    next_slot
}

/// Dispatches consecutive public records as a run. Returns false if each record must be dispatched by itself.
fn dispatch_run(hub: &mut Hub<Listener>, records: &[Record]) -> bool {
    let run = FrameRun::text(records.iter().map(Record::json));
    let (sent, effects) = hub.dispatch_run(&records[0], &run);
    carry_out(effects);
    sent
}

/// Consecutive records that every member may see.
fn public_records(epoch: u64, seqs: std::ops::RangeInclusive<u64>) -> Vec<Record> {
    seqs.map(|seq| record(epoch, seq, "")).collect()
}

#[test]
fn run_is_sent_to_each_subscription_from_its_position() {
    let mut hub = Hub::default();
    let (alice, a) = subscribe_member(&mut hub, "alice");
    let (bob, b) = subscribe_member(&mut hub, "bob");
    let (carol, c) = subscribe_member(&mut hub, "carol");
    let (dan, _) = subscribe_member(&mut hub, "dan");
    assert!(
        go_live(&mut hub, a, at(1, 5)) && go_live(&mut hub, b, at(1, 7)) && go_live(&mut hub, c, at(1, 9))
    );
    assert!(dispatch_run(&mut hub, &public_records(1, 6..=8)));
    assert_eq!(*alice.got.borrow(), [json(1, 6), json(1, 7), json(1, 8)]);
    assert_eq!(*bob.got.borrow(), [json(1, 8)], "bob read records 6 and 7 before their hints arrived");
    assert!(carol.got.borrow().is_empty() && dan.got.borrow().is_empty());
    assert_eq!(hub.room(&room()).live_position(), Some(at(1, 8)));
    assert_eq!(hub.room(&room()).newest_position(), at(1, 8));
    assert_eq!(dispatch_hint(&mut hub, 1, 9), DispatchOutcome::Delivered);
    assert!(dispatch_run(&mut hub, &public_records(1, 10..=11)));
    assert_eq!(*carol.got.borrow(), [json(1, 10), json(1, 11)]);
}

#[test]
fn run_not_next_to_room_position_is_not_dispatched() {
    let mut hub = Hub::default();
    assert!(!dispatch_run(&mut hub, &public_records(1, 6..=7)), "nobody is in the room");
    let (alice, a) = subscribe_member(&mut hub, "alice");
    assert!(!dispatch_run(&mut hub, &public_records(1, 6..=7)), "nobody is live");
    assert!(go_live(&mut hub, a, at(1, 5)));
    for (epoch, seqs) in [(1, 7..=8), (1, 5..=6), (2, 6..=7)] {
        assert!(!dispatch_run(&mut hub, &public_records(epoch, seqs.clone())), "{epoch} {seqs:?}");
    }
    assert!(begin_refill(&mut hub));
    assert!(!dispatch_run(&mut hub, &public_records(1, 6..=7)), "the refill sends them");
    assert!(alice.got.borrow().is_empty());
    assert_eq!(refill(&mut hub, &tail_read(1, 1..=7, "1:0")), RefillOutcome::FromTail);
    assert_eq!(*alice.got.borrow(), [json(1, 6), json(1, 7)]);
}

#[test]
fn replaying_subscription_goes_live_only_at_room_position() {
    let mut hub = Hub::default();
    let (alice, a) = subscribe_member(&mut hub, "alice");
    assert_eq!(dispatch_hint(&mut hub, 1, 5), DispatchOutcome::NobodyLive);
    assert!(go_live(&mut hub, a, at(1, 5)));
    let (bob, b) = subscribe_member(&mut hub, "bob");
    assert_eq!(dispatch_hint(&mut hub, 1, 6), DispatchOutcome::Delivered);
    assert!(!go_live(&mut hub, b, at(1, 5)), "record 6 was not sent to bob");
    assert!(hub.room(&room()).replay_record(b, &record(1, 6, "")));
    assert!(go_live(&mut hub, b, at(1, 6)));
    assert_eq!(dispatch_hint(&mut hub, 1, 7), DispatchOutcome::Delivered);
    assert_eq!(*alice.got.borrow(), [json(1, 6), json(1, 7)]);
    assert_eq!(*bob.got.borrow(), [json(1, 6), json(1, 7)]);
}

#[test]
fn subscription_ahead_of_room_gets_no_record_twice() {
    let mut hub = Hub::default();
    let (alice, a) = subscribe_member(&mut hub, "alice");
    assert!(go_live(&mut hub, a, at(1, 5)));
    let (bob, b) = subscribe_member(&mut hub, "bob");
    assert!(go_live(&mut hub, b, at(1, 7)), "bob read records 6 and 7 before their hints arrived");
    for seq in 6..=8 {
        dispatch_hint(&mut hub, 1, seq);
    }
    assert_eq!(*alice.got.borrow(), [json(1, 6), json(1, 7), json(1, 8)]);
    assert_eq!(*bob.got.borrow(), [json(1, 8)]);
}

#[test]
fn hint_before_first_live_subscription_is_not_skipped() {
    let mut hub = Hub::default();
    let (_, a) = subscribe_member(&mut hub, "alice");
    dispatch_hint(&mut hub, 1, 9);
    assert!(!go_live(&mut hub, a, at(1, 8)), "record 9 exists and was not sent");
    assert!(go_live(&mut hub, a, at(1, 9)));
}

#[test]
fn hole_is_refilled_before_later_records_are_sent() {
    let mut hub = Hub::default();
    let (alice, a) = subscribe_member(&mut hub, "alice");
    go_live(&mut hub, a, at(1, 5));
    assert_eq!(dispatch_hint(&mut hub, 1, 8), DispatchOutcome::Refill);
    assert_eq!(dispatch_hint(&mut hub, 1, 9), DispatchOutcome::RefillUnderWay);
    assert_eq!(
        refill(&mut hub, &tail_read(1, 4..=8, "1:0")),
        RefillOutcome::Retry,
        "record 9 is known to exist"
    );
    assert!(alice.got.borrow().is_empty());
    assert_eq!(refill(&mut hub, &tail_read(1, 4..=9, "1:0")), RefillOutcome::FromTail);
    assert_eq!(dispatch_hint(&mut hub, 1, 9), DispatchOutcome::Stale);
    assert_eq!(*alice.got.borrow(), [json(1, 6), json(1, 7), json(1, 8), json(1, 9)]);
}

#[test]
fn hole_longer_than_tail_is_sent_as_gap() {
    let mut hub = Hub::default();
    let (alice, a) = subscribe_member(&mut hub, "alice");
    go_live(&mut hub, a, at(1, 5));
    assert_eq!(dispatch_hint(&mut hub, 1, 300), DispatchOutcome::Refill);
    assert_eq!(refill(&mut hub, &tail_read(1, 200..=300, "1:0")), RefillOutcome::Gap);
    dispatch_hint(&mut hub, 1, 301);
    assert_eq!(
        *alice.got.borrow(),
        [
            r#"{"type":"room:gap","room":"r","after":5,"head":{"epoch":"1","seq":300}}"#.to_owned(),
            json(1, 301)
        ]
    );
}

#[test]
fn new_epoch_continues_up_to_base_and_is_gap_above_it() {
    for (base, expected) in [(5, None), (3, Some(3))] {
        let mut hub = Hub::default();
        let (alice, a) = subscribe_member(&mut hub, "alice");
        go_live(&mut hub, a, at(1, 5));
        assert_eq!(dispatch_hint(&mut hub, 1, 4), DispatchOutcome::Stale);
        assert_eq!(dispatch_hint(&mut hub, 2, base + 1), DispatchOutcome::Refill);
        refill(&mut hub, &tail_read(2, base + 1..=base + 1, &format!("1:0,2:{base}")));
        assert_eq!(
            dispatch_hint(&mut hub, 1, 6),
            DispatchOutcome::Stale,
            "a hint of an older epoch is dropped"
        );
        let got = alice.got.borrow();
        match expected {
            None => {
                let caught_up = r#"{"type":"room:caught_up","room":"r","epoch":"2","seq":5}"#.to_owned();
                assert_eq!(*got, [caught_up, json(2, 6)], "the epoch is sent before its first record");
            }
            Some(after) => assert_eq!(
                *got,
                [format!(
                    r#"{{"type":"room:gap","room":"r","after":{after},"head":{{"epoch":"2","seq":4}}}}"#
                )]
            ),
        }
    }
}

#[test]
fn private_record_reaches_only_its_recipients() {
    let mut hub = Hub::default();
    let (alice, a) = subscribe_member(&mut hub, "alice");
    let (eve, e) = subscribe_member(&mut hub, "eve");
    go_live(&mut hub, a, at(1, 0));
    go_live(&mut hub, e, at(1, 0));
    let private = record(1, 1, "u=alice");
    dispatch(&mut hub, &private);
    dispatch_hint(&mut hub, 1, 2);
    assert_eq!(*alice.got.borrow(), [json(1, 1), json(1, 2)]);
    assert_eq!(*eve.got.borrow(), [json(1, 2)]);
    let (replayed, r) = subscribe_member(&mut hub, "mallory");
    hub.room(&room()).replay_record(r, &private);
    assert!(replayed.got.borrow().is_empty());
}

#[test]
fn ended_subscription_stays_ended_when_room_returns() {
    let mut hub = Hub::default();
    let (_, old) = subscribe_member(&mut hub, "alice");
    assert_eq!(carry_out(hub.unsubscribe(&room(), old)), (0, true));
    let (bob, new) = subscribe_member(&mut hub, "bob");
    assert_ne!(old, new);
    assert!(!go_live(&mut hub, old, at(1, 50)));
    assert!(!hub.room(&room()).replay_record(old, &record(1, 6, "")));
    assert!(go_live(&mut hub, new, at(1, 5)));
    assert!(bob.got.borrow().is_empty());
}

#[test]
fn read_before_missed_hints_makes_no_subscription_live() {
    let mut hub = Hub::default();
    let (_, a) = subscribe_member(&mut hub, "alice");
    let before = hub.generation();
    hub.invalidate_reads();
    assert!(!hub.go_live(&room(), a, at(1, 10), before), "record 11 may have been published meanwhile");
    assert!(go_live(&mut hub, a, at(1, 11)));
    begin_refill(&mut hub);
    let read = RoomRead { tail: &tail_read(1, 1..=11, "1:0"), users: &[], roles: None };
    assert_eq!(refill_from(&mut hub, read, before), RefillOutcome::Retry);
}

#[test]
fn last_unsubscribe_removes_room() {
    let mut hub = Hub::default();
    let (_, a) = subscribe_member(&mut hub, "alice");
    let (_, b) = subscribe_member(&mut hub, "bob");
    assert_eq!(carry_out(hub.unsubscribe(&room(), a)), (0, false));
    assert!(!hub.room(&room()).has_subscription(a));
    assert_eq!(carry_out(hub.unsubscribe(&room(), a)), (0, false), "a second call changes nothing");
    assert_eq!(carry_out(hub.unsubscribe(&room(), b)), (0, true));
    assert_eq!(hub.room_count(), 0);
}
