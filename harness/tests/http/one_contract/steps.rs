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

fn bad_field(field: &str) -> Outcome {
    refused_for("bad_request", field)
}

fn with_fields(mut frame: Value, fields: &Value) -> Value {
    frame.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    frame
}

pub fn send(client_id: &str, fields: Value) -> Value {
    with_fields(json!({"type": "message:send", "client_id": client_id}), &fields)
}

fn edit(seq: u64, fields: Value) -> Value {
    with_fields(json!({"type": "message:edit", "seq": seq}), &fields)
}

fn delete(seq: u64, fields: Value) -> Value {
    with_fields(json!({"type": "message:delete", "seq": seq}), &fields)
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
    let full = json!({"content": "bob has a 1 of his own", "kind": "note", "reply_to": 2, "metadata": {"b": 1, "a": [1.0]},
        "mentions": ["alice", "gil"]});
    let both = json!({"content": "psst", "visible_to": {"users": ["bob"], "roles": ["tutor"]}, "mentions": ["bob", "tim"]});
    // `null` means the same as a missing field, also inside a field.
    let to_bob = json!({"content": "psst, bob", "visible_to": {"users": ["bob"], "roles": null}});
    let to_tutors = json!({"content": "psst, tim", "visible_to": {"users": null, "roles": ["tutor"]}});
    let picture = json!({"name": "a", "url": "https://x.example/a", "media_type": "image/png", "size": 1});
    vec![
        ("alice", send("1", json!({"content": "hello\n🙂"})), Stored(2)),
        ("alice", send("1", json!({"content": "other"})), Repeated(2)),
        // A repetition is answered although eve is no member.
        ("alice", send("1", json!({"content": "other", "mentions": ["eve"]})), Repeated(2)),
        // The first send is already stored, so the answer is `stored` although only `accepted` is requested.
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
    let of_x = |fields: Value| with_fields(send("b", json!({"content": "x"})), &fields);
    let bad = [
        (send("b", json!({})), bad_field("content")),
        (send("b", json!({"content": ""})), bad_field("content")),
        (send("b", json!({"content": 7})), bad_field("content")),
        (send("b", json!({"content": "a\u{7}b"})), bad_field("content")),
        (send("b", json!({"content": long})), refused_for("too_large", "content")),
        (send("", json!({"content": "x"})), bad_field("client_id")),
        (of_x(json!({"kind": "No"})), bad_field("kind")),
        (of_x(json!({"reply_to": 0})), bad_field("reply_to")),
        (of_x(json!({"visible_to": {}})), bad_field("visible_to")),
        (of_x(json!({"visible_to": {"users": null, "roles": null}})), bad_field("visible_to")),
        (of_x(json!({"visible_to": {"users": ["a b"]}})), bad_field("visible_to")),
        (of_x(json!({"attachments": [{"name": "a"}]})), bad_field("attachments")),
        (of_x(json!({"metadata": 7})), bad_field("metadata")),
        (of_x(json!({"metadata": bulky})), refused_for("too_large", "metadata")),
        (of_x(json!({"mentions": "bob"})), bad_field("mentions")),
        (of_x(json!({"mentions": ["bob", "bob"]})), bad_field("mentions")),
        (of_x(json!({"mentions": vec!["bob"; 21]})), refused_for("too_large", "mentions")),
        // A user of other rooms, a former member, a user who does not exist, and a member who may not see the message.
        (of_x(json!({"mentions": ["bob", "eve"]})), bad_field("mentions")),
        (of_x(json!({"mentions": ["rita"]})), bad_field("mentions")),
        (of_x(json!({"mentions": ["nobody"]})), bad_field("mentions")),
        (of_x(json!({"mentions": ["tim"], "visible_to": {"users": ["bob"]}})), bad_field("mentions")),
        (of_x(json!({"mentions": ["bob"], "visible_to": {"roles": ["tutor"]}})), bad_field("mentions")),
        (of_x(json!({"ack": "maybe"})), bad_field("ack")),
        (of_x(json!({"attempt": "one"})), bad_field("attempt")),
    ];
    bad.map(|(frame, outcome)| ("alice", frame, outcome)).into()
}

fn changes() -> Vec<Step> {
    let x = || json!({"content": "x"});
    let over_bob = json!({"content": "mine to edit", "metadata": {"x": 1}, "client_id": "f"});
    let other = json!({"content": "x", "id": "00000000-0000-0000-0000-000000000000"});
    vec![
        (
            "alice",
            edit(2, json!({"content": "hello again", "client_id": "e", "mentions": ["bob"]})),
            Stored(9),
        ),
        ("alice", edit(2, json!({"content": "and again", "client_id": "e"})), Repeated(9)),
        ("alice", edit(2, json!({"content": "x", "client_id": "e", "mentions": ["eve"]})), Repeated(9)),
        ("alice", edit(2, json!({"content": "x", "mentions": ["eve"]})), bad_field("mentions")),
        ("alice", edit(5, json!({"content": "x", "mentions": ["tim"]})), bad_field("mentions")),
        ("bob", edit(2, json!({"content": "not mine"})), refused("forbidden")),
        ("alice", edit(3, over_bob), Stored(10)),
        ("root", edit(3, json!({"content": "anyone's", "client_id": "f"})), Stored(11)),
        ("gil", edit(2, x()), refused("forbidden")),
        ("eve", edit(2, x()), refused("not_found")),
        ("rita", edit(2, x()), refused("not_found")),
        ("alice", edit(999, x()), refused("not_found")),
        // Seq 1 is the removal of rita and not a message.
        ("alice", edit(1, x()), refused("not_found")),
        ("alice", edit(2, json!({"content": ""})), bad_field("content")),
        // A message with attachments may have empty content.
        ("bob", edit(7, json!({"content": "", "client_id": "h"})), Stored(12)),
        ("alice", edit(2, json!({"content": "x".repeat(1001)})), refused_for("too_large", "content")),
        ("alice", edit(2, other), refused_for("conflict", "id")),
        ("alice", edit(2, json!({"content": "x", "id": "seven"})), bad_field("id")),
    ]
}

fn changes_of_private_messages() -> Vec<Step> {
    let with_id = |client_id: &str| with_fields(react(4, "👍"), &json!({"client_id": client_id}));
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
        ("bob", react(2, "a b"), bad_field("emoji")),
        ("bob", react(2, &"x".repeat(65)), bad_field("emoji")),
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
        // A mark above the head is lowered to the head.
        ("gil", mark("read", json!(1_000_000)), Marked(Some(16))),
        ("eve", mark("read", json!(1)), refused("not_found")),
        ("rita", mark("read", json!(1)), refused("not_found")),
        ("bob", mark("read", json!(-1)), bad_field("seq")),
        ("bob", mark("delivered", json!("x")), bad_field("seq")),
    ]
}
