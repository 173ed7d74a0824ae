//! What people are: one state over all devices and nodes, the grace of a reconnect, and being here without a connection.

use std::time::{Duration, Instant};

use crate::watching::{GRACE, GRACE_OVER, SOON, asks, asks_http, ms, now_ms, says, silence, told, watcher};
use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::Stack;

async fn two_gateways() -> Result<Stack> {
    Stack::builder().gateways(2).start().await
}

// Covers: presence:set, presence:get, presence:list, presence.
#[tokio::test]
async fn a_user_has_one_state_over_all_devices_and_nodes() -> Result<()> {
    let stack = two_gateways().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = watcher(&stack, 0, &room).await?;

    let phone = stack.connect_at(0, "bob").await?;
    let frame = told(&alice, "bob", "online", SOON).await?;
    ensure!(frame["last_seen"] == Value::Null, "{frame}");
    let laptop = stack.connect_at(1, "bob").await?;
    says(&phone, "away").await?;
    silence(&alice, Duration::from_secs(3)).await?;
    ensure!(asks(&alice, "bob").await?["status"] == "online");

    says(&laptop, "away").await?;
    told(&alice, "bob", "away", SOON).await?;
    ensure!(asks(&alice, "bob").await?["status"] == "away");
    says(&phone, "online").await?;
    told(&alice, "bob", "online", SOON).await?;

    let closed = Instant::now();
    phone.close().await?;
    told(&alice, "bob", "away", GRACE_OVER).await?;
    ensure!(closed.elapsed() > GRACE - Duration::from_secs(2), "no grace: {:?}", closed.elapsed());

    let (closed, closed_at) = (Instant::now(), now_ms());
    laptop.close().await?;
    let frame = told(&alice, "bob", "offline", GRACE_OVER).await?;
    ensure!(closed.elapsed() > GRACE - Duration::from_secs(2), "no grace: {:?}", closed.elapsed());
    // Seen last when the last connection closed, not when the grace was over.
    ensure!((ms(&frame["last_seen"])? - closed_at).abs() < 4000, "{frame}, closed at {closed_at}");
    let asked = asks(&alice, "bob").await?;
    ensure!(asked["status"] == "offline" && asked["last_seen"] == frame["last_seen"], "{asked} {frame}");
    ensure!(asks_http(&stack.http("alice"), "bob").await? == asked);
    Ok(())
}

#[tokio::test]
async fn a_quick_reconnect_is_seen_by_nobody_on_whichever_node() -> Result<()> {
    let stack = two_gateways().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = watcher(&stack, 0, &room).await?;
    let bob = stack.connect_at(0, "bob").await?;
    told(&alice, "bob", "online", SOON).await?;
    drop(bob);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let bob = stack.connect_at(0, "bob").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    bob.close().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let bob = stack.connect_at(1, "bob").await?;
    silence(&alice, GRACE_OVER).await?;
    ensure!(asks(&alice, "bob").await?["status"] == "online");
    // What is said after a reconnect counts at once, whatever grace the connection before left.
    says(&bob, "away").await?;
    told(&alice, "bob", "away", SOON).await?;
    Ok(())
}

#[tokio::test]
async fn who_flaps_is_told_of_about_once_a_second() -> Result<()> {
    let stack = Stack::builder().gateway_env("TIDINGS_PRESENCE_PER_SECOND", 1000).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = watcher(&stack, 0, &room).await?;
    let bob = stack.connect("bob").await?;
    told(&alice, "bob", "online", SOON).await?;
    let begun = Instant::now();
    for _ in 0..100 {
        says(&bob, "away").await?;
        says(&bob, "online").await?;
    }
    says(&bob, "away").await?;
    let seconds = usize::try_from(begun.elapsed().as_secs())?;
    let mut frames = Vec::new();
    while let Ok(frame) = alice.wait_for("presence", Duration::from_secs(3)).await {
        frames.push(format!("{frame:?}"));
    }
    ensure!(frames.len() <= seconds + 3, "{} changes in {seconds} s", frames.len());
    ensure!(frames.last().is_some_and(|frame| frame.contains("away")), "{frames:?}");
    Ok(())
}

// Covers: GET /presence, POST /presence.
#[tokio::test]
async fn over_http_one_is_here_for_a_minute() -> Result<()> {
    let stack = two_gateways().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = watcher(&stack, 0, &room).await?;
    let bob = stack.http("bob");
    bob.post("/presence", json!({ "status": "away" })).await?.expect(204);
    let said = Instant::now();
    told(&alice, "bob", "away", SOON).await?;
    ensure!(asks_http(&stack.http("alice"), "bob").await?["status"] == "away");
    // Beside a connection: the higher of the two counts.
    let device = stack.connect_at(1, "bob").await?;
    told(&alice, "bob", "online", SOON).await?;
    device.close().await?;
    told(&alice, "bob", "away", GRACE_OVER).await?;

    for wrong in [json!({}), json!({ "status": "busy" }), json!({ "status": "offline" })] {
        let refused = bob.post("/presence", wrong).await?.expect(400);
        ensure!(refused.body["field"] == "status", "{}", refused.body);
    }
    let many = (0..101).map(|n| format!("user=u{n}")).collect::<Vec<_>>().join("&");
    let refused = bob.get(&format!("/presence?{many}")).await?.expect(413);
    ensure!((refused.code(), &refused.body["field"]) == ("too_large", &json!("user")), "{}", refused.body);
    let refused = bob.get("/presence?user=a%20b").await?.expect(400);
    ensure!(refused.body["field"] == "user", "{}", refused.body);
    let list = bob.get("/presence?user=nobody&user=bob&user=&user=bob").await?.expect(200).body;
    let users: Vec<&Value> = list["users"].as_array().into_iter().flatten().map(|one| &one["user"]).collect();
    ensure!(users == ["nobody", "bob"], "{list}");
    ensure!(bob.get("/presence").await?.expect(200).body == json!({ "users": [] }));

    let frame = told(&alice, "bob", "offline", Duration::from_secs(60)).await?;
    ensure!((55..70).contains(&said.elapsed().as_secs()), "{:?}", said.elapsed());
    ensure!(frame["last_seen"].is_string(), "{frame}");
    Ok(())
}

#[tokio::test]
async fn who_polls_is_here_until_half_a_minute_after_the_last_answer() -> Result<()> {
    let stack = two_gateways().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = watcher(&stack, 0, &room).await?;
    let bob = tidings_harness::Http::new(&stack.gateway(1).url(), &stack.token("bob"));
    let poll = |commands: Value| {
        let body = json!({ "cursors": {}, "commands": commands, "timeout_ms": 1000 });
        bob.request(Method::POST, "/poll", Some(body))
    };
    poll(json!([])).await?.expect(200);
    told(&alice, "bob", "online", SOON).await?;
    poll(json!([{ "type": "presence:set", "status": "away" }])).await?.expect(200);
    told(&alice, "bob", "away", SOON).await?;
    // What was said holds over the polls that say nothing.
    tokio::time::sleep(Duration::from_secs(5)).await;
    poll(json!([])).await?.expect(200);
    let answered = Instant::now();
    told(&alice, "bob", "offline", Duration::from_secs(40)).await?;
    ensure!((27..40).contains(&answered.elapsed().as_secs()), "{:?}", answered.elapsed());
    Ok(())
}
