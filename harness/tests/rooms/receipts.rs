//! Read and delivered marks as members see them: receipts in small rooms, own reads on all devices, by WebSocket and by
//! HTTP alike.

use crate::hearing;
use std::time::{Duration, Instant};

use crate::hearing::{connect_and_join, expect_ok, frames_of_types, frames_until_quiet, new_room_with};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{Client, Stack, System};

const RECEIPT_FRAMES: &[&str] = &["receipt:read", "receipt:delivered"];

fn mark_command(kind: &str, room: &str, seq: u64) -> Value {
    json!({"type": format!("message:{kind}"), "room": room, "seq": seq})
}

/// All marks of the receipts that a connection received: type, user, seq.
async fn received_receipts(client: &Client) -> Result<Vec<(String, String, u64)>> {
    let mut all = Vec::new();
    for frame in frames_of_types(&frames_until_quiet(client).await?, RECEIPT_FRAMES) {
        for mark in frame["marks"].as_array().context("marks")? {
            let (user, seq) = (mark["user"].as_str().context("user")?, mark["seq"].as_u64().context("seq")?);
            ensure!(mark["at"].as_str().is_some_and(|at| at.ends_with('Z') && at.len() == 24), "{frame}");
            all.push((frame["type"].as_str().unwrap_or_default().to_owned(), user.to_owned(), seq));
        }
    }
    Ok(all)
}

fn expected_receipt(kind: &str, user: &str, seq: u64) -> (String, String, u64) {
    (format!("receipt:{kind}"), user.to_owned(), seq)
}

async fn unread_count(stack: &impl System, user: &str) -> Result<u64> {
    let rooms = stack.http(user).my_rooms("").await?.expect(200).body;
    rooms["rooms"][0]["unread"].as_u64().context("unread")
}

/// Creates a room of alice with these members and this number of messages of alice.
async fn create_room(stack: &impl System, members: &[(&str, &str)], messages: usize) -> Result<String> {
    let room = new_room_with(stack, "alice", members).await?;
    for n in 0..messages {
        stack.http("alice").send(&room, &format!("m{n}"), "hi").await?.expect(201);
    }
    Ok(room)
}

#[tokio::test]
async fn messages_before_join_are_not_unread() -> Result<()> {
    let stack = Stack::shared().await?;
    let alice = stack.http("alice");
    let room = alice.post("/rooms", json!({"kind": "public", "name": "Tea"})).await?.expect(201).body;
    let room = room["room"].as_str().context("room")?;
    alice.send(room, "m0", "history").await?.expect(201);
    alice.send(room, "m1", "history").await?.expect(201);
    // Bob is added, and carol joins.
    alice.put_member(room, "bob", "member").await?.expect(200);
    stack.http("carol").join_room(room, "carol").await?.expect(200);
    for (user, join) in [("bob", 3), ("carol", 4)] {
        let mine = stack.http(user).room(room).await?.expect(200).body;
        ensure!((&mine["read_seq"], &mine["unread"]) == (&json!(join), &json!(0)), "{user}: {mine}");
        ensure!(stack.connect(user).await?.join(room).await?.read_seq == join, "{user}");
    }
    // They have read nothing, so nobody is shown that they have.
    let receipts = alice.get(&format!("/rooms/{room}/receipts")).await?.expect(200).body;
    let of = |user: &str| receipts["receipts"].as_array()?.iter().find(|receipt| receipt["user"] == user);
    for user in ["bob", "carol"] {
        ensure!(of(user).is_some_and(|receipt| receipt["read_seq"] == 0), "{user}: {receipts}");
    }
    alice.send(room, "m2", "news").await?.expect(201);
    for user in ["bob", "carol"] {
        ensure!(unread_count(&stack, user).await? == 1, "{user}");
    }
    Ok(())
}

