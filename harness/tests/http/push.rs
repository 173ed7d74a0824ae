//! Push notifications: who is told of which messages, once per room, and whatever happens to the program.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::push::{Browser, PushNode};
use tidings_harness::webhooks::{Receiver, ReceiverBehaviour};
use tidings_harness::{Http, Stack};

use crate::webhooks::{start_stack, until};

/// Sends a message, and returns its seq.
pub async fn say(user: &Http, room: &str, content: &str) -> Result<u64> {
    let id = format!("{room}-{content}");
    let sent = user.send(room, &id, content).await?.expect(201).body;
    sent["seq"].as_u64().ok_or_else(|| anyhow::anyhow!("{sent}"))
}

/// A stack whose feed is on, and a push service.
pub async fn start(settings: &[(&str, &str)]) -> Result<(Stack, Receiver, PushNode)> {
    let (stack, service) = (start_stack().await?, Receiver::start().await?);
    let node = PushNode::start(&stack, "push", settings).await?;
    Ok((stack, service, node))
}

/// Subscribes a browser, and registers it for a user who exists from then on.
pub async fn device(stack: &Stack, node: &PushNode, service: &Receiver, user: &str) -> Result<Browser> {
    stack.http(user).my_rooms("").await?.expect(200);
    let browser = Browser::subscribe(service, user)?;
    node.register(stack, user, &browser).await?;
    Ok(browser)
}

/// The seqs that a browser was told of, by room, in their order.
pub fn told(browser: &Browser, service: &Receiver) -> Result<BTreeMap<String, Vec<u64>>> {
    let mut rooms: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for notification in browser.notifications(service)? {
        let room = notification["room"].as_str().unwrap_or_default().to_owned();
        rooms.entry(room).or_default().push(notification["seq"].as_u64().unwrap_or_default());
    }
    Ok(rooms)
}

pub async fn until_told(browser: &Browser, service: &Receiver, room: &str, seq: u64) -> Result<()> {
    let has_come = async || Ok(told(browser, service)?.get(room).is_some_and(|seqs| seqs.contains(&seq)));
    until("the notification", has_come).await
}

#[tokio::test]
async fn away_member_is_told_and_sender_is_not() -> Result<()> {
    let (stack, service, node) = start(&[("TIDINGS_PUSH_CONTENT", "text")]).await?;
    let alice = stack.http("alice");
    let sender = device(&stack, &node, &service, "alice").await?;
    let (one, two) = (device(&stack, &node, &service, "bob").await?, Browser::subscribe(&service, "phone")?);
    node.register(&stack, "bob", &two).await?;
    stack
        .http("operator")
        .with_token(&stack.admin_token("operator"))
        .put_user("alice", json!({ "name": "Alice" }))
        .await?;
    let room = alice.new_room(&["bob"]).await?;
    alice.change_room(&room, json!({ "name": "Team" })).await?.expect(200);
    let seq = say(&alice, &room, "hello").await?;
    for browser in [&one, &two] {
        until_told(browser, &service, &room, seq).await?;
        let wanted = json!({
            "type": "message", "room": room, "seq": seq, "title": "Team", "sender": "Alice", "body": "hello",
            "unread": 1,
        });
        ensure!(browser.notifications(&service)? == [wanted], "{:?}", browser.notifications(&service)?);
    }
    ensure!(sender.requests(&service).is_empty(), "the sender was told");
    let is_empty = async || Ok(stack.database().query("SELECT seq FROM push_pending").await?.is_empty());
    until("nothing waits", is_empty).await?;
    Ok(())
}

