//! Long poll: the same commands and events without a WebSocket, and nothing kept between two polls.

use std::{collections::BTreeMap, time::Duration, time::Instant};

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};
use tidings_harness::{Http, Stack, clock, http::Answer};

async fn stack(websocket: bool) -> Result<Stack> {
    let stack = Stack::builder().gateways(2).gateway_env("TIDINGS_WEBSOCKET", websocket);
    stack
        .gateway_env("TIDINGS_MESSAGES_PER_SECOND", 10_000)
        .gateway_env("TIDINGS_MESSAGES_BURST", 10_000)
        .start()
        .await
}

/// Someone who polls, at any gateway.
struct Poller {
    nodes: Vec<Http>,
    turn: usize,
    cursors: Map<String, Value>,
}

impl Poller {
    fn new(stack: &Stack, user: &str) -> Self {
        let nodes = stack.gateways().iter().map(|node| Http::new(&node.url(), &stack.token(user))).collect();
        Self { nodes, turn: 0, cursors: Map::new() }
    }

    fn at(mut self, room: &str, cursor: Value) -> Self {
        self.cursors.insert(room.to_owned(), cursor);
        self
    }

    /// One poll, each at the next gateway.
    async fn ask(&mut self, commands: Value, timeout_ms: u64) -> Result<Answer> {
        self.turn += 1;
        let body = json!({"cursors": self.cursors, "commands": commands, "timeout_ms": timeout_ms});
        Ok(self.nodes[self.turn % self.nodes.len()].post("/poll", body).await?)
    }

    /// One poll whose cursors are taken over, as a client does that fills no gaps.
    async fn poll(&mut self, commands: Value, timeout_ms: u64) -> Result<Value> {
        let answer = self.ask(commands, timeout_ms).await?.expect(200).body;
        self.cursors = answer["cursors"].as_object().unwrap().clone();
        Ok(answer)
    }
}

/// A message that is acked when it stands in the log.
fn quick(room: &str, content: &str) -> Value {
    json!({"room": room, "client_id": clock::client_id(), "content": content, "ack": "accepted"})
}

fn types(frames: &Value) -> Vec<&str> {
    frames.as_array().unwrap().iter().map(|frame| frame["type"].as_str().unwrap()).collect()
}

/// The log's events among those of an answer: not who comes and goes.
fn of_the_log(answer: &Value) -> Vec<&Value> {
    answer["events"].as_array().unwrap().iter().filter(|event| event["type"] != "presence").collect()
}

fn start() -> Value {
    json!({"epoch": "1", "seq": 0})
}

// Covers: POST /poll.
#[tokio::test]
async fn commands_by_poll_are_answered_in_order_each_under_its_ref() -> Result<()> {
    let stack = stack(false).await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let mut alice = Poller::new(&stack, "alice").at(&room, Value::Null);
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
    ensure!(types(answers) == ["ack", "error", "ack", "pong", "error", "error", "ok", "error"], "{answers}");
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
async fn a_poll_returns_with_the_first_event_and_else_at_its_timeout() -> Result<()> {
    let stack = stack(true).await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    let mut bob = Poller::new(&stack, "bob").at(&room, Value::Null);
    let quiet = async |bob: &mut Poller, timeout_ms| loop {
        let began = Instant::now();
        let answer = bob.poll(json!([]), timeout_ms).await?;
        if answer["events"] == json!([]) || !of_the_log(&answer).is_empty() {
            return anyhow::Ok((answer, began));
        }
    };
    let (empty, began) = quiet(&mut bob, 1_500).await?;
    ensure!(empty["events"] == json!([]) && began.elapsed() >= Duration::from_millis(1_400), "{empty}");
    ensure!(empty["cursors"][&room]["seq"] == 0, "{empty}");
    let (answer, sent) = tokio::join!(quiet(&mut bob, 25_000), async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        alice.send(&room, "hello").await
    });
    let ((answer, _), _) = (answer?, sent?);
    ensure!(
        types(&answer["events"]) == ["message:new"] && answer["events"][0]["content"] == "hello",
        "{answer}"
    );
    ensure!(answer["cursors"][&room]["seq"] == 1 && began.elapsed() < Duration::from_secs(20));
    Ok(())
}

