//! Read and delivered marks as members see them: receipts in small rooms, one's own reads on all devices, the same by
//! WebSocket and by HTTP.

use crate::hearing;
use std::time::{Duration, Instant};

use crate::hearing::{heard_until_quiet, joined, of_types, ok, room_with};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{Client, Stack};

const RECEIPTS: &[&str] = &["receipt:read", "receipt:delivered"];

fn mark(kind: &str, room: &str, seq: u64) -> Value {
    json!({"type": format!("message:{kind}"), "room": room, "seq": seq})
}

/// All marks of the receipts that a connection got: type, user, seq.
async fn receipts(client: &Client) -> Result<Vec<(String, String, u64)>> {
    let mut all = Vec::new();
    for frame in of_types(&heard_until_quiet(client).await?, RECEIPTS) {
        for mark in frame["marks"].as_array().context("marks")? {
            let (user, seq) = (mark["user"].as_str().context("user")?, mark["seq"].as_u64().context("seq")?);
            ensure!(mark["at"].as_str().is_some_and(|at| at.ends_with('Z') && at.len() == 24), "{frame}");
            all.push((frame["type"].as_str().unwrap_or_default().to_owned(), user.to_owned(), seq));
        }
    }
    Ok(all)
}

fn told(kind: &str, user: &str, seq: u64) -> (String, String, u64) {
    (format!("receipt:{kind}"), user.to_owned(), seq)
}

async fn unread(stack: &Stack, user: &str) -> Result<u64> {
    let rooms = stack.http(user).my_rooms("").await?.expect(200).body;
    rooms["rooms"][0]["unread"].as_u64().context("unread")
}

/// A room of alice and bob with messages of alice's.
async fn room_of(stack: &Stack, members: &[(&str, &str)], messages: usize) -> Result<String> {
    let room = room_with(stack, "alice", members).await?;
    for n in 0..messages {
        stack.http("alice").send(&room, &format!("m{n}"), "hi").await?.expect(201);
    }
    Ok(room)
}

// Covers: receipt:read, message:read.
#[tokio::test]
async fn a_read_reaches_the_room_and_each_of_ones_own_devices_exactly_once() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = room_of(&stack, &[("bob", "member"), ("gus", "guest")], 3).await?;
    ensure!(unread(&stack, "bob").await? == 3);
    let reader = stack.connect_at(0, "bob").await?;
    let (alice, gus) = (joined(&stack, 1, "alice", &room).await?, joined(&stack, 0, "gus", &room).await?);
    let own = [
        joined(&stack, 0, "bob", &room).await?,
        joined(&stack, 1, "bob", &room).await?,
        stack.connect_at(0, "bob").await?,
        stack.connect_at(1, "bob").await?,
    ];
    reader.read(&room, 2).await?;
    for client in own.iter().chain([&alice, &gus, &reader]) {
        let receipts = receipts(client).await?;
        ensure!(receipts == [told("read", "bob", 2)], "{receipts:?}");
    }
    ensure!(unread(&stack, "bob").await? == 1);
    ensure!(stack.connect_at(1, "bob").await?.join(&room).await?.read_seq == 2);

    // Back, and to where it stands: neither moves, and nobody hears of it. Not even of the other way.
    reader.read(&room, 1).await?;
    own[3].read(&room, 2).await?;
    let by_http = stack.http("bob").read(&room, 1).await?.expect(200).body;
    ensure!(by_http == json!({"seq": 2}), "{by_http}");
    for client in own.iter().chain([&alice, &gus, &reader]) {
        let receipts = receipts(client).await?;
        ensure!(receipts.is_empty(), "{receipts:?}");
    }
    ensure!(unread(&stack, "bob").await? == 1);
    Ok(())
}

// Covers: receipt:delivered, message:delivered.
#[tokio::test]
async fn delivery_reaches_the_room_and_nobody_who_did_not_join() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = room_of(&stack, &[("bob", "member")], 2).await?;
    let (bob, elsewhere) = (joined(&stack, 0, "bob", &room).await?, stack.connect_at(1, "bob").await?);
    let alice = joined(&stack, 1, "alice", &room).await?;
    ok(&bob, mark("delivered", &room, 99)).await?;
    for client in [&alice, &bob] {
        let receipts = receipts(client).await?;
        ensure!(receipts == [told("delivered", "bob", 2)], "above the head it is clamped: {receipts:?}");
    }
    ensure!(receipts(&elsewhere).await?.is_empty());
    let body = stack.http("alice").get(&format!("/rooms/{room}/receipts")).await?.expect(200).body;
    let bobs = body["receipts"].as_array().and_then(|all| all.iter().find(|one| one["user"] == "bob"));
    let bobs = bobs.context("bob's receipt")?;
    ensure!((&bobs["read_seq"], &bobs["delivered_seq"]) == (&json!(0), &json!(2)), "{bobs}");
    ensure!(bobs["read_at"].is_null() && bobs["delivered_at"].is_string(), "{bobs}");
    Ok(())
}