#[tokio::test]
async fn messages_of_a_room_collapse_into_the_last() -> Result<()> {
    let (stack, service, node) = start(&[("TIDINGS_PUSH_DELAY_MS", "3000")]).await?;
    let (alice, browser) = (stack.http("alice"), device(&stack, &node, &service, "bob").await?);
    let (room, other) = (alice.new_room(&["bob"]).await?, alice.new_room(&["bob"]).await?);
    let mut last = 0;
    for number in 0..8 {
        last = say(&alice, &room, &format!("m{number}")).await?;
    }
    let apart = say(&alice, &other, "apart").await?;
    until_told(&browser, &service, &room, last).await?;
    until_told(&browser, &service, &other, apart).await?;
    ensure!(told(&browser, &service)?[&room] == [last], "{:?}", told(&browser, &service)?);
    let next = say(&alice, &room, "next").await?;
    until_told(&browser, &service, &room, next).await?;
    let notifications = browser.notifications(&service)?;
    let unread = notifications.iter().map(|it| it["unread"].as_u64().unwrap_or_default());
    let unread: Vec<u64> = unread.collect();
    // The two rooms are due at the same time, so either may come first.
    ensure!(matches!(unread[..], [8, 1, 9] | [1, 8, 9]), "{notifications:?}");
    // The push service replaces what it still keeps of the same room.
    let topics: Vec<String> =
        browser.requests(&service).iter().map(|request| request.header("topic").to_owned()).collect();
    let (same, different) = if unread[0] == 8 { (0, 1) } else { (1, 0) };
    ensure!(topics[same] == topics[2] && topics[different] != topics[2], "{topics:?}");
    Ok(())
}

/// Waits until a notification of this message, or of a later one, waits.
pub async fn until_queued(stack: &Stack, room: &str, seq: u64) -> Result<()> {
    let sql = format!("SELECT seq FROM push_pending WHERE room_id = '{room}' AND seq >= {seq}");
    until("a queued notification", async || Ok(!stack.database().query(&sql).await?.is_empty())).await
}

/// Changes that keep bob from being told of a message, each in a room of its own.
const HINDRANCES: [&str; 8] =
    ["read", "deleted", "removed", "muted", "unnotified", "unmentioned", "hidden", "own"];

async fn hinder(stack: &Stack, node: &PushNode, what: &str) -> Result<String> {
    let (alice, bob) = (stack.http("alice"), stack.http("bob"));
    let room = alice.new_room(&["bob", "carol"]).await?;
    let me = format!("/rooms/{room}/me");
    match what {
        "muted" => drop(
            node.user(stack, "bob")
                .request(Method::PUT, &format!("/me/mutes/{room}"), Some(json!({})))
                .await?
                .expect(200),
        ),
        "unnotified" => {
            drop(bob.request(Method::PATCH, &me, Some(json!({ "notify": "none" }))).await?.expect(200))
        }
        "unmentioned" => {
            drop(bob.request(Method::PATCH, &me, Some(json!({ "notify": "mentions" }))).await?.expect(200))
        }
        _ => {}
    }
    let seq = match what {
        "hidden" => {
            let message = json!({ "client_id": "h", "content": "x", "visible_to": { "users": ["carol"] } });
            let sent = alice.post(&format!("/rooms/{room}/messages"), message).await?.expect(201).body;
            sent["seq"].as_u64().unwrap_or_default()
        }
        "own" => say(&bob, &room, "x").await?,
        _ => say(&alice, &room, "x").await?,
    };
    if ["read", "deleted", "removed"].contains(&what) {
        // So the conditions are true when the message is queued, and no longer when it is sent.
        until_queued(stack, &room, seq).await?;
    }
    match what {
        "read" => drop(bob.read(&room, seq).await?),
        "deleted" => {
            drop(alice.request(Method::DELETE, &format!("/rooms/{room}/messages/{seq}"), None).await?)
        }
        "removed" => drop(alice.remove_member(&room, "bob").await?),
        _ => {}
    }
    Ok(room)
}