// Covers: receipt:read, message:read.
#[tokio::test]
async fn read_reaches_room_and_own_devices_exactly_once() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = create_room(&stack, &[("bob", "member"), ("gus", "guest")], 3).await?;
    ensure!(unread_count(&stack, "bob").await? == 3);
    let reader = stack.connect_at(0, "bob").await?;
    let (alice, gus) = (
        connect_and_join(&stack, 1, "alice", &room).await?,
        connect_and_join(&stack, 0, "gus", &room).await?,
    );
    let own = [
        connect_and_join(&stack, 0, "bob", &room).await?,
        connect_and_join(&stack, 1, "bob", &room).await?,
        stack.connect_at(0, "bob").await?,
        stack.connect_at(1, "bob").await?,
    ];
    reader.read(&room, 2).await?;
    for client in own.iter().chain([&alice, &gus, &reader]) {
        let receipts = received_receipts(client).await?;
        ensure!(receipts == [expected_receipt("read", "bob", 2)], "{receipts:?}");
    }
    ensure!(unread_count(&stack, "bob").await? == 1);
    ensure!(stack.connect_at(1, "bob").await?.join(&room).await?.read_seq == 2);

    // A mark that moves back, or stays, changes nothing and sends no receipt, neither by WebSocket nor by HTTP.
    reader.read(&room, 1).await?;
    own[3].read(&room, 2).await?;
    let by_http = stack.http("bob").read(&room, 1).await?.expect(200).body;
    ensure!(by_http == json!({"seq": 2}), "{by_http}");
    for client in own.iter().chain([&alice, &gus, &reader]) {
        let receipts = received_receipts(client).await?;
        ensure!(receipts.is_empty(), "{receipts:?}");
    }
    ensure!(unread_count(&stack, "bob").await? == 1);
    Ok(())
}

// Covers: receipt:delivered, message:delivered.
#[tokio::test]
async fn delivery_reaches_only_joined_connections() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = create_room(&stack, &[("bob", "member")], 2).await?;
    let (bob, not_joined) =
        (connect_and_join(&stack, 0, "bob", &room).await?, stack.connect_at(1, "bob").await?);
    let alice = connect_and_join(&stack, 1, "alice", &room).await?;
    expect_ok(&bob, mark_command("delivered", &room, 99)).await?;
    for client in [&alice, &bob] {
        let receipts = received_receipts(client).await?;
        ensure!(
            receipts == [expected_receipt("delivered", "bob", 2)],
            "a mark above the head must be clamped: {receipts:?}"
        );
    }
    ensure!(received_receipts(&not_joined).await?.is_empty());
    let body = stack.http("alice").get(&format!("/rooms/{room}/receipts")).await?.expect(200).body;
    let bobs = body["receipts"].as_array().and_then(|all| all.iter().find(|one| one["user"] == "bob"));
    let bobs = bobs.context("bob's receipt")?;
    ensure!((&bobs["read_seq"], &bobs["delivered_seq"]) == (&json!(0), &json!(2)), "{bobs}");
    ensure!(bobs["read_at"].is_null() && bobs["delivered_at"].is_string(), "{bobs}");
    Ok(())
}

// Covers: POST /rooms/{room}/read, POST /rooms/{room}/delivered.
#[tokio::test]
async fn http_marks_reach_room_and_answer_current_position() -> Result<()> {
    let stack = Stack::builder().gateways(2).persistence(2).start().await?;
    let room = create_room(&stack, &[("bob", "member")], 3).await?;
    let (alice, bob) =
        (connect_and_join(&stack, 0, "alice", &room).await?, stack.connect_at(1, "bob").await?);
    let post = async |node: usize, kind: &str, seq: u64| {
        let answer =
            stack.http_at(node, "bob").post(&format!("/rooms/{room}/{kind}"), json!({"seq": seq})).await?;
        anyhow::Ok(answer.expect(200).body)
    };
    ensure!(post(0, "delivered", 99).await? == json!({"seq": 3}));
    ensure!(post(1, "read", 2).await? == json!({"seq": 2}));
    ensure!(post(0, "read", 1).await? == json!({"seq": 2}));
    ensure!(post(1, "delivered", 2).await? == json!({"seq": 3}));
    let mut received = received_receipts(&alice).await?;
    received.sort_unstable();
    ensure!(
        received == [expected_receipt("delivered", "bob", 3), expected_receipt("read", "bob", 2)],
        "{received:?}"
    );
    let own = received_receipts(&bob).await?;
    ensure!(own == [expected_receipt("read", "bob", 2)], "{own:?}");
    ensure!(stack.connect("bob").await?.join(&room).await?.read_seq == 2);

    let outsider = stack.http("eve").post(&format!("/rooms/{room}/delivered"), json!({"seq": 1})).await?;
    ensure!(outsider.status == 404, "{outsider:?}");
    let wrong = stack.http("bob").post(&format!("/rooms/{room}/delivered"), json!({"seq": -1})).await?;
    ensure!((wrong.status, wrong.body["field"].as_str()) == (400, Some("seq")), "{wrong:?}");
    let admin = stack.http("root").with_token(&stack.admin_token("root"));
    let admin_answer = admin.post(&format!("/rooms/{room}/delivered"), json!({"seq": 1})).await?;
    ensure!(admin_answer.code() == "forbidden", "{admin_answer:?}");
    Ok(())
}

