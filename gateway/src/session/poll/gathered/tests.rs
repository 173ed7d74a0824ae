//! Sorting without a poll.

use serde_json::{Value, json};
use tidings_shared::ids::Epoch;

use super::{super::super::line::Line, *};

fn gathered(body: &Value) -> Gathered {
    Gathered::new(&PollRequest::parse(body.to_string().as_bytes()).unwrap())
}

fn json(gathered: Gathered) -> Value {
    let limits = Limits { max_message_chars: 1, max_frame_bytes: 2, messages_per_second: 3 };
    let answer =
        Answer { rooms_version: "1.2", websocket: false, user: "alice", server_time: "now", limits: &limits };
    serde_json::from_slice(&gathered.into_json(&answer)).unwrap()
}

fn joined(gathered: &mut Gathered, rooms: Value, failed: Value) {
    gathered.sort(&json!({"type": "room:joined", "ref": JOIN, "rooms": rooms, "failed": failed}).to_string());
}

#[test]
fn answers_come_in_the_order_of_the_commands_under_their_own_refs() {
    let mut poll =
        gathered(&json!({"commands": [{"type": "a", "ref": "x\"1"}, {"type": "b"}, {"type": "c"}]}));
    joined(&mut poll, json!([]), json!([]));
    let frame = |place: usize, rest: &str| format!(r#"{{"type":"ok","ref":"{}"{rest}}}"#, reference(place));
    poll.sort(&frame(1, ""));
    poll.sort(&frame(0, r#","seq":7"#));
    assert!(!poll.is_answered());
    poll.sort(&frame(0, r#","seq":8"#));
    let answers = json(poll)["answers"].clone();
    assert_eq!(answers[0], json!({"type": "ok", "ref": "x\"1", "seq": 7}));
    assert_eq!(answers[1], json!({"type": "ok"}));
    assert_eq!((&answers[2]["code"], &answers[2]["type"]), (&json!("unavailable"), &json!("error")));
}

#[test]
fn a_cursor_moves_by_replayed_events_gaps_and_what_was_caught_up_but_no_further_while_replaying() {
    let cursor = |epoch: &str, seq: u64| json!({"epoch": epoch, "seq": seq});
    let mut poll =
        gathered(&json!({"cursors": {"a": cursor("1", 3), "b": null, "c": cursor("1", 9), "d": null}}));
    let rooms: Vec<_> = ["a", "b", "c"].map(|id| json!({"room": id, "head": cursor("2", 5)})).into();
    joined(&mut poll, json!(rooms), json!([{"room": "d", "code": "not_found"}]));
    poll.sort(r#"{"type":"message:new","room":"a","seq":4,"content":"x"}"#);
    poll.sort(r#"{"type":"room:gap","room":"c","after":2,"head":{"epoch":"2","seq":5}}"#);
    poll.sort(r#"{"type":"room:removed","room":"b","seq":4}"#);
    assert!(!poll.is_caught_up());
    poll.sort(r#"{"type":"room:caught_up","room":"b","epoch":"2","seq":5}"#);
    poll.move_to(|_| Some(Position { epoch: Epoch(2), seq: Seq(8) }));
    let answer = json(poll);
    let expected = json!({"a": cursor("2", 4), "b": cursor("2", 8), "c": cursor("2", 8), "d": null});
    assert_eq!(answer["cursors"], expected);
    assert_eq!(answer["failed"], json!([{"room": "d", "code": "not_found"}]));
    let types: Vec<_> = answer["events"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["message:new", "room:gap", "room:removed"]);
}

#[test]
fn a_room_that_ended_while_it_was_replayed_is_not_waited_for_and_its_cursor_stays() {
    let cursor = json!({"epoch": "1", "seq": 3});
    let mut poll = gathered(&json!({"cursors": {"a": cursor, "b": cursor}}));
    let rooms: Vec<_> = ["a", "b"].map(|id| json!({"room": id, "head": {"epoch": "1", "seq": 9}})).into();
    joined(&mut poll, json!(rooms), json!([]));
    poll.sort(r#"{"type":"room:caught_up","room":"b","epoch":"1","seq":9}"#);
    poll.retain(|_| true);
    assert!(!poll.is_caught_up());
    poll.retain(|room| room.as_str() != "a");
    assert!(poll.is_caught_up());
    poll.move_to(|room| (room.as_str() != "a").then_some(Position { epoch: Epoch(1), seq: Seq(9) }));
    assert_eq!(json(poll)["cursors"]["a"], cursor);
}

#[test]
fn what_tells_of_joined_rooms_takes_no_place_in_the_answer() {
    let collector = Collector::new(1);
    let mut poll = gathered(&json!({"cursors": {"a": null}}));
    let send = |frame: Value| {
        Line::Poll(collector.clone()).send(crate::transport::Frame::text(frame.to_string().into_bytes()));
    };
    let head = json!({"epoch": "1", "seq": 3});
    send(json!({"type": "room:joined", "ref": JOIN, "rooms": [{"room": "a", "head": head}], "failed": []}));
    send(json!({"type": "room:caught_up", "room": "a", "epoch": "1", "seq": 3}));
    assert!(collector.bytes() > 0 && poll.take(&collector));
    assert_eq!(collector.bytes(), 0);
    send(json!({"type": "message:new", "room": "a", "seq": 4}));
    assert!(!poll.take(&collector) && collector.bytes() > 0);
}

#[test]
fn a_cursor_of_another_epoch_than_the_hubs_stays() {
    let mut poll = gathered(&json!({"cursors": {"a": {"epoch": "1", "seq": 3}}}));
    joined(&mut poll, json!([{"room": "a", "head": {"epoch": "1", "seq": 3}}]), json!([]));
    poll.sort(r#"{"type":"room:caught_up","room":"a","epoch":"1","seq":3}"#);
    poll.move_to(|_| Some(Position { epoch: Epoch(2), seq: Seq(8) }));
    assert_eq!(json(poll)["cursors"]["a"], json!({"epoch": "1", "seq": 3}));
}

#[test]
fn being_caught_up_is_nothing_to_come_back_with() {
    let mut poll = gathered(&json!({"cursors": {"a": null}}));
    joined(&mut poll, json!([{"room": "a", "head": {"epoch": "1", "seq": 3}}]), json!([]));
    poll.sort(r#"{"type":"room:caught_up","room":"a","epoch":"1","seq":3}"#);
    assert!(poll.is_caught_up() && poll.is_answered() && !poll.has_something());
    poll.rooms_changed("1.3");
    assert!(poll.has_something());
}

#[test]
fn bytes_of_events_are_passed_on_as_they_are() {
    let mut poll = gathered(&json!({}));
    let event = r#"{"type":"x","metadata":{"b": 1.0,"a":"\u00e9"}}"#;
    poll.sort(event);
    assert_eq!(poll.events[0].get(), event);
}
