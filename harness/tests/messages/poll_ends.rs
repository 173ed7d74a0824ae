//! The end of long polls: the gateway keeps them for 10 s, and then none of their state remains. Also the end of a node,
//! polls of many rooms, polls without a waiting time, and the limit of concurrent polls.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, future::join_all, stream};
use serde_json::{Map, Value, json};
use tidings_harness::{Http, Stack};

use crate::poll_kept::continued_polls;

async fn start_stack() -> Result<Stack> {
    let roomy =
        Stack::builder().env("TIDINGS_MESSAGES_PER_SECOND", 10_000).env("TIDINGS_MESSAGES_BURST", 10_000);
    roomy.gateway_env("TIDINGS_WORKERS", 1).gateway_env("TIDINGS_POLLS_PER_SECOND", 10_000).start().await
}

fn poll_client(stack: &Stack, user: &str) -> Http {
    Http::new(&stack.gateway(0).url(), &stack.token(user))
}

/// Creates rooms of alice and bob with names of the maximum length.
async fn new_rooms(stack: &Stack, count: usize) -> Result<Vec<String>> {
    let http = stack.http("alice");
    let rooms = stream::iter(0..count).map(async |_| {
        let name = "\u{1d4cd}".repeat(200);
        let room = json!({"kind": "private", "name": name, "members": [{"user": "bob"}]});
        let created = http.post("/rooms", room).await?.expect(201).body;
        anyhow::Ok(created["room"].as_str().context("no room")?.to_owned())
    });
    rooms.buffer_unordered(8).try_collect().await
}

fn cursors(rooms: &[String]) -> Map<String, Value> {
    rooms.iter().map(|room| (room.clone(), json!({"epoch": "1", "seq": 0}))).collect()
}

async fn gauge(stack: &Stack, name: &str) -> Result<f64> {
    let page = stack.gateway(0).metrics().await?;
    let line =
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).context("no such gauge")?;
    Ok(line.parse()?)
}

#[tokio::test]
async fn ended_poll_leaves_its_rooms() -> Result<()> {
    let stack = start_stack().await?;
    let rooms = new_rooms(&stack, 20).await?;
    let alice = stack.connect("alice").await?;
    for n in 0..90 {
        let client_id = n.to_string();
        let long =
            json!({"room": rooms[0], "client_id": client_id, "content": "x".repeat(900), "ack": "accepted"});
        alice.send_with(long).await?;
    }
    let bob = poll_client(&stack, "bob");
    let body = |timeout_ms| json!({"cursors": cursors(&rooms), "timeout_ms": timeout_ms});
    for _ in 0..10 {
        // The first poll ends at once; the second one when its answer is long enough.
        bob.post("/poll", body(0)).await?.expect(200);
        bob.post("/poll", body(3_000)).await?.expect(200);
    }
    // The caller disconnects before the joins are done.
    let url = format!("{}/v1/poll", stack.gateway(0).url());
    for _ in 0..5 {
        let request =
            tidings_harness::http::client().post(&url).bearer_auth(stack.token("bob")).json(&body(2_000));
        let _ = request.timeout(Duration::from_millis(5)).send().await;
    }
    for _ in 0..250 {
        if gauge(&stack, "tidings_gateway_rooms").await? == 0.0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("{} rooms are still subscribed", gauge(&stack, "tidings_gateway_rooms").await?)
}

#[tokio::test]
async fn poll_of_many_rooms_receives_messages_of_all() -> Result<()> {
    let stack = start_stack().await?;
    let rooms = new_rooms(&stack, 320).await?;
    let alice = stack.connect("alice").await?;
    let active: BTreeSet<&str> = rooms.iter().step_by(40).map(String::as_str).collect();
    for room in &active {
        alice.send(room, "hello").await?;
    }
    let mut cursors = cursors(&rooms);
    let mut received = BTreeSet::new();
    for _ in 0..10 {
        let body = json!({"cursors": cursors, "timeout_ms": 5_000});
        let answer = poll_client(&stack, "bob").post("/poll", body).await?.expect(200).body;
        for event in
            answer["events"].as_array().unwrap().iter().filter(|event| event["type"] == "message:new")
        {
            ensure!(received.insert(event["room"].as_str().unwrap().to_owned()), "received twice: {event}");
        }
        cursors = answer["cursors"].as_object().unwrap().clone();
        if received.len() == active.len() {
            break;
        }
    }
    ensure!(
        received.iter().map(String::as_str).eq(active.iter().copied()),
        "{} of {} active rooms",
        received.len(),
        active.len()
    );
    ensure!(cursors.len() == rooms.len());
    Ok(())
}

#[tokio::test]
async fn concurrent_polls_are_limited_per_user() -> Result<()> {
    let stack = start_stack().await?;
    let (bob, carol) = (poll_client(&stack, "bob"), poll_client(&stack, "carol"));
    let polls = join_all((0..40).map(|_| bob.post("/poll", json!({"timeout_ms": 3_000}))));
    let other = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        carol.post("/poll", json!({"timeout_ms": 0})).await
    };
    let (answers, other) = tokio::join!(polls, other);
    let answers: Vec<_> = answers.into_iter().collect::<Result<_, _>>()?;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    ensure!(refused.len() == 8, "{}", refused.len());
    for answer in refused {
        ensure!(answer.code() == "rate_limited" && answer.body["retry_after_ms"].is_u64(), "{}", answer.body);
    }
    other?.expect(200);
    bob.post("/poll", json!({"timeout_ms": 0})).await?.expect(200);
    Ok(())
}

