//! Commands of several users in one room, in order, each with the outcome that the protocol requires. The room's log
//! begins with the removal of rita.

use serde_json::{Value, json};

use super::outcome::Outcome::{self, Marked, Repeated, Stored};

/// User, frame without its room, and expected outcome.
pub type Step = (&'static str, Value, Outcome);

pub fn refused(code: &str) -> Outcome {
    Outcome::Refused(code.to_owned(), None)
}

fn refused_for(code: &str, field: &str) -> Outcome {
    Outcome::Refused(code.to_owned(), Some(field.to_owned()))
}

fn wrong(field: &str) -> Outcome {
    refused_for("bad_request", field)
}

fn with(mut frame: Value, fields: &Value) -> Value {
    frame.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    frame
}

pub fn send(client_id: &str, fields: Value) -> Value {
    with(json!({"type": "message:send", "client_id": client_id}), &fields)
}

fn edit(seq: u64, fields: Value) -> Value {
    with(json!({"type": "message:edit", "seq": seq}), &fields)
}

fn delete(seq: u64, fields: Value) -> Value {
    with(json!({"type": "message:delete", "seq": seq}), &fields)
}

fn react(seq: u64, emoji: &str) -> Value {
    json!({"type": "reaction:add", "seq": seq, "emoji": emoji})
}

fn mark(kind: &str, seq: Value) -> Value {
    json!({"type": format!("message:{kind}"), "seq": seq})
}

/// All steps, in order.
pub fn steps() -> Vec<Step> {
    [sends(), bad_sends(), changes(), changes_of_private_messages(), deletions(), marks()].concat()
}

fn sends() -> Vec<Step> {
    let full = json!({"content": "bob has a 1 of his own", "kind": "note", "reply_to": 2, "metadata": {"b": 1, "a": [1.0]}});
    let both = json!({"content": "psst", "visible_to": {"users": ["bob"], "roles": ["tutor"]}});
    // `null` means the same as a missing field, also inside a field.
    let to_bob = json!({"content": "psst, bob", "visible_to": {"users": ["bob"], "roles": null}});
    let to_tutors = json!({"content": "psst, tim", "visible_to": {"users": null, "roles": ["tutor"]}});
    let picture = json!({"name": "a", "url": "https://x.example/a", "media_type": "image/png", "size": 1});
    vec![
        ("alice", send("1", json!({"content": "hello\n🙂"})), Stored(2)),
        ("alice", send("1", json!({"content": "other"})), Repeated(2)),
        // The first send is known to be stored by then, so the answer is `stored`.
        ("alice", send("1", json!({"content": "other", "ack": "accepted"})), Repeated(2)),
        ("bob", send("1", full), Stored(3)),
        ("alice", send("2", both), Stored(4)),
        ("alice", send("3", to_bob), Stored(5)),
        ("alice", send("4", to_tutors), Stored(6)),
        ("bob", send("a", json!({"attachments": [picture]})), Stored(7)),
        ("root", send("r", json!({"content": "from nowhere"})), Stored(8)),
        ("gil", send("g", json!({"content": "x"})), refused("forbidden")),
        ("rita", send("g", json!({"content": "x"})), refused("not_found")),
        ("eve", send("g", json!({"content": "x"})), refused("not_found")),
    ]
}

fn bad_sends() -> Vec<Step> {
    let long = "x".repeat(1001);
    let bulky = json!({"a": long, "b": long, "c": long, "d": long, "e": long});
    let of_x = |fields: Value| with(send("b", json!({"content": "x"})), &fields);
    let bad = [
        (send("b", json!({})), wrong("content")),
        (send("b", json!({"content": ""})), wrong("content")),
        (send("b", json!({"content": 7})), wrong("content")),
        (send("b", json!({"content": "a\u{7}b"})), wrong("content")),
        (send("b", json!({"content": long})), refused_for("too_large", "content")),
        (send("", json!({"content": "x"})), wrong("client_id")),
        (of_x(json!({"kind": "No"})), wrong("kind")),
        (of_x(json!({"reply_to": 0})), wrong("reply_to")),
        (of_x(json!({"visible_to": {}})), wrong("visible_to")),
        (of_x(json!({"visible_to": {"users": null, "roles": null}})), wrong("visible_to")),
        (of_x(json!({"visible_to": {"users": ["a b"]}})), wrong("visible_to")),
        (of_x(json!({"attachments": [{"name": "a"}]})), wrong("attachments")),
        (of_x(json!({"metadata": 7})), wrong("metadata")),
        (of_x(json!({"metadata": bulky})), refused_for("too_large", "metadata")),
        (of_x(json!({"ack": "maybe"})), wrong("ack")),
        (of_x(json!({"attempt": "one"})), wrong("attempt")),
    ];
    bad.map(|(frame, outcome)| ("alice", frame, outcome)).into()
}

fn changes() -> Vec<Step> {
    let x = || json!({"content": "x"});
    let over_bob = json!({"content": "mine to edit", "metadata": {"x": 1}, "client_id": "f"});
    let other = json!({"content": "x", "id": "00000000-0000-0000-0000-000000000000"});
    vec![
        ("alice", edit(2, json!({"content": "hello again", "client_id": "e"})), Stored(9)),
        ("alice", edit(2, json!({"content": "and again", "client_id": "e"})), Repeated(9)),
        ("bob", edit(2, json!({"content": "not mine"})), refused("forbidden")),
        ("alice", edit(3, over_bob), Stored(10)),
        ("root", edit(3, json!({"content": "anyone's", "client_id": "f"})), Stored(11)),
        ("gil", edit(2, x()), refused("forbidden")),
        ("eve", edit(2, x()), refused("not_found")),
        ("rita", edit(2, x()), refused("not_found")),
        ("alice", edit(999, x()), refused("not_found")),
        // Seq 1 is the removal of rita and not a message.
        ("alice", edit(1, x()), refused("not_found")),
        ("alice", edit(2, json!({"content": ""})), wrong("content")),
        // A message with attachments may have empty content.
        ("bob", edit(7, json!({"content": "", "client_id": "h"})), Stored(12)),
        ("alice", edit(2, json!({"content": "x".repeat(1001)})), refused_for("too_large", "content")),
        ("alice", edit(2, other), refused_for("conflict", "id")),
        ("alice", edit(2, json!({"content": "x", "id": "seven"})), wrong("id")),
    ]
}

fn changes_of_private_messages() -> Vec<Step> {
    let with_id = |client_id: &str| with(react(4, "👍"), &json!({"client_id": client_id}));
    let taken_back = json!({"type": "reaction:remove", "seq": 4, "emoji": "👍", "client_id": "r3"});
    vec![
        // A message that a user may not see is not found.
        ("carol", react(4, "👍"), refused("not_found")),
        ("carol", delete(4, json!({})), refused("not_found")),
        ("tim", react(5, "👍"), refused("not_found")),
        ("bob", react(6, "👍"), refused("not_found")),
        ("bob", with_id("r1"), Stored(13)),
        ("bob", with_id("r2"), Stored(14)),
        ("gil", react(2, "👍"), refused("forbidden")),
        ("bob", react(2, "a b"), wrong("emoji")),
        ("bob", react(2, &"x".repeat(33)), wrong("emoji")),
        ("bob", taken_back, Stored(15)),
    ]
}

fn deletions() -> Vec<Step> {
    vec![
        ("carol", delete(2, json!({})), refused("forbidden")),
        ("alice", delete(2, json!({"client_id": "d"})), Stored(16)),
        ("alice", delete(2, json!({"client_id": "d"})), Repeated(16)),
        ("alice", edit(2, json!({"content": "too late"})), refused("conflict")),
        ("bob", react(2, "👍"), refused("conflict")),
    ]
}

fn marks() -> Vec<Step> {
    vec![
        ("bob", mark("read", json!(3)), Marked(Some(3))),
        // A mark never moves back.
        ("bob", mark("read", json!(2)), Marked(Some(3))),
        ("bob", mark("delivered", json!(4)), Marked(Some(4))),
        // A mark above the head is set to the head.
        ("gil", mark("read", json!(1_000_000)), Marked(Some(16))),
        ("eve", mark("read", json!(1)), refused("not_found")),
        ("rita", mark("read", json!(1)), refused("not_found")),
        ("bob", mark("read", json!(-1)), wrong("seq")),
        ("bob", mark("delivered", json!("x")), wrong("seq")),
    ]
}