#[tokio::test]
async fn hindered_message_tells_nothing() -> Result<()> {
    let (stack, service, node) = start(&[("TIDINGS_PUSH_DELAY_MS", "5000")]).await?;
    let bob = device(&stack, &node, &service, "bob").await?;
    let mut rooms = BTreeMap::new();
    for what in HINDRANCES {
        rooms.insert(hinder(&stack, &node, what).await?, what);
    }
    let alice = stack.http("alice");
    let free = alice.new_room(&["bob"]).await?;
    let seq = say(&alice, &free, "free").await?;
    until_told(&bob, &service, &free, seq).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let wrong: Vec<&str> = told(&bob, &service)?.keys().filter_map(|room| rooms.get(room).copied()).collect();
    ensure!(wrong.is_empty(), "told although {wrong:?}");
    Ok(())
}

#[tokio::test]
async fn deleted_message_gives_way_to_the_one_before() -> Result<()> {
    let settings = [("TIDINGS_PUSH_DELAY_MS", "4000"), ("TIDINGS_PUSH_CONTENT", "text")];
    let (stack, service, node) = start(&settings).await?;
    let (alice, bob) = (stack.http("alice"), device(&stack, &node, &service, "bob").await?);
    let room = alice.new_room(&["bob"]).await?;
    let first = say(&alice, &room, "first").await?;
    let second = say(&alice, &room, "secret").await?;
    until_queued(&stack, &room, second).await?;
    let path = |seq: u64| format!("/rooms/{room}/messages/{seq}");
    alice.request(Method::DELETE, &path(second), None).await?;
    alice
        .request(Method::PATCH, &path(first), Some(json!({ "client_id": "e", "content": "edited" })))
        .await?;
    until_told(&bob, &service, &room, first).await?;
    let notifications = bob.notifications(&service)?;
    ensure!(notifications.len() == 1 && notifications[0]["body"] == "edited", "{notifications:?}");
    Ok(())
}

#[tokio::test]
async fn online_user_is_told_only_after_leaving() -> Result<()> {
    let settings = [("TIDINGS_PUSH_ONLINE_RECHECK_MS", "3000"), ("TIDINGS_PUSH_ONLINE_WAIT_MS", "9000")];
    let (stack, service, node) = start(&settings).await?;
    let (alice, bob) = (stack.http("alice"), device(&stack, &node, &service, "bob").await?);
    let carol = device(&stack, &node, &service, "carol").await?;
    let status = |status: &str| json!({ "status": status });
    stack.http("bob").post("/presence", status("online")).await?.expect(204);
    stack.http("carol").post("/presence", status("online")).await?.expect(204);
    let room = alice.new_room(&["bob", "carol"]).await?;
    let seq = say(&alice, &room, "hello").await?;
    let is_online =
        async || Ok(node.metrics().await?.contains("tidings_push_outcomes_total{outcome=\"online\"} 2"));
    until("both are found online", is_online).await?;
    ensure!(service.deliveries().is_empty(), "an online user was told");
    stack.http("bob").post("/presence", status("away")).await?.expect(204);
    until_told(&bob, &service, &room, seq).await?;
    // Carol stays online. After some checks the notification is dropped.
    let is_empty = async || Ok(stack.database().query("SELECT seq FROM push_pending").await?.is_empty());
    until("nothing waits", is_empty).await?;
    ensure!(carol.requests(&service).is_empty(), "an online user was told");
    Ok(())
}

