//! The same command by WebSocket, by HTTP and by poll: the same answer, the same refusal, the same effect.

#![allow(clippy::unwrap_used)]

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::{ClientError, Http, Stack, http::encode};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Frame,
    Http,
    Poll,
}

const WAYS: [Way; 3] = [Way::Frame, Way::Http, Way::Poll];

/// Who, and which frame less its room.
type Step = (&'static str, Value);

fn send(client_id: &str, fields: Value) -> Value {
    let mut frame = json!({"type": "message:send", "client_id": client_id});
    frame.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    frame
}

fn steps() -> Vec<Step> {
    let change = |kind: &str, seq: Value, fields: Value| {
        let mut frame = json!({"type": kind, "seq": seq});
        frame.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        frame
    };
    let long = "x".repeat(1001);
    vec![
        ("alice", send("1", json!({"content": "hello\n🙂"}))),
        ("alice", send("1", json!({"content": "other"}))),
        // It is known by then that the first is stored, and that is what is told.
        ("alice", send("1", json!({"content": "other", "ack": "accepted"}))),
        (
            "bob",
            send(
                "1",
                json!({"content": "bob has a 1 of his own", "kind": "note", "reply_to": 1, "metadata": {"b": 1, "a": [1.0]}}),
            ),
        ),
        (
            "alice",
            send("2", json!({"content": "psst", "visible_to": {"users": ["bob"], "roles": ["tutor"]}})),
        ),
        (
            "bob",
            send(
                "a",
                json!({"attachments": [{"name": "a", "url": "https://x.example/a", "media_type": "image/png", "size": 1}]}),
            ),
        ),
        ("root", send("r", json!({"content": "from nowhere"}))),
        ("gil", send("g", json!({"content": "x"}))),
        ("rita", send("g", json!({"content": "x"}))),
        ("eve", send("g", json!({"content": "x"}))),
        // What is wrong with a message.
        ("alice", send("b", json!({}))),
        ("alice", send("b", json!({"content": ""}))),
        ("alice", send("b", json!({"content": 7}))),
        ("alice", send("b", json!({"content": "a\u{7}b"}))),
        ("alice", send("b", json!({"content": long}))),
        ("alice", send("", json!({"content": "x"}))),
        ("alice", send("b", json!({"content": "x", "kind": "No"}))),
        ("alice", send("b", json!({"content": "x", "reply_to": 0}))),
        ("alice", send("b", json!({"content": "x", "visible_to": {}}))),
        ("alice", send("b", json!({"content": "x", "visible_to": {"users": ["a b"]}}))),
        ("alice", send("b", json!({"content": "x", "attachments": [{"name": "a"}]}))),
        ("alice", send("b", json!({"content": "x", "metadata": 7}))),
        (
            "alice",
            send(
                "b",
                json!({"content": "x", "metadata": {"a": long, "b": long, "c": long, "d": long, "e": 1}}),
            ),
        ),
        ("alice", send("b", json!({"content": "x", "ack": "maybe"}))),
        ("alice", send("b", json!({"content": "x", "attempt": "one"}))),
        // Changes.
        ("alice", change("message:edit", json!(1), json!({"content": "hello again", "client_id": "e"}))),
        ("alice", change("message:edit", json!(1), json!({"content": "and again", "client_id": "e"}))),
        ("bob", change("message:edit", json!(1), json!({"content": "not mine"}))),
        (
            "alice",
            change(
                "message:edit",
                json!(2),
                json!({"content": "mine to edit", "metadata": {"x": 1}, "client_id": "f"}),
            ),
        ),
        ("root", change("message:edit", json!(2), json!({"content": "anyone's", "client_id": "f"}))),
        ("gil", change("message:edit", json!(1), json!({"content": "x"}))),
        ("eve", change("message:edit", json!(1), json!({"content": "x"}))),
        ("rita", change("message:edit", json!(1), json!({"content": "x"}))),
        ("alice", change("message:edit", json!(999), json!({"content": "x"}))),
        ("alice", change("message:edit", json!(1), json!({"content": ""}))),
        ("alice", change("message:edit", json!(1), json!({"content": long}))),
        (
            "alice",
            change(
                "message:edit",
                json!(1),
                json!({"content": "x", "id": "00000000-0000-0000-0000-000000000000"}),
            ),
        ),
        ("alice", change("message:edit", json!(1), json!({"content": "x", "id": "seven"}))),
        // Not theirs to see, so not there.
        ("carol", change("reaction:add", json!(3), json!({"emoji": "👍"}))),
        ("carol", change("message:delete", json!(3), json!({}))),
        ("bob", change("reaction:add", json!(3), json!({"emoji": "👍", "client_id": "r1"}))),
        ("bob", change("reaction:add", json!(3), json!({"emoji": "👍", "client_id": "r2"}))),
        ("gil", change("reaction:add", json!(1), json!({"emoji": "👍"}))),
        ("bob", change("reaction:add", json!(1), json!({"emoji": "a b"}))),
        ("bob", change("reaction:add", json!(1), json!({"emoji": "x".repeat(33)}))),
        ("bob", change("reaction:remove", json!(3), json!({"emoji": "👍", "client_id": "r3"}))),
        ("carol", change("message:delete", json!(1), json!({}))),
        ("alice", change("message:delete", json!(1), json!({"client_id": "d"}))),
        ("alice", change("message:delete", json!(1), json!({"client_id": "d"}))),
        ("alice", change("message:edit", json!(1), json!({"content": "too late"}))),
        ("bob", change("reaction:add", json!(1), json!({"emoji": "👍"}))),
        // Marks.
        ("bob", json!({"type": "message:read", "seq": 2})),
        ("bob", json!({"type": "message:delivered", "seq": 3})),
        ("gil", json!({"type": "message:read", "seq": 1_000_000})),
        ("eve", json!({"type": "message:read", "seq": 1})),
        ("rita", json!({"type": "message:read", "seq": 1})),
        ("bob", json!({"type": "message:read", "seq": -1})),
        ("bob", json!({"type": "message:delivered", "seq": "x"})),
    ]
}

/// A refusal, or what of an answer does not depend on ids and times.
fn outcome(answer: &Value) -> Value {
    if answer["code"].is_string() {
        return json!({"code": answer["code"], "reason": answer["reason"], "field": answer["field"]});
    }
    let is_ack = answer["stage"].is_string();
    if is_ack {
        json!({"seq": answer["seq"], "stage": answer["stage"], "duplicate": answer["duplicate"]})
    } else {
        json!("ok")
    }
}

async fn carry_out(stack: &Stack, way: Way, room: &str, (user, frame): &Step) -> Result<Value> {
    let token = if *user == "root" { stack.admin_token(user) } else { stack.token(user) };
    let mut frame = frame.clone();
    frame["room"] = json!(room);
    match way {
        Way::Frame => {
            let client = tidings_harness::Client::connect(&stack.gateway(0).ws(), &token).await?;
            match client.ask(frame).await {
                Ok((_, answer)) => Ok(outcome(&answer)),
                Err(ClientError::Answered(error)) => {
                    Ok(json!({"code": error.code, "reason": error.reason, "field": error.field}))
                }
                Err(error) => Err(error.into()),
            }
        }
        Way::Poll => {
            let http = Http::new(&stack.gateway(1).url(), &token);
            let answer = http.post("/poll", json!({"commands": [frame]})).await?.expect(200).body;
            Ok(outcome(&answer["answers"][0]))
        }
        Way::Http => {
            let http = stack.http(user).with_token(&token);
            let part = |value: &Value| match value {
                Value::String(text) => encode(text),
                other => other.to_string(),
            };
            let message = format!("/rooms/{room}/messages/{}", part(&frame["seq"]));
            let (method, path) = match frame["type"].as_str().unwrap() {
                "message:send" => (Method::POST, format!("/rooms/{room}/messages")),
                "message:edit" => (Method::PATCH, message),
                "message:delete" => (Method::DELETE, message),
                "reaction:add" => (Method::PUT, format!("{message}/reactions/{}", part(&frame["emoji"]))),
                "reaction:remove" => {
                    (Method::DELETE, format!("{message}/reactions/{}", part(&frame["emoji"])))
                }
                "message:read" => (Method::POST, format!("/rooms/{room}/read")),
                "message:delivered" => (Method::POST, format!("/rooms/{room}/delivered")),
                other => anyhow::bail!("no path for {other}"),
            };
            let mut body = frame.as_object().unwrap().clone();
            let in_path = if path.ends_with("/read") || path.ends_with("/delivered") {
                &["type", "room"][..]
            } else {
                &["type", "room", "seq", "emoji"]
            };
            in_path.iter().for_each(|field| drop(body.remove(*field)));
            let answer = http.request(method, &path, Some(Value::Object(body))).await?;
            Ok(outcome(&answer.body))
        }
    }
}

/// A room's log without ids and times, as somebody sees it.
async fn log_of(stack: &Stack, room: &str, user: &str) -> Result<Vec<Value>> {
    let page = stack.http(user).events(room, "after=0&limit=200").await?.expect(200).body;
    let mut events: Vec<Value> = page["events"].as_array().unwrap().clone();
    for event in &mut events {
        let fields = event.as_object_mut().unwrap();
        for name in ["id", "at", "edited_at", "target_id", "room"] {
            fields.remove(name);
        }
        // Changes that were given no client id have one of the server's.
        if fields["type"] != "message:new" {
            fields.remove("client_id");
        }
    }
    Ok(events)
}

// Covers: message:send, message:edit, message:delete, reaction:add, reaction:remove, message:read, message:delivered.
// Covers: POST /rooms/{room}/messages, PATCH /rooms/{room}/messages/{seq}, DELETE /rooms/{room}/messages/{seq}.
// Covers: PUT /rooms/{room}/messages/{seq}/reactions/{emoji}, DELETE /rooms/{room}/messages/{seq}/reactions/{emoji}.
// Covers: POST /rooms/{room}/read, POST /rooms/{room}/delivered, POST /poll.
// Covers: bad_request, forbidden, not_found, conflict, too_large.
#[tokio::test]
async fn each_command_has_one_result_whichever_way_it_comes() -> Result<()> {
    let stack = Stack::builder().gateways(2);
    let stack = stack
        .gateway_env("TIDINGS_MESSAGES_PER_SECOND", 10_000)
        .gateway_env("TIDINGS_MESSAGES_BURST", 10_000)
        .persistence_env("TIDINGS_MESSAGES_PER_SECOND", 10_000)
        .persistence_env("TIDINGS_MESSAGES_BURST", 10_000)
        .start()
        .await?;
    let mut rooms = Vec::new();
    for _ in WAYS {
        let members = json!([
            {"user": "bob"}, {"user": "carol"}, {"user": "gil", "role": "guest"}, {"user": "tim", "role": "tutor"},
            {"user": "rita"},
        ]);
        let room = json!({"kind": "private", "members": members});
        let room = stack.http("alice").post("/rooms", room).await?.expect(201).body["room"].clone();
        let room = room.as_str().unwrap().to_owned();
        let path = format!("/rooms/{room}/members/rita");
        stack.http("alice").request(Method::DELETE, &path, None).await?.expect(200);
        rooms.push(room);
    }
    let mut differing = Vec::new();
    for step in steps() {
        let mut outcomes = Vec::new();
        for (way, room) in WAYS.into_iter().zip(&rooms) {
            // The removal of rita is the first event of each room.
            let mut step = step.clone();
            if let Some(seq) = step.1["seq"].as_u64().filter(|seq| (1..100).contains(seq)) {
                step.1["seq"] = json!(seq + 1);
            }
            outcomes.push(carry_out(&stack, way, room, &step).await?);
        }
        if outcomes.iter().any(|outcome| *outcome != outcomes[0]) {
            differing.push(format!("{} {}: {outcomes:?}", step.0, step.1));
        }
    }
    ensure!(differing.is_empty(), "{}", differing.join("\n"));
    for user in ["alice", "bob", "carol", "gil", "tim"] {
        let logs = [
            log_of(&stack, &rooms[0], user).await?,
            log_of(&stack, &rooms[1], user).await?,
            log_of(&stack, &rooms[2], user).await?,
        ];
        ensure!(logs[0].len() > 8, "{user}: {:?}", logs[0]);
        ensure!(
            logs[0] == logs[1] && logs[0] == logs[2],
            "{user}:\n{:?}\n{:?}\n{:?}",
            logs[0],
            logs[1],
            logs[2]
        );
    }
    Ok(())
}

// Covers: conflict.
#[tokio::test]
async fn an_archived_room_refuses_changes_whichever_way_they_come() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    stack.http("alice").send(&room, "1", "before").await?.expect(201);
    stack.http("alice").request(Method::DELETE, &format!("/rooms/{room}"), None).await?.expect(204);
    let refused: [Step; 4] = [
        ("alice", send("2", json!({"content": "x"}))),
        ("alice", json!({"type": "message:edit", "seq": 1, "content": "x"})),
        ("bob", json!({"type": "reaction:add", "seq": 1, "emoji": "x"})),
        ("alice", json!({"type": "message:delete", "seq": 1})),
    ];
    for way in WAYS {
        for step in &refused {
            let outcome = carry_out(&stack, way, &room, step).await?;
            ensure!(outcome["code"] == "conflict", "{way:?} {step:?}: {outcome}");
        }
        let read = carry_out(&stack, way, &room, &("bob", json!({"type": "message:read", "seq": 1}))).await?;
        ensure!(read == "ok", "{way:?}: {read}");
    }
    Ok(())
}
