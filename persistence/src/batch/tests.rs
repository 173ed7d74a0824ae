//! Tests with examples, and with generated histories of epochs, which rows are planned for a batch.

use proptest::prelude::*;
use serde_json::value::RawValue;
use tidings_shared::ids::Epoch;

use super::*;

fn room() -> RoomId {
    RoomId::parse("r").unwrap()
}

/// A record of room `r` as the append script writes it.
struct Sample {
    epoch: u64,
    seq: u64,
    kind: &'static str,
    client_id: String,
    room: &'static str,
    visibility: &'static str,
    json: String,
}

impl Default for Sample {
    fn default() -> Self {
        let json = r#"{"kind":"text","content":"hi","reply_to":7,"metadata":{"b": 1, "a":2}}"#.to_owned();
        Self {
            epoch: 1,
            seq: 1,
            kind: "message:new",
            client_id: "c".into(),
            room: "r",
            visibility: "u=bob",
            json,
        }
    }
}

impl Sample {
    fn message(epoch: u64, seq: u64) -> Self {
        Self { epoch, seq, client_id: format!("{epoch}.{seq}"), ..Self::default() }
    }

    fn entry(self, position: u64) -> IngestEntry {
        let id = "0190163d-8694-739b-aea5-966c26f8ad91";
        let header = [
            "1",
            &self.epoch.to_string(),
            &self.seq.to_string(),
            &(1000 + position).to_string(),
            self.room,
            self.kind,
            "alice",
            &self.client_id,
            id,
            self.visibility,
            "",
            "",
        ]
        .join("\u{1f}");
        let raw = Bytes::from(format!("{header}\n{}", self.json));
        IngestEntry::parse(Partition::of(&room()), IngestId { ms: position, n: 0 }, raw)
    }
}

fn entries(samples: impl IntoIterator<Item = Sample>) -> Vec<IngestEntry> {
    samples.into_iter().zip(1..).map(|(sample, position)| sample.entry(position)).collect()
}

fn stored(head: u64, bases: &str) -> HashMap<RoomId, StoredRoom> {
    HashMap::from([(room(), StoredRoom { head: Seq(head), bases: Bases::decode(bases) })])
}

fn advance(from: u64, to: u64, at: i64) -> HeadAdvance {
    HeadAdvance { from: Seq(from), to: Seq(to), last_message_at_ms: Some(at) }
}