#[tokio::test]
async fn patience_for_online_user_ends_in_active_room() -> Result<()> {
    let settings = [("TIDINGS_PUSH_ONLINE_RECHECK_MS", "1000"), ("TIDINGS_PUSH_ONLINE_WAIT_MS", "3000")];
    let (stack, service, node) = start(&settings).await?;
    let (alice, bob) = (stack.http("alice"), device(&stack, &node, &service, "bob").await?);
    stack.http("bob").post("/presence", json!({ "status": "online" })).await?.expect(204);
    let room = alice.new_room(&["bob"]).await?;
    let first = say(&alice, &room, "first").await?;
    until_queued(&stack, &room, first).await?;
    let sql = format!("SELECT seq FROM push_pending WHERE first_seq <= {first}");
    for number in 0..60 {
        if stack.database().query(&sql).await?.is_empty() {
            ensure!(bob.requests(&service).is_empty(), "an online user was told");
            return Ok(());
        }
        say(&alice, &room, &format!("m{number}")).await?;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    anyhow::bail!("the first message waits for ever")
}

#[tokio::test]
async fn large_room_tells_only_mentioned_members() -> Result<()> {
    let (stack, service, node) = start(&[("TIDINGS_PUSH_MENTION_ABOVE", "2")]).await?;
    let alice = stack.http("alice");
    let (bob, carol) =
        (device(&stack, &node, &service, "bob").await?, device(&stack, &node, &service, "carol").await?);
    let (large, small) = (alice.new_room(&["bob", "carol"]).await?, alice.new_room(&["carol"]).await?);
    say(&alice, &large, "to nobody").await?;
    let message = json!({ "client_id": "m", "content": "@bob", "mentions": ["bob"] });
    let sent = alice.post(&format!("/rooms/{large}/messages"), message).await?.expect(201).body;
    let seq = sent["seq"].as_u64().unwrap_or_default();
    until_told(&bob, &service, &large, seq).await?;
    let marker = say(&alice, &small, "to carol").await?;
    until_told(&carol, &service, &small, marker).await?;
    ensure!(told(&bob, &service)?[&large] == [seq]);
    ensure!(!told(&carol, &service)?.contains_key(&large), "a member without a mention was told");
    ensure!(bob.requests(&service)[0].header("urgency") == "high");
    Ok(())
}

#[tokio::test]
async fn killed_replicas_lose_no_notification() -> Result<()> {
    let (stack, service) = (start_stack().await?, Receiver::start().await?);
    service.behave(ReceiverBehaviour::Slow(Duration::from_millis(150)));
    let settings = [("TIDINGS_PUSH_TIMEOUT_MS", "1000"), ("TIDINGS_PUSH_CONCURRENCY", "4")];
    let nodes = [
        PushNode::start(&stack, "push-0", &settings).await?,
        PushNode::start(&stack, "push-1", &settings).await?,
    ];
    let alice = stack.http("alice");
    let mut browsers = Vec::new();
    for user in ["bob", "carol", "dave"] {
        browsers.push(device(&stack, &nodes[0], &service, user).await?);
    }
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for _ in 0..4 {
        last.insert(alice.new_room(&["bob", "carol", "dave"]).await?, 0);
    }
    for round in 0..4_usize {
        for (room, seq) in &mut last {
            *seq = say(&alice, room, &format!("r{round}")).await?;
        }
        // The attempts of this round are under way.
        tokio::time::sleep(Duration::from_millis(700)).await;
        nodes[round % 2].kill();
        tokio::time::sleep(Duration::from_millis(200)).await;
        nodes[round % 2].restart().await?;
    }
    until("every room at every device", async || {
        for browser in &browsers {
            let told = told(browser, &service)?;
            if !last.iter().all(|(room, seq)| told.get(room).is_some_and(|seqs| seqs.contains(seq))) {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await
}

#[tokio::test]
async fn feed_that_was_off_tells_unread_messages_once() -> Result<()> {
    let (stack, service, node) = start(&[]).await?;
    let (alice, bob) = (stack.http("alice"), device(&stack, &node, &service, "bob").await?);
    let room = alice.new_room(&["bob"]).await?;
    tidings_harness::stack::set_feed(stack.database().url(), false).await?;
    say(&alice, &room, "one").await?;
    let seq = say(&alice, &room, "two").await?;
    tidings_harness::stack::set_feed(stack.database().url(), true).await?;
    until_told(&bob, &service, &room, seq).await?;
    let all: Vec<Value> = bob.notifications(&service)?;
    ensure!(all.len() == 1, "{all:?}");
    Ok(())
}
