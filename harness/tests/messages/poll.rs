//! Long polls: the same commands and events without a WebSocket, on any gateway.

use std::{collections::BTreeMap, time::Duration, time::Instant};

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};
use tidings_harness::{Http, Stack, System, clock, http::Answer};

/// A polling user who alternates between gateways.
struct Poller {
    nodes: Vec<Http>,
    turn: usize,
    cursors: Map<String, Value>,
}

impl Poller {
    fn new(stack: &impl System, user: &str) -> Self {
        let node = |number| Http::new(&stack.gateway_url(number), &stack.token(user));
        Self { nodes: vec![node(0), node(1)], turn: 0, cursors: Map::new() }
    }

    fn with_cursor(mut self, room: &str, cursor: Value) -> Self {
        self.cursors.insert(room.to_owned(), cursor);
        self
    }

    /// Sends one poll to the next gateway.
    async fn ask(&mut self, commands: Value, timeout_ms: u64) -> Result<Answer> {
        self.turn += 1;
        let body = json!({"cursors": self.cursors, "commands": commands, "timeout_ms": timeout_ms});
        Ok(self.nodes[self.turn % self.nodes.len()].post("/poll", body).await?)
    }

    /// Sends one poll and keeps its cursors, like a client that does not fill gaps.
    async fn poll(&mut self, commands: Value, timeout_ms: u64) -> Result<Value> {
        let answer = self.ask(commands, timeout_ms).await?.expect(200).body;
        self.cursors = answer["cursors"].as_object().unwrap().clone();
        Ok(answer)
    }
}

fn accepted_message(room: &str, content: &str) -> Value {
    json!({"room": room, "client_id": clock::client_id(), "content": content, "ack": "accepted"})
}

fn frame_types(frames: &Value) -> Vec<&str> {
    frames.as_array().unwrap().iter().map(|frame| frame["type"].as_str().unwrap()).collect()
}

/// The log events of an answer, without presence.
fn log_events(answer: &Value) -> Vec<&Value> {
    answer["events"].as_array().unwrap().iter().filter(|event| event["type"] != "presence").collect()
}

fn start_cursor() -> Value {
    json!({"epoch": "1", "seq": 0})
}

// Covers: POST /poll.
#[tokio::test]
async fn poll_commands_are_answered_in_order_with_their_ref() -> Result<()> {
    let stack = Stack::builder().gateways(2).gateway_env("TIDINGS_WEBSOCKET", false).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let mut alice = Poller::new(&stack, "alice").with_cursor(&room, Value::Null);
    let commands = json!([
        {"type": "message:send", "room": room, "client_id": "1", "content": "hello", "ref": "a\"b"},
        {"type": "message:send", "room": room, "client_id": "2", "content": ""},
        {"type": "message:send", "room": room, "client_id": "1", "content": "again", "ref": "again", "ack": "accepted"},
        {"type": "ping", "ref": "p"},
        {"type": "auth", "token": "x", "ref": "t"},
        {"type": "room:join", "room": room},
        {"type": "message:read", "room": room, "seq": 1},
        7,
    ]);
    let answer = alice.poll(commands, 10_000).await?;
    let answers = &answer["answers"];
    ensure!(
        frame_types(answers) == ["ack", "error", "ack", "pong", "error", "error", "ok", "error"],
        "{answers}"
    );
    ensure!((answers[0]["ref"].as_str(), answers[0]["stage"].as_str()) == (Some("a\"b"), Some("stored")));
    ensure!(
        answers[1]["code"] == "bad_request"
            && answers[1]["field"] == "content"
            && answers[1].get("ref").is_none()
    );
    ensure!(answers[2]["duplicate"] == true && answers[2]["seq"] == 1 && answers[2]["ref"] == "again");
    ensure!(
        answers[4]["code"] == "bad_request"
            && answers[4]["ref"] == "t"
            && answers[5]["code"] == "bad_request"
    );
    ensure!(answers[7]["code"] == "bad_request", "{answers}");
    ensure!(
        answer["user"] == "alice"
            && answer["websocket"] == false
            && answer["limits"]["max_message_chars"] == 1000
    );
    ensure!(answer["server_time"].is_string() && answer["rooms_version"].is_string());
    Ok(())
}

