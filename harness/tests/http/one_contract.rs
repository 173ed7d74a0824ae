//! A command has the same answer, refusal and effect by WebSocket, by HTTP and by poll.

mod outcome;
mod steps;

use anyhow::{Result, ensure};
use outcome::Outcome;
use reqwest::Method;
use serde_json::{Value, json};
use steps::{Step, refused, send, steps};
use tidings_harness::{Client, ClientError, Http, SharedStack, Stack, http::encode};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Transport {
    Frame,
    Http,
    Poll,
}

const TRANSPORTS: [Transport; 3] = [Transport::Frame, Transport::Http, Transport::Poll];

async fn execute(
    stack: &SharedStack,
    transport: Transport,
    room: &str,
    user: &str,
    frame: &Value,
) -> Result<Outcome> {
    let token = if user == "root" { stack.admin_token(user) } else { stack.token(user) };
    let mut frame = frame.clone();
    frame["room"] = json!(room);
    match transport {
        Transport::Frame => {
            let client = Client::connect(&stack.gateway(0).ws(), &token).await?;
            match client.ask(frame).await {
                Ok((_, answer)) => Ok(Outcome::of_frame(&answer)),
                Err(ClientError::Answered(error)) if error.reason.is_none() => {
                    Ok(Outcome::Refused(error.code, error.field))
                }
                Err(error) => Err(error.into()),
            }
        }
        Transport::Poll => {
            let http = Http::new(&stack.gateway(1).url(), &token);
            let answer = http.post("/poll", json!({"commands": [frame]})).await?.expect(200).body;
            ensure!(answer["answers"].as_array().is_some_and(|answers| answers.len() == 1), "{answer}");
            Ok(Outcome::of_frame(&answer["answers"][0]))
        }
        Transport::Http => {
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
            let answer = http.request(method.clone(), &path, Some(Value::Object(body))).await?;
            Ok(Outcome::of_answer(&method, &path, &answer))
        }
    }
}

/// A room's log as a user sees it, without ids and times.
async fn visible_log(stack: &SharedStack, room: &str, user: &str) -> Result<Vec<Value>> {
    let page = stack.http(user).events(room, "after=0&limit=200").await?.expect(200).body;
    let mut events: Vec<Value> = page["events"].as_array().unwrap().clone();
    for event in &mut events {
        let fields = event.as_object_mut().unwrap();
        for name in ["id", "at", "edited_at", "target_id", "room"] {
            fields.remove(name);
        }
        // The server chooses a client id for changes that come without one.
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
async fn command_result_is_equal_by_frame_http_and_poll() -> Result<()> {
    let stack = Stack::shared().await?;
    let mut rooms = Vec::new();
    for _ in TRANSPORTS {
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
    for (user, frame, expected) in steps() {
        for (transport, room) in TRANSPORTS.into_iter().zip(&rooms) {
            let outcome = execute(&stack, transport, room, user, &frame).await?;
            if !outcome.matches(&expected, transport) {
                differing.push(format!("{transport:?}: {user} {frame}: {outcome:?}, expected {expected:?}"));
            }
        }
    }
    ensure!(differing.is_empty(), "{}", differing.join("\n"));
    for (user, hidden) in HIDDEN_SEQS {
        let logs = [
            visible_log(&stack, &rooms[0], user).await?,
            visible_log(&stack, &rooms[1], user).await?,
            visible_log(&stack, &rooms[2], user).await?,
        ];
        let places: Vec<_> = logs[0].iter().map(|event| (&event["seq"], &event["type"])).collect();
        ensure!(json!(places) == json!(expected_log_without(hidden)), "{user}: {:?}", logs[0]);
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

/// The seqs that each user does not see: alice's messages to bob and tutors (4), to bob (5) and to tutors (6), and the
/// reactions to the first of them (13 to 15).
const HIDDEN_SEQS: [(&str, &[u64]); 5] = [
    ("alice", &[]),
    ("bob", &[6]),
    ("carol", &[4, 5, 6, 13, 14, 15]),
    ("gil", &[4, 5, 6, 13, 14, 15]),
    ("tim", &[5]),
];

/// Seqs and types of the log after all steps, without the hidden ones.
fn expected_log_without(hidden: &[u64]) -> Vec<(u64, &'static str)> {
    let stored = steps().into_iter().filter_map(|(_, frame, outcome)| {
        let Outcome::Stored(seq) = outcome else { return None };
        let kind = match frame["type"].as_str()? {
            "message:edit" => "message:edited",
            "message:delete" => "message:deleted",
            "reaction:add" => "reaction:added",
            "reaction:remove" => "reaction:removed",
            _ => "message:new",
        };
        Some((seq, kind))
    });
    [(1, "member:removed")].into_iter().chain(stored).filter(|(seq, _)| !hidden.contains(seq)).collect()
}

// Covers: conflict.
#[tokio::test]
async fn archived_room_refuses_changes_by_frame_http_and_poll() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    stack.http("alice").send(&room, "1", "before").await?.expect(201);
    stack.http("alice").request(Method::DELETE, &format!("/rooms/{room}"), None).await?.expect(204);
    let steps: [Step; 5] = [
        ("alice", send("2", json!({"content": "x"})), refused("conflict")),
        ("alice", json!({"type": "message:edit", "seq": 1, "content": "x"}), refused("conflict")),
        ("bob", json!({"type": "reaction:add", "seq": 1, "emoji": "x"}), refused("conflict")),
        ("alice", json!({"type": "message:delete", "seq": 1}), refused("conflict")),
        ("bob", json!({"type": "message:read", "seq": 1}), Outcome::Marked(Some(1))),
    ];
    for transport in TRANSPORTS {
        for (user, frame, expected) in &steps {
            let outcome = execute(&stack, transport, &room, user, frame).await?;
            ensure!(outcome.matches(expected, transport), "{transport:?}: {user} {frame}: {outcome:?}");
        }
    }
    Ok(())
}
