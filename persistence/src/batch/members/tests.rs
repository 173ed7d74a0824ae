//! Tests how a batch combines membership records, which changes it announces, and which marks it drops.

use std::collections::HashMap;

use bytes::Bytes;
use tidings_shared::log::{IngestId, record::Header};

use super::*;
use crate::batch::{BatchPlan, IngestEntry, StoredRoom, plan_records};

fn room() -> RoomId {
    RoomId::parse("r").unwrap()
}

fn entry(position: u64, seq: u64, kind: &str, membership: &str, json: &str) -> IngestEntry {
    let header = Header { room: "r", kind, sender: "alice", membership, ..Header::default() };
    let raw = format!("1\u{1f}1\u{1f}{seq}\u{1f}{}\u{1f}{}\n{json}", 1000 + position, header.encode());
    IngestEntry::parse(Partition::of(&room()), IngestId { ms: position, n: 0 }, Bytes::from(raw))
}

/// Entries from words: `+bob guest` adds, `=bob owner` changes the role, `-bob` removes, `rbob 4` is a read mark. The
/// events have the seqs from 1 on.
fn entries(words: &[&str]) -> Vec<IngestEntry> {
    let mut seq = 0;
    let sample = |(position, word): (u64, &&str)| {
        let (user, rest) = word[1..].split_once(' ').unwrap_or((&word[1..], "removed"));
        let membership = format!("{user}\u{1e}{rest}");
        let kind = match &word[..1] {
            "+" => MEMBER_ADDED,
            "=" => MEMBER_CHANGED,
            "-" => MEMBER_REMOVED,
            _ => return entry(position, 0, "marks", "", &format!(r#"[["read","{user}",{rest}]]"#)),
        };
        seq += 1;
        entry(position, seq, kind, &membership, "{}")
    };
    (1..).zip(words).map(sample).collect()
}

fn plan(entries: &[IngestEntry], head: u64) -> BatchPlan<'_> {
    let stored = HashMap::from([(room(), StoredRoom { head: Seq(head), ..StoredRoom::default() })]);
    plan_records(entries, &stored, None).unwrap()
}

fn membership_of_bob(plan: &BatchPlan<'_>) -> Option<FinalMembership> {
    plan.members.final_memberships.get(&(room(), UserId::parse("bob").unwrap())).cloned()
}

/// `added` is the seq of the event that adds the user. If all entries are events, it is at 1,000 ms and this seq. All
/// changes are by alice.
fn membership(was_removed: bool, role: Option<&str>, added: Option<u16>) -> Option<FinalMembership> {
    let added = added.map(|seq| (Seq(seq.into()), 1000 + i64::from(seq)));
    let left_as = was_removed.then(|| role::REMOVED.to_owned());
    let added_by_other = added.is_some();
    Some(FinalMembership { was_removed, left_as, role: role.map(str::to_owned), added, added_by_other })
}

#[test]
fn several_changes_of_one_user_combine_in_order() {
    let cases: [(&[&str], Option<FinalMembership>); 9] = [
        (&["+bob guest"], membership(false, Some("guest"), Some(1))),
        (&["=bob admin"], membership(false, Some("admin"), None)),
        (&["-bob"], membership(true, None, None)),
        (&["+bob guest", "=bob vip"], membership(false, Some("vip"), Some(1))),
        (&["+bob guest", "-bob"], membership(true, None, None)),
        (&["-bob", "+bob member"], membership(true, Some("member"), Some(2))),
        (&["=bob vip", "-bob", "+bob member", "=bob admin"], membership(true, Some("admin"), Some(3))),
        (&["-bob", "=bob admin"], membership(true, None, None)),
        (&["+carol member"], None),
    ];
    for (words, expected) in cases {
        let entries = entries(words);
        let plan = plan(&entries, 0);
        assert_eq!(membership_of_bob(&plan), expected, "{words:?}");
        assert_eq!((plan.members.all.len(), plan.events.len()), (words.len(), words.len()), "{words:?}");
    }
}

#[test]
fn leaving_user_keeps_last_role_and_removed_user_does_not() {
    let by = |sender: &str, seq: u64, kind: &str, role: &str| {
        let membership = format!("bob\u{1e}{role}");
        let header = Header { room: "r", kind, sender, membership: &membership, ..Header::default() };
        let raw = format!("1\u{1f}1\u{1f}{seq}\u{1f}{}\u{1f}{}\n{{}}", 1000 + seq, header.encode());
        IngestEntry::parse(Partition::of(&room()), IngestId { ms: seq, n: 0 }, Bytes::from(raw))
    };
    let left_as = |entries: &[IngestEntry]| {
        let plan = plan(entries, 0);
        membership_of_bob(&plan).and_then(|membership| membership.left_as)
    };
    let leaves = |seq| by("bob", seq, MEMBER_REMOVED, role::REMOVED);
    let lowered = || by("alice", 1, MEMBER_CHANGED, "guest");
    assert_eq!(left_as(&[leaves(1)]), None, "the stored role counts");
    assert_eq!(left_as(&[lowered(), leaves(2)]).as_deref(), Some("guest"));
    assert_eq!(left_as(&[by("bob", 1, MEMBER_ADDED, "member"), leaves(2)]).as_deref(), Some("member"));
    let removed = by("alice", 2, MEMBER_REMOVED, role::REMOVED);
    assert_eq!(left_as(&[lowered(), removed]).as_deref(), Some("removed"));
    let removed = by("alice", 1, MEMBER_REMOVED, role::REMOVED);
    let added = by("alice", 2, MEMBER_ADDED, "member");
    assert_eq!(left_as(&[removed, added, leaves(3)]).as_deref(), Some("member"), "the last removal counts");
}

#[test]
fn stored_record_changes_nothing_but_is_announced_again() {
    let entries = entries(&["+bob guest", "-bob"]);
    let plan = plan(&entries, 1);
    assert_eq!(membership_of_bob(&plan), membership(true, None, None), "only new records count");
    let announced: Vec<(u64, bool)> = plan
        .members
        .all
        .iter()
        .map(|change| (change.seq.0, change.kind == MembershipChangeKind::Removed))
        .collect();
    assert_eq!(announced, [(1, false), (2, true)]);
    let stored = super::tests::plan(&entries, 2);
    assert!(stored.members.final_memberships.is_empty() && stored.members.all.len() == 2);
}

#[test]
fn marks_from_before_a_join_or_removal_are_dropped() {
    let reads = |words: &[&str], head| {
        let entries = entries(words);
        let marks = plan(&entries, head).marks;
        marks.get(&(room(), "bob".to_owned())).map(|marks| marks.read.0)
    };
    assert_eq!(reads(&["=bob vip", "rbob 1", "=bob guest"], 0), Some(1), "a member who stays keeps them");
    assert_eq!(reads(&["+bob vip", "rbob 1"], 0), Some(1));
    assert_eq!(reads(&["=carol vip", "rbob 1", "-bob", "+bob member"], 0), None);
    assert_eq!(reads(&["-bob", "rbob 1", "+bob member", "rbob 2"], 0), Some(2));
    assert_eq!(reads(&["rbob 1", "-bob", "+bob member"], 2), None, "also when it is read again");
}

#[test]
fn malformed_membership_becomes_a_void() {
    for (kind, membership) in [
        (MEMBER_ADDED, ""),
        (MEMBER_ADDED, "bob"),
        (MEMBER_ADDED, "bob\u{1e}"),
        (MEMBER_ADDED, "bob\u{1e}removed"),
        (MEMBER_CHANGED, "bob\u{1e}No Role"),
        (MEMBER_REMOVED, "bob\u{1e}member"),
        (MEMBER_REMOVED, "\u{1e}removed"),
        ("message:edited", "bob\u{1e}member"),
    ] {
        let entries = [entry(1, 1, kind, membership, "{}")];
        let plan = plan(&entries, 0);
        assert_eq!((plan.rejects.len(), plan.members.all.len()), (1, 0), "{kind} {membership:?}");
        assert!(plan.events[0].void.is_some() && plan.heads[&room()].to == Seq(1), "{kind} {membership:?}");
    }
}