#[tokio::test]
async fn alternating_between_nodes_loses_and_doubles_no_event_of_any_room() -> Result<()> {
    let stack = stack(true).await?;
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(stack.http("alice").new_room(&["bob"]).await?);
    }
    let alice = stack.connect("alice").await?;
    let mut bob = Poller::new(&stack, "bob");
    for room in &rooms {
        bob = bob.at(room, start());
    }
    let per_room = 80;
    let sending = async {
        for n in 0..per_room {
            for room in &rooms {
                alice.send_with(quick(room, &n.to_string())).await?;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::Ok(())
    };
    let hearing = async {
        let mut heard: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut polls = 0;
        while heard.values().map(Vec::len).sum::<usize>() < per_room * rooms.len() {
            let answer = bob.poll(json!([]), 5_000).await?;
            polls += 1;
            ensure!(polls < 2_000, "{heard:?}");
            for event in of_the_log(&answer) {
                ensure!(event["type"] == "message:new", "{event}");
                let room = event["room"].as_str().unwrap().to_owned();
                heard.entry(room).or_default().push(event["seq"].as_u64().unwrap());
            }
        }
        Ok((heard, polls))
    };
    let (sent, heard) = tokio::join!(sending, hearing);
    sent?;
    let (heard, polls) = heard?;
    ensure!(polls > 10, "{polls}");
    for room in &rooms {
        ensure!(heard[room] == (1..=per_room as u64).collect::<Vec<_>>(), "{room}: {:?}", heard[room]);
    }
    Ok(())
}

#[tokio::test]
async fn a_lost_answer_costs_nothing_and_a_long_absence_is_a_gap() -> Result<()> {
    let stack = stack(true).await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    for n in 0..5 {
        alice.send(&room, &n.to_string()).await?;
    }
    let mut bob = Poller::new(&stack, "bob").at(&room, start());
    let first = bob.ask(json!([]), 5_000).await?.expect(200).body;
    let second = bob.poll(json!([]), 5_000).await?;
    // That bob is online may be told in one of them and not in the other.
    ensure!(of_the_log(&first) == of_the_log(&second) && of_the_log(&first).len() == 5, "{first} {second}");
    for n in 0..300 {
        alice.send_with(quick(&room, &n.to_string())).await?;
    }
    let third = bob.poll(json!([]), 5_000).await?;
    let gap = of_the_log(&third)[0];
    ensure!(gap["type"] == "room:gap" && gap["after"] == 5, "{third}");
    ensure!(third["cursors"][&room] == gap["head"], "{third}");
    Ok(())
}

#[tokio::test]
async fn an_answer_that_grew_long_is_gone_on_with_by_the_next_poll() -> Result<()> {
    let stack = stack(true).await?;
    let mut rooms = Vec::new();
    for _ in 0..4 {
        rooms.push(stack.http("alice").new_room(&["bob"]).await?);
    }
    let alice = stack.connect("alice").await?;
    let text = "x".repeat(1000);
    let mut bob = Poller::new(&stack, "bob");
    for room in &rooms {
        for _ in 0..45 {
            alice.send_with(quick(room, &text)).await?;
        }
        bob = bob.at(room, start());
    }
    let mut heard: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut polls = 0;
    while heard.values().map(Vec::len).sum::<usize>() < 180 {
        let answer = bob.poll(json!([]), 3_000).await?;
        polls += 1;
        ensure!(polls < 30 && answer.to_string().len() < 200_000);
        for event in of_the_log(&answer) {
            heard
                .entry(event["room"].as_str().unwrap().into())
                .or_default()
                .push(event["seq"].as_u64().unwrap());
        }
    }
    ensure!(polls > 1, "one answer held everything");
    for (room, seqs) in heard {
        ensure!(seqs == (1..=45).collect::<Vec<_>>(), "{room}: {seqs:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_one_may_not_see_moves_the_cursor_and_is_not_told() -> Result<()> {
    let stack = stack(true).await?;
    let room = stack.http("alice").new_room(&["bob", "carol"]).await?;
    let alice = stack.connect("alice").await?;
    let private = || {
        let client_id = clock::client_id();
        json!({"room": room, "client_id": client_id, "content": "psst", "visible_to": {"users": ["carol"]}})
    };
    let mut bob = Poller::new(&stack, "bob").at(&room, start());
    alice.send_with(private()).await?;
    let answer = bob.poll(json!([]), 300).await?;
    ensure!(of_the_log(&answer).is_empty() && answer["cursors"][&room]["seq"] == 1, "{answer}");
    let (answer, sent) = tokio::join!(bob.poll(json!([]), 1_500), alice.send_with(private()));
    sent?;
    let mut answer = answer?;
    for _ in 0..5 {
        if answer["cursors"][&room]["seq"] != 2 {
            answer = bob.poll(json!([]), 1_500).await?;
        }
    }
    ensure!(of_the_log(&answer).is_empty() && answer["cursors"][&room]["seq"] == 2, "{answer}");
    ensure!(!answer.to_string().contains("psst"));
    Ok(())
}

#[tokio::test]
async fn rooms_that_are_not_ones_own_fail_alone() -> Result<()> {
    let stack = stack(true).await?;
    let mine = stack.http("alice").new_room(&["bob"]).await?;
    let theirs = stack.http("alice").new_room(&["carol"]).await?;
    let public = stack.http("alice").post("/rooms", json!({"kind": "public"})).await?.expect(201).body;
    let public = public["room"].as_str().unwrap();
    let mut bob = Poller::new(&stack, "bob").at(&mine, Value::Null).at(&theirs, start()).at(public, start());
    let answer = bob.poll(json!([]), 2_000).await?;
    let mut failed: Vec<_> =
        answer["failed"].as_array().unwrap().iter().map(|room| room["code"].clone()).collect();
    failed.sort_by_key(ToString::to_string);
    ensure!(failed == ["forbidden", "not_found"], "{answer}");
    ensure!(
        answer["cursors"].as_object().unwrap().len() == 3 && answer["cursors"][&theirs] == start(),
        "{answer}"
    );
    Ok(())
}

#[tokio::test]
async fn who_may_not_poll_is_told_why() -> Result<()> {
    let stack = stack(true).await?;
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
async fn the_list_of_rooms_being_another_is_told_at_once() -> Result<()> {
    let stack = stack(true).await?;
    stack.http("alice").new_room(&["bob"]).await?;
    let http = Http::new(&stack.gateway(0).url(), &stack.token("bob"));
    let first = http.post("/poll", json!({"timeout_ms": 0})).await?.expect(200).body;
    let version = first["rooms_version"].clone();
    stack.http("alice").new_room(&["bob"]).await?;
    let second =
        http.post("/poll", json!({"timeout_ms": 20_000, "rooms_version": version})).await?.expect(200).body;
    ensure!(types(&second["events"]) == ["rooms:changed"], "{second}");
    ensure!(
        second["events"][0]["rooms_version"] == second["rooms_version"] && second["rooms_version"] != version
    );
    Ok(())
}

#[tokio::test]
async fn a_stopping_node_answers_its_polls_at_once() -> Result<()> {
    let stack = stack(true).await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let http = Http::new(&stack.gateway(0).url(), &stack.token("bob"));
    let poll = tokio::spawn(async move {
        http.post("/poll", json!({"cursors": {room: null}, "timeout_ms": 30_000})).await
    });
    tokio::time::sleep(Duration::from_millis(700)).await;
    let began = Instant::now();
    stack.gateway(0).terminate()?;
    let answer = poll.await??.expect(200).body;
    ensure!(answer["events"] == json!([]) && began.elapsed() < Duration::from_secs(10), "{answer}");
    Ok(())
}