#[tokio::test]
async fn read_in_room_of_101_reaches_only_own_devices() -> Result<()> {
    let stack = Stack::shared().await?;
    let people: Vec<String> = (0..99).map(|n| format!("member-{n}")).collect();
    let mut members: Vec<(&str, &str)> = people.iter().map(|user| (user.as_str(), "member")).collect();
    members.push(("bob", "member"));
    let room = create_room(&stack, &members, 2).await?;
    let alice = connect_and_join(&stack, 1, "alice", &room).await?;
    let own = [
        connect_and_join(&stack, 0, "bob", &room).await?,
        connect_and_join(&stack, 1, "bob", &room).await?,
        stack.connect_at(1, "bob").await?,
    ];
    own[0].read(&room, 1).await?;
    expect_ok(&own[0], mark_command("delivered", &room, 1)).await?;
    for client in &own {
        let receipts = received_receipts(client).await?;
        ensure!(receipts == [expected_receipt("read", "bob", 1)], "{receipts:?}");
    }
    ensure!(received_receipts(&alice).await?.is_empty(), "a receipt was pushed in a room of 101 members");
    ensure!(unread_count(&stack, "bob").await? == 1);
    Ok(())
}

#[tokio::test]
async fn each_receipt_kind_arrives_at_most_twice_a_second() -> Result<()> {
    let stack = Stack::shared().await?;
    let members = [("bob", "member"), ("carol", "member"), ("dave", "guest")];
    let room = create_room(&stack, &members, 30).await?;
    let alice = connect_and_join(&stack, 1, "alice", &room).await?;
    let mut readers = Vec::new();
    for (gateway, user) in [(0, "bob"), (1, "carol"), (0, "dave"), (1, "bob")] {
        readers.push(stack.connect_at(gateway, user).await?);
    }
    let begun = Instant::now();
    for seq in 1..=30 {
        for reader in &readers {
            reader.send_json(&mark_command("read", &room, seq)).await?;
            reader.send_json(&mark_command("delivered", &room, seq)).await?;
        }
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
    let mut seen = std::collections::HashMap::new();
    let mut frames = [0_u128; 2];
    let expected = 2 * members.len();
    while seen.values().filter(|seq| **seq == 30).count() < expected {
        let frame = match alice.next_event(hearing::WAIT_TIMEOUT).await? {
            tidings_harness::ServerFrame::Other(frame) => frame,
            _ => continue,
        };
        let Some(kind) = RECEIPT_FRAMES.iter().position(|kind| frame["type"] == *kind) else { continue };
        frames[kind] += 1;
        for mark in frame["marks"].as_array().context("marks")? {
            let seq = mark["seq"].as_u64().context("seq")?;
            let before = seen.insert((kind, mark["user"].as_str().context("user")?.to_owned()), seq);
            ensure!(before.is_none_or(|before| before < seq), "{frame} after {before:?}");
        }
    }
    let max_frames = begun.elapsed().as_millis() / 500 + 1;
    ensure!(frames.iter().all(|count| (2..=max_frames).contains(count)), "{frames:?} of {max_frames}");
    Ok(())
}