#[tokio::test]
async fn poll_returns_at_first_event_or_timeout() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    let mut bob = Poller::new(&stack, "bob").with_cursor(&room, Value::Null);
    let poll_without_presence = async |bob: &mut Poller, timeout_ms| loop {
        let began = Instant::now();
        let answer = bob.poll(json!([]), timeout_ms).await?;
        if answer["events"] == json!([]) || !log_events(&answer).is_empty() {
            return anyhow::Ok((answer, began));
        }
    };
    let (empty, began) = poll_without_presence(&mut bob, 1_500).await?;
    ensure!(empty["events"] == json!([]) && began.elapsed() >= Duration::from_millis(1_400), "{empty}");
    ensure!(empty["cursors"][&room]["seq"] == 0, "{empty}");
    let (answer, sent) = tokio::join!(poll_without_presence(&mut bob, 25_000), async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        alice.send(&room, "hello").await
    });
    let ((answer, _), _) = (answer?, sent?);
    ensure!(
        frame_types(&answer["events"]) == ["message:new"] && answer["events"][0]["content"] == "hello",
        "{answer}"
    );
    ensure!(answer["cursors"][&room]["seq"] == 1 && began.elapsed() < Duration::from_secs(20));
    Ok(())
}

#[tokio::test]
async fn alternating_nodes_lose_and_duplicate_no_event() -> Result<()> {
    let stack = Stack::shared().await?;
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(stack.http("alice").new_room(&["bob"]).await?);
    }
    let alice = stack.connect("alice").await?;
    let mut bob = Poller::new(&stack, "bob");
    for room in &rooms {
        bob = bob.with_cursor(room, start_cursor());
    }
    let per_room = 80;
    let sending = async {
        for n in 0..per_room {
            for room in &rooms {
                alice.send_with(accepted_message(room, &n.to_string())).await?;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::Ok(())
    };
    let polling = async {
        let mut received: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut polls = 0;
        while received.values().map(Vec::len).sum::<usize>() < per_room * rooms.len() {
            let answer = bob.poll(json!([]), 5_000).await?;
            polls += 1;
            ensure!(polls < 2_000, "{received:?}");
            for event in log_events(&answer) {
                ensure!(event["type"] == "message:new", "{event}");
                let room = event["room"].as_str().unwrap().to_owned();
                received.entry(room).or_default().push(event["seq"].as_u64().unwrap());
            }
        }
        Ok((received, polls))
    };
    let (sent, received) = tokio::join!(sending, polling);
    sent?;
    let (received, polls) = received?;
    ensure!(polls > 10, "{polls}");
    for room in &rooms {
        ensure!(received[room] == (1..=per_room as u64).collect::<Vec<_>>(), "{room}: {:?}", received[room]);
    }
    Ok(())
}

#[tokio::test]
async fn lost_answer_is_repeated_and_long_absence_is_gap() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    for n in 0..5 {
        alice.send(&room, &n.to_string()).await?;
    }
    let mut bob = Poller::new(&stack, "bob").with_cursor(&room, start_cursor());
    let first = bob.ask(json!([]), 5_000).await?.expect(200).body;
    let second = bob.poll(json!([]), 5_000).await?;
    // Bob's own presence may be in only one of the two answers.
    ensure!(log_events(&first) == log_events(&second) && log_events(&first).len() == 5, "{first} {second}");
    for n in 0..300 {
        alice.send_with(accepted_message(&room, &n.to_string())).await?;
    }
    let third = bob.poll(json!([]), 5_000).await?;
    let gap = log_events(&third)[0];
    ensure!(gap["type"] == "room:gap" && gap["after"] == 5, "{third}");
    ensure!(third["cursors"][&room] == gap["head"], "{third}");
    Ok(())
}

#[tokio::test]
async fn long_answer_is_continued_by_next_poll() -> Result<()> {
    let stack = Stack::shared().await?;
    let mut rooms = Vec::new();
    for _ in 0..4 {
        rooms.push(stack.http("alice").new_room(&["bob"]).await?);
    }
    let alice = stack.connect("alice").await?;
    let text = "x".repeat(1000);
    let mut bob = Poller::new(&stack, "bob");
    for room in &rooms {
        for _ in 0..45 {
            alice.send_with(accepted_message(room, &text)).await?;
        }
        bob = bob.with_cursor(room, start_cursor());
    }
    let mut received: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut polls = 0;
    while received.values().map(Vec::len).sum::<usize>() < 180 {
        let answer = bob.poll(json!([]), 3_000).await?;
        polls += 1;
        ensure!(polls < 30 && answer.to_string().len() < 200_000);
        for event in log_events(&answer) {
            received
                .entry(event["room"].as_str().unwrap().into())
                .or_default()
                .push(event["seq"].as_u64().unwrap());
        }
    }
    ensure!(polls > 1, "one answer contained everything");
    for (room, seqs) in received {
        ensure!(seqs == (1..=45).collect::<Vec<_>>(), "{room}: {seqs:?}");
    }
    Ok(())
}

