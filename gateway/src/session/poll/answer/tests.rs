//! Tests how the answer of a poll is built, without a poll.

use serde_json::{Value, json};
use tidings_shared::ids::Epoch;

use super::*;
use crate::client::ClientTransport;

fn builder(body: &Value) -> AnswerBuilder {
    AnswerBuilder::new(&PollRequest::parse(body.to_string().as_bytes()).unwrap())
}

fn json(builder: AnswerBuilder) -> Value {
    let limits = Limits { max_message_chars: 1, max_frame_bytes: 2, messages_per_second: 3 };
    let answer = AnswerMetadata {
        rooms_version: "1.2",
        websocket: false,
        user: "alice",
        server_time: "now",
        limits: &limits,
    };
    serde_json::from_slice(&builder.into_json(&answer).0).unwrap()
}

fn add_joined(builder: &mut AnswerBuilder, rooms: Value, failed: Value) {
    builder.add_frame(
        &json!({"type": "room:joined", "ref": JOIN_REF, "rooms": rooms, "failed": failed}).to_string(),
    );
}

#[test]
fn answers_keep_order_and_refs_of_commands() {
    let mut poll =
        builder(&json!({"commands": [{"type": "a", "ref": "x\"1"}, {"type": "b"}, {"type": "c"}]}));
    add_joined(&mut poll, json!([]), json!([]));
    let frame = |index: usize, rest: &str| format!(r#"{{"type":"ok","ref":"{}"{rest}}}"#, command_ref(index));
    poll.add_frame(&frame(1, ""));
    poll.add_frame(&frame(0, r#","seq":7"#));
    assert!(!poll.has_answered_all());
    poll.add_frame(&frame(0, r#","seq":8"#));
    let answers = json(poll)["answers"].clone();
    assert_eq!(answers[0], json!({"type": "ok", "ref": "x\"1", "seq": 7}));
    assert_eq!(answers[1], json!({"type": "ok"}));
    assert_eq!((&answers[2]["code"], &answers[2]["type"]), (&json!("unavailable"), &json!("error")));
}

#[test]
fn cursor_moves_with_replay_but_not_beyond_it() {
    let cursor = |epoch: &str, seq: u64| json!({"epoch": epoch, "seq": seq});
    let mut poll =
        builder(&json!({"cursors": {"a": cursor("1", 3), "b": null, "c": cursor("1", 9), "d": null}}));
    let rooms: Vec<_> = ["a", "b", "c"].map(|id| json!({"room": id, "head": cursor("2", 5)})).into();
    add_joined(&mut poll, json!(rooms), json!([{"room": "d", "code": "not_found"}]));
    poll.add_frame(r#"{"type":"message:new","room":"a","seq":4,"content":"x"}"#);
    poll.add_frame(r#"{"type":"room:gap","room":"c","after":2,"head":{"epoch":"2","seq":5}}"#);
    poll.add_frame(r#"{"type":"room:removed","room":"b","seq":4}"#);
    assert!(!poll.is_caught_up());
    poll.add_frame(r#"{"type":"room:caught_up","room":"b","epoch":"2","seq":5}"#);
    poll.advance_cursors(|_| Some(Position { epoch: Epoch(2), seq: Seq(8) }));
    let answer = json(poll);
    let expected = json!({"a": cursor("2", 4), "b": cursor("2", 8), "c": cursor("2", 8), "d": null});
    assert_eq!(answer["cursors"], expected);
    assert_eq!(answer["failed"], json!([{"room": "d", "code": "not_found"}]));
    let types: Vec<_> = answer["events"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["message:new", "room:gap", "room:removed"]);
}

#[test]
fn ended_room_is_not_awaited_and_keeps_its_cursor() {
    let cursor = json!({"epoch": "1", "seq": 3});
    let mut poll = builder(&json!({"cursors": {"a": cursor, "b": cursor}}));
    let rooms: Vec<_> = ["a", "b"].map(|id| json!({"room": id, "head": {"epoch": "1", "seq": 9}})).into();
    add_joined(&mut poll, json!(rooms), json!([]));
    poll.add_frame(r#"{"type":"room:caught_up","room":"b","epoch":"1","seq":9}"#);
    poll.retain_replaying(|_| true);
    assert!(!poll.is_caught_up());
    poll.retain_replaying(|room| room.as_str() != "a");
    assert!(poll.is_caught_up());
    poll.advance_cursors(|room| (room.as_str() != "a").then_some(Position { epoch: Epoch(1), seq: Seq(9) }));
    assert_eq!(json(poll)["cursors"]["a"], cursor);
}

#[test]
fn join_frames_use_no_space_of_the_answer() {
    let buffer = PollBuffer::new(1);
    let mut poll = builder(&json!({"cursors": {"a": null}}));
    let send = |frame: Value| {
        ClientTransport::Poll(buffer.clone())
            .send(crate::transport::Frame::text(frame.to_string().into_bytes()));
    };
    let head = json!({"epoch": "1", "seq": 3});
    send(
        json!({"type": "room:joined", "ref": JOIN_REF, "rooms": [{"room": "a", "head": head}], "failed": []}),
    );
    send(json!({"type": "room:caught_up", "room": "a", "epoch": "1", "seq": 3}));
    assert!(buffer.bytes() > 0 && poll.collect(&buffer));
    assert_eq!(buffer.bytes(), 0);
    send(json!({"type": "message:new", "room": "a", "seq": 4}));
    assert!(!poll.collect(&buffer) && buffer.bytes() > 0);
}

#[test]
fn cursor_of_other_epoch_than_hub_stays() {
    let mut poll = builder(&json!({"cursors": {"a": {"epoch": "1", "seq": 3}}}));
    add_joined(&mut poll, json!([{"room": "a", "head": {"epoch": "1", "seq": 3}}]), json!([]));
    poll.add_frame(r#"{"type":"room:caught_up","room":"a","epoch":"1","seq":3}"#);
    poll.advance_cursors(|_| Some(Position { epoch: Epoch(2), seq: Seq(8) }));
    assert_eq!(json(poll)["cursors"]["a"], json!({"epoch": "1", "seq": 3}));
}

#[test]
fn caught_up_alone_is_no_content() {
    let mut poll = builder(&json!({"cursors": {"a": null}}));
    add_joined(&mut poll, json!([{"room": "a", "head": {"epoch": "1", "seq": 3}}]), json!([]));
    poll.add_frame(r#"{"type":"room:caught_up","room":"a","epoch":"1","seq":3}"#);
    assert!(poll.is_caught_up() && poll.has_answered_all() && !poll.has_content());
    poll.add_rooms_changed("1.3", Some(5_000));
    assert!(poll.has_content());
}

#[test]
fn bytes_of_events_are_passed_on_unchanged() {
    let mut poll = builder(&json!({}));
    let event = r#"{"type":"x","metadata":{"b": 1.0,"a":"\u00e9"}}"#;
    poll.add_frame(event);
    assert_eq!(poll.events[0].get(), event);
}
