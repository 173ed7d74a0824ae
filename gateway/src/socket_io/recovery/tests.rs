//! Tests of the positions of a client: how they follow from frames, and that they are the same after a way as text.

use proptest::prelude::*;
use tidings_shared::log::{Bases, RoomHead};

use super::*;

const USER: &str = "an~n;=@";

fn event(room: &str, seq: u64) -> Vec<u8> {
    let start = format!(r#"{{"type":"message:new","room":"{room}","seq":{seq},"#);
    (start + r#""at":"2026-01-31T09:30:00.123Z","content":"\"seq\":9"}"#).into_bytes()
}

fn joined(rooms: &[(&str, u64, u64)], failed: &[&str]) -> Vec<u8> {
    let head = |(room, epoch, seq): &(&str, u64, u64)| {
        let kind = r#""kind":"private","name":null"#;
        format!(r#"{{"room":"{room}",{kind},"head":{{"epoch":"{epoch}","seq":{seq}}}}}"#)
    };
    let failure = |room: &&str| format!(r#"{{"room":"{room}","code":"not_found"}}"#);
    let rooms: Vec<String> = rooms.iter().map(head).collect();
    let failed: Vec<String> = failed.iter().map(failure).collect();
    let (rooms, failed) = (rooms.join(","), failed.join(","));
    format!(r#"{{"type":"room:joined","rooms":[{rooms}],"failed":[{failed}]}}"#).into_bytes()
}

fn caught_up(room: &str, epoch: u64, seq: u64) -> Vec<u8> {
    let json = format!(r#"{{"type":"room:caught_up","room":"{room}","epoch":"{epoch}","seq":{seq}}}"#);
    json.into_bytes()
}

/// A client of a `pid` with `a` at 5 and `b` at 9, which has joined both.
fn two_rooms() -> RoomPositions {
    let answer = joined(&[("a", 7, 5), ("b", 7, 9)], &["c"]);
    let mut positions = RoomPositions::new("tag", USER);
    positions.name_rooms(&answer);
    assert!(positions.apply(&answer));
    assert_eq!(positions.offset(), "tag!", "where the replays begin is unknown");
    assert!(positions.apply(&caught_up("a", 7, 5)));
    assert!(positions.apply(&caught_up("b", 7, 9)));
    positions
}

/// The cursors of the client when it connects again with its present offset.
fn recovered(positions: &RoomPositions, pid: &str) -> Option<Vec<(String, String, u64)>> {
    let resumed = RoomPositions::resume(pid, &positions.offset(), USER)?;
    assert_eq!(resumed.offset(), positions.offset());
    let cursors = resumed.cursors().into_iter();
    Some(cursors.map(|(room, at)| (room.to_string(), at.epoch, at.seq.0)).collect())
}

fn cursor(room: &str, epoch: u64, seq: u64) -> (String, String, u64) {
    (room.to_owned(), epoch.to_string(), seq)
}

#[test]
fn offset_names_rooms_that_differ_from_pid() {
    let mut positions = two_rooms();
    let pid = positions.take_pid();
    assert_eq!(pid, format!("a=5@7;b=9@7~tag~{USER}"));
    assert_eq!(positions.offset(), "tag");
    positions.advance(&event("b", 10)).unwrap();
    assert_eq!(positions.offset(), "tag;#1=10");
    positions.apply(&caught_up("a", 8, 5));
    positions.apply(&joined(&[("c", 7, 2)], &[]));
    assert_eq!(positions.offset(), "tag!");
    assert_eq!(recovered(&positions, &pid), None);
    positions.advance(&event("c", 1)).unwrap();
    assert_eq!(positions.offset(), "tag;#0=5@8;#1=10;c=1@7");
    assert_eq!(
        recovered(&positions, &pid),
        Some(vec![cursor("a", 8, 5), cursor("b", 7, 10), cursor("c", 7, 1)])
    );
    positions.apply(br#"{"type":"room:left","rooms":["b","c"]}"#);
    assert_eq!(positions.offset(), "tag;#0=5@8;#1=-");
    assert_eq!(recovered(&positions, &pid), Some(vec![cursor("a", 8, 5)]));
    positions.apply(br#"{"type":"room:gap","room":"a","after":5,"head":{"epoch":"9","seq":300}}"#);
    assert_eq!(recovered(&positions, &pid), Some(vec![cursor("a", 9, 300)]));
}

#[test]
fn event_that_was_not_sent_moves_nothing() {
    let mut positions = two_rooms();
    let previous = positions.advance(&event("a", 6)).unwrap();
    assert_eq!(positions.offset(), "tag;#0=6");
    positions.undo(previous);
    assert_eq!(positions.offset(), "tag");
}

#[test]
fn frames_that_are_no_events_move_nothing() {
    let mut positions = two_rooms();
    for frame in [
        r#"{"type":"room:removed","room":"a","seq":8}"#,
        r#"{"type":"ack","room":"a","seq":8,"epoch":"7","at":"x"}"#,
        r#"{"type":"receipt:read","room":"a","marks":[{"user":"ben","seq":8,"at":"x"}]}"#,
        r#"{"type":"message:new","room":"c","seq":8,"at":"x"}"#,
        r#"{"type":"pong"}"#,
    ] {
        assert!(positions.advance(frame.as_bytes()).is_none(), "{frame}");
        assert!(!positions.apply(frame.as_bytes()), "{frame}");
    }
    assert_eq!(positions.offset(), "tag");
}

#[test]
fn recovered_room_keeps_its_position_until_events_come() {
    let pid = format!("a=5@7;b=9@7~tag~{USER}");
    let mut positions = RoomPositions::resume(&pid, "tag;#1=10;c=1@7", USER).unwrap();
    positions.apply(&joined(&[("a", 8, 6), ("b", 7, 10), ("d", 7, 3)], &["c"]));
    assert_eq!(positions.offset(), "tag!", "the replay of d has not begun");
    positions.apply(&caught_up("d", 7, 3));
    assert_eq!(positions.offset(), "tag;#1=10;d=3@7");
    let previous = positions.advance(&event("a", 6)).unwrap();
    assert_eq!(positions.offset(), "tag;#0=6@8;#1=10;d=3@7");
    positions.undo(previous);
    assert_eq!(positions.offset(), "tag;#1=10;d=3@7");
    // Another join begins at a cursor that is not known.
    positions.apply(&joined(&[("b", 7, 10)], &[]));
    assert_eq!(positions.offset(), "tag!");
    // A failed join of a joined room changes nothing.
    positions.apply(&caught_up("b", 7, 10));
    positions.apply(&joined(&[], &["b"]));
    assert_eq!(positions.offset(), "tag;#1=10;d=3@7");
}

#[test]
fn connection_lost_between_join_and_gap_keeps_the_gap() {
    // The client has the events up to 10 of epoch 7. Epoch 8 begins above 4 and has other events from 5 on.
    let bases = Bases(vec![(Epoch(7), Seq(0)), (Epoch(8), Seq(4))]);
    let head = RoomHead { epoch: Epoch(8), seq: Seq(12), bases, ..RoomHead::default() };
    let pid = format!("a=10@7~tag~{USER}");
    let mut positions = RoomPositions::resume(&pid, "tag", USER).unwrap();
    positions.apply(&joined(&[("a", 8, 12)], &[]));
    let again = RoomPositions::resume(&pid, &positions.offset(), USER).unwrap();
    let gaps: Vec<_> = again.cursors().iter().map(|(_, after)| head.gap_after(after)).collect();
    assert_eq!(gaps, [Some(Seq(4))]);
    positions.apply(br#"{"type":"room:gap","room":"a","after":4,"head":{"epoch":"8","seq":12}}"#);
    assert_eq!(recovered(&positions, &pid), Some(vec![cursor("a", 8, 12)]));
}

#[test]
fn foreign_or_broken_texts_recover_nothing() {
    let pid = format!("a=5@7~tag~{USER}");
    assert!(RoomPositions::resume(&pid, "tag", USER).is_some());
    assert!(RoomPositions::resume(&pid, "tag", "ben").is_none());
    for offset in [
        "",
        "ta",
        "tag2",
        "tag2;#0=6",
        "other",
        "tag!",
        "tag;",
        "tag;#1=6",
        "tag;#0=x",
        "tag;#0",
        "tag;b=6",
        "tag;b=-",
        "tag;#0=6@07",
        "tag;b b=6@7",
        "tag;#0=9007199254740992",
        "message:new",
    ] {
        assert!(RoomPositions::resume(&pid, offset, USER).is_none(), "{offset}");
    }
    for pid in ["", "tag", "a=5@7~tag", &format!("a=5~tag~{USER}"), &format!("=5@7~tag~{USER}")] {
        assert!(RoomPositions::resume(pid, "tag", USER).is_none(), "{pid}");
    }
    let of_rooms = |count: usize| format!("{}~tag~{USER}", "a=5@7;".repeat(count));
    assert!(RoomPositions::resume(&of_rooms(200), "tag", USER).is_some());
    assert!(RoomPositions::resume(&of_rooms(201), "tag", USER).is_none());
}

#[test]
fn too_long_offset_recovers_nothing() {
    let mut positions = two_rooms();
    let names: Vec<String> = (0..60).map(|_| RoomId::generate().to_string()).collect();
    for name in &names {
        positions.apply(&caught_up(name, 7, 1));
    }
    assert_eq!(positions.offset(), "tag!");
    let left = serde_json::json!(names[..30]);
    positions.apply(format!(r#"{{"type":"room:left","rooms":{left}}}"#).as_bytes());
    assert!(positions.offset().ends_with("=1@7"));
}

proptest! {
    #[test]
    fn any_texts_are_read_without_panic(pid in ".{0,60}", offset in ".{0,60}") {
        if let Some(positions) = RoomPositions::resume(&pid, &offset, "user") {
            let again = RoomPositions::resume(&pid, &positions.offset(), "user").unwrap();
            prop_assert_eq!(again.offset(), positions.offset());
        }
    }

    #[test]
    fn offset_leads_back_to_positions(
        heads in prop::collection::btree_map("[a-f]{1,3}", (1..4u64, 0..9u64), 0..5),
        moves in prop::collection::vec(("[a-f]{1,3}", 1..4u64, 0..99u64), 0..8),
    ) {
        let named: Vec<_> = heads.iter().map(|(name, (epoch, seq))| (name.as_str(), *epoch, *seq)).collect();
        let mut positions = RoomPositions::new("t", "user");
        positions.name_rooms(&joined(&named, &[]));
        let mut expected = std::collections::BTreeMap::new();
        let first = heads.iter().map(|(name, (epoch, seq))| (name.clone(), *epoch, *seq));
        for (name, epoch, seq) in first.chain(moves) {
            positions.apply(&caught_up(&name, epoch, seq));
            expected.insert(name, (epoch.to_string(), seq));
        }
        let pid = positions.take_pid();
        let resumed = RoomPositions::resume(&pid, &positions.offset(), "user").unwrap();
        let cursors = resumed.cursors().into_iter();
        let found: std::collections::BTreeMap<_, _> =
            cursors.map(|(room, at)| (room.to_string(), (at.epoch, at.seq.0))).collect();
        prop_assert_eq!(found, expected);
    }
}