#[test]
fn records_that_follow_the_head_move_it() {
    let entries = entries([Sample::message(1, 5), Sample::message(1, 6)]);
    let plan = plan_records(&entries, &stored(4, ""), None).unwrap();
    assert_eq!(plan.heads[&room()], advance(4, 6, 1002));
    let message = &plan.messages[0];
    let fields = &message.fields;
    assert_eq!(
        (fields.kind.as_ref(), fields.content.as_ref(), fields.reply_to),
        ("text", "hi", Some(Seq(7)))
    );
    assert!(fields.attachments.is_none());
    assert_eq!(fields.metadata.map(RawValue::get), Some(r#"{"b": 1, "a":2}"#));
    assert_eq!(message.visibility.users, ["bob"]);
}

#[test]
fn stored_record_is_not_written_again() {
    let entries = entries([Sample::message(1, 3), Sample::message(1, 4), Sample::message(1, 5)]);
    let plan = plan_records(&entries, &stored(4, ""), None).unwrap();
    assert_eq!((plan.already_stored.len(), plan.messages.len()), (2, 1));
    assert_eq!(plan.heads[&room()], advance(4, 5, 1003));
}

#[test]
fn records_above_a_later_base_are_left_out() {
    let entries = entries([Sample::message(1, 5), Sample::message(1, 6), Sample::message(3, 6)]);
    let plan = plan_records(&entries, &stored(4, "2:9,3:5"), None).unwrap();
    assert_eq!(plan.left_out, 1);
    let clients: Vec<&str> = plan.messages.iter().map(|message| message.record.client_id()).collect();
    assert_eq!(clients, ["1.5", "3.6"]);
}

#[test]
fn record_after_a_hole_is_never_written() {
    let entries = entries([Sample::message(1, 5), Sample::message(1, 7)]);
    let hole = plan_records(&entries, &stored(4, ""), None).unwrap_err();
    assert_eq!((hole.head, hole.found), (Seq(5), Seq(7)));
}

#[test]
fn incomplete_record_becomes_a_void_in_the_log() {
    let bad = Sample { json: r#"{"kind":"text"}"#.to_owned(), ..Sample::message(1, 2) };
    let entries = entries([Sample::message(1, 1), bad, Sample::message(1, 3)]);
    let plan = plan_records(&entries, &stored(0, ""), None).unwrap();
    assert_eq!((plan.messages.len(), plan.events.len(), plan.rejects.len()), (2, 1, 1));
    assert_eq!((plan.events[0].seq, &plan.events[0].void), (Seq(2), &Some(VoidReason::Rejected)));
    assert_eq!((plan.events[0].client_id.as_str(), plan.events[0].body.as_str()), ("1.2", "{}"));
    assert_eq!(plan.heads[&room()].to, Seq(3));
    assert_eq!(plan.rejects[0].at, Some((room(), Seq(2))));
}

#[test]
fn unreadable_visibility_never_means_everyone() {
    let edit =
        || Sample { kind: "message:edited", json: r#"{"target":1}"#.to_owned(), ..Sample::message(1, 1) };
    for visibility in ["g=friends", "bob", "u=", "u=bob\u{1e}r=", "\u{1e}"] {
        for sample in [Sample::message(1, 1), edit()] {
            let entries = [Sample { visibility, ..sample }.entry(1)];
            let plan = plan_records(&entries, &stored(0, ""), None).unwrap();
            assert_eq!((plan.messages.len(), plan.rejects.len()), (0, 1), "{visibility:?}");
            assert_eq!(plan.events[0].void, Some(VoidReason::Rejected));
            assert!(!plan.events[0].visibility.is_everyone(), "nor is the void: {visibility:?}");
        }
    }
    let entries = [Sample { visibility: "", ..Sample::message(1, 1) }.entry(1)];
    assert!(plan_records(&entries, &stored(0, ""), None).unwrap().messages[0].visibility.is_everyone());
}

#[test]
fn only_valid_messages_set_last_message_time() {
    let bad = Sample { json: r#"{"kind":"text"}"#.to_owned(), ..Sample::message(1, 3) };
    let entries = entries([Sample::message(1, 1), Sample::message(1, 2), bad]);
    let mut plan = plan_records(&entries, &stored(0, ""), None).unwrap();
    assert_eq!(plan.heads[&room()], advance(0, 3, 1002), "a rejected one does not");
    plan.set_last_message_times(&[1]);
    assert_eq!(plan.heads[&room()], advance(0, 3, 1001), "nor does a duplicate");
    plan.set_last_message_times(&[0, 1]);
    assert_eq!(plan.heads[&room()].last_message_at_ms, None);
}

#[test]
fn poison_turns_any_event_into_a_void() {
    let edit = Sample { kind: "message:edited", json: r#"{"target":1}"#.to_owned(), ..Sample::message(1, 2) };
    for sample in [Sample::message(1, 2), edit] {
        let entries = [sample.entry(1)];
        let plan = plan_records(&entries, &stored(1, ""), Some("too bad")).unwrap();
        assert_eq!((plan.messages.len(), plan.events.len()), (0, 1));
        assert_eq!(plan.rejects[0].reason, "too bad");
    }
}

#[test]
fn record_without_room_of_its_partition_is_rejected() {
    let other = Sample { room: "elsewhere", ..Sample::message(1, 1) };
    assert_ne!(Partition::of(&RoomId::parse("elsewhere").unwrap()), Partition::of(&room()));
    let malformed = IngestEntry::parse(Partition(1), IngestId::default(), Bytes::from_static(b"garbage"));
    let unknown = Sample::message(1, 1);
    let entries = [other.entry(1), malformed, unknown.entry(3)];
    let plan = plan_records(&entries, &HashMap::new(), None).unwrap();
    assert_eq!((plan.rejects.len(), plan.heads.len(), plan.events.len()), (3, 0, 0));
    assert_eq!(plan.rejects[2].at, Some((room(), Seq(1))));
}

#[test]
fn event_keeps_its_json_and_target() {
    let json = r#"{"type":"message:edited","target":3,"target_id":"0190163d-8694-739b-aea5-966c26f8ad91","content":"a\nb","x": 1.0}"#;
    let entries =
        [Sample { kind: "message:edited", json: json.to_owned(), ..Sample::message(1, 1) }.entry(1)];
    let plan = plan_records(&entries, &stored(0, ""), None).unwrap();
    let event = &plan.events[0];
    assert_eq!((event.body.as_str(), event.target, event.target_id.is_some()), (json, Some(Seq(3)), true));
    let change = &plan.changes[0];
    assert_eq!((change.event, change.target, Some(change.target_id)), (0, Seq(3), event.target_id));
    assert_eq!(change.action, Action::Edit { content: "a\nb".into(), metadata: None, mentions: None });
    assert_eq!(plan.heads[&room()].last_message_at_ms, None);
}

#[test]
fn addition_is_stored_without_name_and_picture() {
    let json =
        r#"{"type":"member:added","user":"bob","name":"B","picture":"https://b","role":"vip","by":"alice"}"#;
    let sample =
        Sample { kind: "member:added", json: json.to_owned(), visibility: "", ..Sample::message(1, 1) };
    let (room, entry) = (room(), sample.entry(1));
    let row = EventRow::from_record(&room, entry.record.as_ref().unwrap()).unwrap();
    assert_eq!(row.body, r#"{"by":"alice","role":"vip","type":"member:added","user":"bob"}"#);
}

#[test]
fn incomplete_change_becomes_a_void_with_its_target() {
    let id = r#""target_id":"0190163d-8694-739b-aea5-966c26f8ad91""#;
    let cases = [
        ("message:edited", format!(r#"{{"target":1,{id}}}"#)),
        ("message:deleted", r#"{"target":1}"#.to_owned()),
        ("reaction:added", format!(r#"{{"target":1,{id}}}"#)),
        ("reaction:removed", format!(r#"{{"target":1,{id},"emoji":7}}"#)),
    ];
    for (kind, json) in cases {
        let entries = [Sample { kind, json, ..Sample::message(1, 2) }.entry(1)];
        let plan = plan_records(&entries, &stored(1, ""), None).unwrap();
        assert_eq!((plan.changes.len(), plan.rejects.len(), plan.events.len()), (0, 1, 1), "{kind}");
        let void = &plan.events[0];
        assert_eq!((void.kind.as_str(), void.void_type.as_str(), void.target), ("void", kind, Some(Seq(1))));
    }
}

#[test]
fn void_event_lists_its_target_as_announced() {
    let json = r#"{"target":3,"client_id":"c","by":"alice","reason":"duplicate"}"#;
    let entries = [Sample { kind: "message:void", json: json.to_owned(), ..Sample::message(1, 5) }.entry(1)];
    let plan = plan_records(&entries, &stored(4, ""), None).unwrap();
    assert_eq!(plan.announced_voids, [(room(), Seq(3))]);
}

#[test]
fn marks_are_capped_at_head_and_later_base() {
    let marks = |epoch, json: &str| Sample {
        epoch,
        seq: 0,
        kind: TYPE_MARKS,
        json: json.to_owned(),
        ..Sample::default()
    };
    let entries = entries([
        marks(2, r#"[["read","alice",9],["delivered","alice",2],["read","bob",2]]"#),
        Sample::message(2, 5),
        marks(1, r#"[["read","carol",5]]"#),
        marks(2, r#"[["read","bob",1]]"#),
    ]);
    let plan = plan_records(&entries, &stored(4, "2:3"), None).unwrap();
    let marks = |user: &str| plan.marks[&(room(), user.to_owned())].clone();
    assert_eq!((marks("alice").read, marks("alice").delivered), (Seq(5), Seq(2)));
    assert_eq!((marks("bob").read, marks("bob").read_at_ms), (Seq(2), 1001));
    assert_eq!(marks("carol").read, Seq(3), "a higher seq belongs to another history");
    assert!(plan.rejects.is_empty());
}

#[test]
fn malformed_marks_are_rejected() {
    for json in ["{}", r#"[["seen","alice",1]]"#, r#"[["read","alice",-1]]"#] {
        let entries =
            [Sample { seq: 0, kind: TYPE_MARKS, json: json.to_owned(), ..Sample::default() }.entry(1)];
        let plan = plan_records(&entries, &stored(4, ""), None).unwrap();
        assert_eq!((plan.rejects.len(), plan.marks.len()), (1, 0), "{json}");
        assert_eq!(plan.rejects[0].at, None);
    }
}

/// Histories of a room. For each epoch: how many events of the previous epoch were lost, and how many were added.
fn histories() -> impl Strategy<Value = Vec<(usize, u64)>> {
    prop::collection::vec((0_usize..6, 0_u64..6), 1..6)
}

proptest! {
    /// For all epochs, stored heads and ways to cut the stream into batches: exactly the surviving history is written,
    /// in order.
    #[test]
    fn surviving_history_is_written_once_in_order(
        epochs in histories(), stored_part in 0.0..1.0_f64, cuts in prop::collection::vec(1_usize..5, 1..20),
    ) {
        let (mut samples, mut survivors, mut bases) = (Vec::new(), Vec::<(u64, u64)>::new(), Vec::new());
        for ((lost, grown), epoch) in epochs.into_iter().zip(1_u64..) {
            survivors.truncate(survivors.len().saturating_sub(lost));
            let base = survivors.len() as u64;
            bases.push((Epoch(epoch), Seq(base)));
            for seq in base + 1..=base + grown {
                samples.push(Sample::message(epoch, seq));
                survivors.push((epoch, seq));
            }
        }
        let stored_head = (survivors.len() as f64 * stored_part) as usize;

        let all = entries(samples);
        let (mut rest, mut head, mut written) = (&all[..], stored_head as u64, Vec::new());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (batch, later) = rest.split_at((*cut).min(rest.len()));
            rest = later;
            let rooms = HashMap::from([(room(), StoredRoom { head: Seq(head), bases: Bases(bases.clone()) })]);
            let plan = plan_records(batch, &rooms, None).unwrap();
            written.extend(plan.messages.iter().map(|message| (message.record.epoch.0, message.record.seq.0)));
            head = plan.heads.get(&room()).map_or(head, |advance| advance.to.0);
        }
        prop_assert_eq!(&written[..], &survivors[stored_head..]);
        prop_assert_eq!(head, survivors.len() as u64);
    }
}

#[test]
fn activity_is_what_all_members_see_and_what_mentions_users() {
    let public = |seq, json: &str| Sample { visibility: "", json: json.into(), ..Sample::message(1, seq) };
    let plain = r#"{"kind":"text","content":"hi"}"#;
    let mention = r#"{"kind":"text","content":"hi","mentions":["bob"]}"#;
    let edit = |seq, mentions| Sample {
        kind: "message:edited",
        json: format!(
            r#"{{"target":1,"target_id":"0190163d-8694-739b-aea5-966c26f8ad91","content":"x"{mentions}}}"#
        ),
        ..public(seq, plain)
    };
    let entries = entries([
        public(1, plain),
        Sample::message(1, 2),
        public(3, plain),
        public(4, mention),
        Sample { json: mention.into(), ..Sample::message(1, 5) },
        edit(6, ""),
        edit(7, r#","mentions":["bob"]"#),
    ]);
    let plan = plan_records(&entries, &stored(0, ""), None).unwrap();
    assert_eq!(plan.messages.len() + plan.changes.len(), entries.len());
    let activity = plan.activity();
    let seen: Vec<_> = activity
        .iter()
        .map(|item| (item.first.0, item.last.0, item.mentions.len(), &*item.sender, &*item.visibility))
        .collect();
    let expected =
        [(1, 3, 0, "", ""), (4, 4, 1, "alice", ""), (5, 5, 1, "alice", "u=bob"), (7, 7, 1, "alice", "")];
    assert_eq!(seen, expected);
}

#[test]
fn imported_messages_cause_no_notice() {
    let mut imported = Sample { visibility: "", ..Sample::message(1, 1) }.entry(1);
    imported.id.ms = 10_000_000;
    let entries = [imported];
    let plan = plan_records(&entries, &stored(0, ""), None).unwrap();
    assert_eq!((plan.messages.len(), plan.activity()), (1, Vec::new()));
}