#[tokio::test]
async fn invisible_event_moves_cursor_without_being_sent() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob", "carol"]).await?;
    let alice = stack.connect("alice").await?;
    let private = || {
        let client_id = clock::client_id();
        json!({"room": room, "client_id": client_id, "content": "psst", "visible_to": {"users": ["carol"]}})
    };
    let mut bob = Poller::new(&stack, "bob").with_cursor(&room, start_cursor());
    alice.send_with(private()).await?;
    let answer = bob.poll(json!([]), 300).await?;
    ensure!(log_events(&answer).is_empty() && answer["cursors"][&room]["seq"] == 1, "{answer}");
    let (answer, sent) = tokio::join!(bob.poll(json!([]), 1_500), alice.send_with(private()));
    sent?;
    let mut answer = answer?;
    for _ in 0..5 {
        if answer["cursors"][&room]["seq"] != 2 {
            answer = bob.poll(json!([]), 1_500).await?;
        }
    }
    ensure!(log_events(&answer).is_empty() && answer["cursors"][&room]["seq"] == 2, "{answer}");
    ensure!(!answer.to_string().contains("psst"));
    Ok(())
}

#[tokio::test]
async fn inaccessible_room_fails_without_failing_poll() -> Result<()> {
    let stack = Stack::shared().await?;
    let own = stack.http("alice").new_room(&["bob"]).await?;
    let foreign = stack.http("alice").new_room(&["carol"]).await?;
    let public = stack.http("alice").post("/rooms", json!({"kind": "public"})).await?.expect(201).body;
    let public = public["room"].as_str().unwrap();
    let mut bob = Poller::new(&stack, "bob")
        .with_cursor(&own, Value::Null)
        .with_cursor(&foreign, start_cursor())
        .with_cursor(public, start_cursor());
    let answer = bob.poll(json!([]), 2_000).await?;
    let mut failed: Vec<_> =
        answer["failed"].as_array().unwrap().iter().map(|room| room["code"].clone()).collect();
    failed.sort_by_key(ToString::to_string);
    ensure!(failed == ["forbidden", "not_found"], "{answer}");
    ensure!(
        answer["cursors"].as_object().unwrap().len() == 3 && answer["cursors"][&foreign] == start_cursor(),
        "{answer}"
    );
    Ok(())
}

#[tokio::test]
async fn unauthorized_or_invalid_poll_is_refused_with_reason() -> Result<()> {
    let stack = Stack::shared().await?;
    let url = format!("{}/v1/poll", stack.gateway(0).url());
    let http = tidings_harness::http::client();
    let none = http.post(&url).body("{}").send().await?;
    ensure!(none.status() == 401 && none.headers()["www-authenticate"] == "Bearer");
    ensure!(none.json::<Value>().await?["reason"] == "missing");
    let bad = http.post(&url).bearer_auth("nonsense").body("{}").send().await?;
    ensure!(bad.json::<Value>().await?["reason"] == "malformed");
    let token = stack.token("alice");
    for (body, status) in [("[]", 400), ("{\"cursors\":7}", 400), (&"x".repeat(300 * 1024), 413)] {
        let answer = http.post(&url).bearer_auth(&token).body(body.to_owned()).send().await?;
        ensure!(answer.status() == status, "{status}: {}", answer.status());
        ensure!(answer.headers()["content-type"] == "application/problem+json");
    }
    let get = http.get(&url).bearer_auth(&token).send().await?;
    ensure!(get.status() == 405 && get.headers()["allow"] == "POST");
    let foreign = http.post(&url).bearer_auth(&token).header("origin", "https://evil.example").body("{}");
    ensure!(foreign.send().await?.status() == 403);
    Ok(())
}

#[tokio::test]
async fn changed_room_list_ends_poll_at_once() -> Result<()> {
    let stack = Stack::shared().await?;
    stack.http("alice").new_room(&["bob"]).await?;
    let http = Http::new(&stack.gateway(0).url(), &stack.token("bob"));
    let first = http.post("/poll", json!({"timeout_ms": 0})).await?.expect(200).body;
    let version = first["rooms_version"].clone();
    stack.http("alice").new_room(&["bob"]).await?;
    let second =
        http.post("/poll", json!({"timeout_ms": 20_000, "rooms_version": version})).await?.expect(200).body;
    ensure!(frame_types(&second["events"]).first() == Some(&"rooms:changed"), "{second}");
    ensure!(
        second["events"][0]["rooms_version"] == second["rooms_version"] && second["rooms_version"] != version
    );
    Ok(())
}