#[tokio::test]
async fn zero_timeout_poll_returns_available_events() -> Result<()> {
    let stack = start_stack().await?;
    let rooms = new_rooms(&stack, 20).await?;
    let alice = stack.connect("alice").await?;
    for n in 0..5 {
        alice.send(&rooms[0], &n.to_string()).await?;
    }
    let bob = poll_client(&stack, "bob");
    for _ in 0..5 {
        let body = json!({"cursors": cursors(&rooms), "timeout_ms": 0});
        let answer = bob.post("/poll", body).await?.expect(200).body;
        let received = answer["events"].as_array().context("no events")?;
        let seqs: Vec<_> = received
            .iter()
            .filter(|event| event["type"] == "message:new")
            .map(|event| &event["seq"])
            .collect();
        ensure!(seqs == [1, 2, 3, 4, 5] && answer["cursors"][&rooms[0]]["seq"] == 5, "{answer}");
    }
    let send = json!({"type": "message:send", "room": rooms[1], "client_id": "c", "content": "hello"});
    let answer = bob.post("/poll", json!({"commands": [send], "timeout_ms": 0})).await?.expect(200).body;
    ensure!(answer["answers"][0]["type"] == "ack" && answer["answers"][0]["stage"] == "stored", "{answer}");
    // Polls with a timeout of 0 return at once, even without events. Otherwise a hundred of them would take minutes.
    let began = std::time::Instant::now();
    for _ in 0..100 {
        bob.post("/poll", json!({"cursors": {rooms[2].clone(): null}, "timeout_ms": 0})).await?.expect(200);
    }
    ensure!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    Ok(())
}

#[tokio::test]
async fn poll_ends_when_caller_disconnects() -> Result<()> {
    let stack = start_stack().await?;
    let rooms = new_rooms(&stack, 5).await?;
    let url = format!("{}/v1/poll", stack.gateway(0).url());
    let rooms: Map<_, _> = rooms.into_iter().map(|room| (room, Value::Null)).collect();
    for _ in 0..40 {
        let body = json!({"cursors": rooms, "timeout_ms": 25_000});
        let request = tidings_harness::http::client().post(&url).bearer_auth(stack.token("bob")).json(&body);
        let _ = request.timeout(Duration::from_millis(50)).send().await;
    }
    poll_client(&stack, "bob").post("/poll", json!({"timeout_ms": 0})).await?.expect(200);
    for _ in 0..250 {
        if gauge(&stack, "tidings_gateway_rooms").await? == 0.0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("{} rooms are still subscribed", gauge(&stack, "tidings_gateway_rooms").await?)
}

#[tokio::test]
async fn stopping_node_answers_polls_at_once() -> Result<()> {
    let stack = start_stack().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let http = poll_client(&stack, "bob");
    let mut cursors = json!({room: null});
    // The first answers may contain bob's own presence.
    loop {
        let answer =
            http.post("/poll", json!({"cursors": cursors, "timeout_ms": 1_000})).await?.expect(200).body;
        cursors = answer["cursors"].clone();
        if answer["events"] == json!([]) {
            break;
        }
    }
    let before = continued_polls(&stack).await?;
    let body = json!({"cursors": cursors, "timeout_ms": 30_000});
    let poll = tokio::spawn(async move { http.post("/poll", body).await });
    while continued_polls(&stack).await? == before {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let began = Instant::now();
    stack.gateway(0).terminate()?;
    let answer = poll.await??.expect(200).body;
    ensure!(answer["events"] == json!([]) && began.elapsed() < Duration::from_secs(10), "{answer}");
    Ok(())
}