// Covers: POST /rooms/{room}/read, POST /rooms/{room}/delivered.
#[tokio::test]
async fn marks_by_http_do_the_same_and_are_answered_with_where_they_stand() -> Result<()> {
    let stack = Stack::builder().gateways(2).persistence(2).start().await?;
    let room = room_of(&stack, &[("bob", "member")], 3).await?;
    let (alice, bob) = (joined(&stack, 0, "alice", &room).await?, stack.connect_at(1, "bob").await?);
    let post = async |node: usize, kind: &str, seq: u64| {
        let answer =
            stack.http_at(node, "bob").post(&format!("/rooms/{room}/{kind}"), json!({"seq": seq})).await?;
        anyhow::Ok(answer.expect(200).body)
    };
    ensure!(post(0, "delivered", 99).await? == json!({"seq": 3}));
    ensure!(post(1, "read", 2).await? == json!({"seq": 2}));
    ensure!(post(0, "read", 1).await? == json!({"seq": 2}));
    ensure!(post(1, "delivered", 2).await? == json!({"seq": 3}));
    let mut heard = receipts(&alice).await?;
    heard.sort_unstable();
    ensure!(heard == [told("delivered", "bob", 3), told("read", "bob", 2)], "{heard:?}");
    let own = receipts(&bob).await?;
    ensure!(own == [told("read", "bob", 2)], "{own:?}");
    ensure!(stack.connect("bob").await?.join(&room).await?.read_seq == 2);

    let stranger = stack.http("eve").post(&format!("/rooms/{room}/delivered"), json!({"seq": 1})).await?;
    ensure!(stranger.status == 404, "{stranger:?}");
    let wrong = stack.http("bob").post(&format!("/rooms/{room}/delivered"), json!({"seq": -1})).await?;
    ensure!((wrong.status, wrong.body["field"].as_str()) == (400, Some("seq")), "{wrong:?}");
    let admin = stack.http("root").with_token(&stack.admin_token("root"));
    let on_looker = admin.post(&format!("/rooms/{room}/delivered"), json!({"seq": 1})).await?;
    ensure!(on_looker.code() == "forbidden", "{on_looker:?}");
    Ok(())
}

#[tokio::test]
async fn in_a_room_of_101_only_ones_own_devices_hear_of_a_read() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let people: Vec<String> = (0..99).map(|n| format!("member-{n}")).collect();
    let mut members: Vec<(&str, &str)> = people.iter().map(|user| (user.as_str(), "member")).collect();
    members.push(("bob", "member"));
    let room = room_of(&stack, &members, 2).await?;
    let alice = joined(&stack, 1, "alice", &room).await?;
    let own = [
        joined(&stack, 0, "bob", &room).await?,
        joined(&stack, 1, "bob", &room).await?,
        stack.connect_at(1, "bob").await?,
    ];
    own[0].read(&room, 1).await?;
    ok(&own[0], mark("delivered", &room, 1)).await?;
    for client in &own {
        let receipts = receipts(client).await?;
        ensure!(receipts == [told("read", "bob", 1)], "{receipts:?}");
    }
    ensure!(receipts(&alice).await?.is_empty(), "pushed in a room of 101");
    ensure!(unread(&stack, "bob").await? == 1);
    Ok(())
}

#[tokio::test]
async fn each_kind_of_receipt_comes_at_most_twice_a_second_whoever_reads_where() -> Result<()> {
    let stack = Stack::builder().gateways(2).gateway_env("TIDINGS_MARKS_PER_SECOND", 10_000).start().await?;
    let members = [("bob", "member"), ("carol", "member"), ("dave", "guest")];
    let room = room_of(&stack, &members, 30).await?;
    let alice = joined(&stack, 1, "alice", &room).await?;
    let mut readers = Vec::new();
    for (gateway, user) in [(0, "bob"), (1, "carol"), (0, "dave"), (1, "bob")] {
        readers.push(stack.connect_at(gateway, user).await?);
    }
    let begun = Instant::now();
    for seq in 1..=30 {
        for reader in &readers {
            reader.send_json(&mark("read", &room, seq)).await?;
            reader.send_json(&mark("delivered", &room, seq)).await?;
        }
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
    let mut seen = std::collections::HashMap::new();
    let mut frames = [0_u128; 2];
    let wanted = 2 * members.len();
    while seen.values().filter(|seq| **seq == 30).count() < wanted {
        let frame = match alice.next_event(hearing::PATIENCE).await? {
            tidings_harness::ServerFrame::Other(frame) => frame,
            _ => continue,
        };
        let Some(kind) = RECEIPTS.iter().position(|kind| frame["type"] == *kind) else { continue };
        frames[kind] += 1;
        for mark in frame["marks"].as_array().context("marks")? {
            let seq = mark["seq"].as_u64().context("seq")?;
            let before = seen.insert((kind, mark["user"].as_str().context("user")?.to_owned()), seq);
            ensure!(before.is_none_or(|before| before < seq), "{frame} after {before:?}");
        }
    }
    let most = begun.elapsed().as_millis() / 500 + 1;
    ensure!(frames.iter().all(|count| (2..=most).contains(count)), "{frames:?} of {most}");
    Ok(())
}
