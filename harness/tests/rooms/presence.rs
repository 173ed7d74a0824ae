//! Status of users: one status across devices and nodes, the grace for a reconnect, and presence without a connection.

use std::time::{Duration, Instant};

use crate::watching::{
    GRACE, GRACE_AND_SWEEP, UPDATE_TIMEOUT, connect_watcher, expect_no_update, expect_update, get_presence,
    get_presence_http, now_ms, parse_time_ms, set_status,
};
use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tidings_harness::Stack;

// Covers: presence:set, presence:get, presence:list, presence.
#[tokio::test]
async fn user_has_one_status_across_devices_and_nodes() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = connect_watcher(&stack, 0, &room).await?;

    let phone = stack.connect_at(0, "bob").await?;
    let frame = expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;
    ensure!(frame["last_seen"] == Value::Null, "{frame}");
    let laptop = stack.connect_at(1, "bob").await?;
    set_status(&phone, "away").await?;
    expect_no_update(&alice, Duration::from_secs(3)).await?;
    ensure!(get_presence(&alice, "bob").await?["status"] == "online");

    set_status(&laptop, "away").await?;
    expect_update(&alice, "bob", "away", UPDATE_TIMEOUT).await?;
    ensure!(get_presence(&alice, "bob").await?["status"] == "away");
    set_status(&phone, "online").await?;
    expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;

    let closed = Instant::now();
    phone.close().await?;
    expect_update(&alice, "bob", "away", GRACE_AND_SWEEP).await?;
    ensure!(
        closed.elapsed() > GRACE - Duration::from_secs(2),
        "the status changed before the grace ended: {:?}",
        closed.elapsed()
    );

    let (closed, closed_at) = (Instant::now(), now_ms());
    laptop.close().await?;
    let frame = expect_update(&alice, "bob", "offline", GRACE_AND_SWEEP).await?;
    ensure!(
        closed.elapsed() > GRACE - Duration::from_secs(2),
        "the status changed before the grace ended: {:?}",
        closed.elapsed()
    );
    // `last_seen` is the time when the last connection closed, not the end of the grace.
    ensure!((parse_time_ms(&frame["last_seen"])? - closed_at).abs() < 4000, "{frame}, closed at {closed_at}");
    let asked = get_presence(&alice, "bob").await?;
    ensure!(asked["status"] == "offline" && asked["last_seen"] == frame["last_seen"], "{asked} {frame}");
    ensure!(get_presence_http(&stack.http("alice"), "bob").await? == asked);
    Ok(())
}

#[tokio::test]
async fn quick_reconnect_is_invisible_on_any_node() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = connect_watcher(&stack, 0, &room).await?;
    let bob = stack.connect_at(0, "bob").await?;
    expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;
    drop(bob);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let bob = stack.connect_at(0, "bob").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    bob.close().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let bob = stack.connect_at(1, "bob").await?;
    expect_no_update(&alice, GRACE_AND_SWEEP).await?;
    ensure!(get_presence(&alice, "bob").await?["status"] == "online");
    // A status set after a reconnect counts at once, despite the grace of the earlier connection.
    set_status(&bob, "away").await?;
    expect_update(&alice, "bob", "away", UPDATE_TIMEOUT).await?;
    Ok(())
}

#[tokio::test]
async fn flapping_status_is_published_about_once_per_second() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = connect_watcher(&stack, 0, &room).await?;
    let bob = stack.connect("bob").await?;
    expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;
    let begun = Instant::now();
    for _ in 0..100 {
        set_status(&bob, "away").await?;
        set_status(&bob, "online").await?;
    }
    set_status(&bob, "away").await?;
    let seconds = usize::try_from(begun.elapsed().as_secs())?;
    let mut frames = Vec::new();
    while let Ok(frame) = alice.wait_for("presence", Duration::from_secs(3)).await {
        frames.push(format!("{frame:?}"));
    }
    ensure!(frames.len() <= seconds + 3, "{} updates in {seconds} s", frames.len());
    ensure!(frames.last().is_some_and(|frame| frame.contains("away")), "{frames:?}");
    Ok(())
}

// Covers: GET /presence, POST /presence.
#[tokio::test]
async fn http_presence_lasts_one_minute() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = connect_watcher(&stack, 0, &room).await?;
    let bob = stack.http("bob");
    bob.post("/presence", json!({ "status": "away" })).await?.expect(204);
    let posted_at = Instant::now();
    expect_update(&alice, "bob", "away", UPDATE_TIMEOUT).await?;
    ensure!(get_presence_http(&stack.http("alice"), "bob").await?["status"] == "away");
    // If the user is also connected, the higher of the two statuses counts.
    let device = stack.connect_at(1, "bob").await?;
    expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;
    device.close().await?;
    expect_update(&alice, "bob", "away", GRACE_AND_SWEEP).await?;

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

    let frame = expect_update(&alice, "bob", "offline", Duration::from_secs(60)).await?;
    ensure!((55..70).contains(&posted_at.elapsed().as_secs()), "{:?}", posted_at.elapsed());
    ensure!(frame["last_seen"].is_string(), "{frame}");
    Ok(())
}

#[tokio::test]
async fn polling_user_stays_online_thirty_seconds_after_answer() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = connect_watcher(&stack, 0, &room).await?;
    let bob = tidings_harness::Http::new(&stack.gateway(1).url(), &stack.token("bob"));
    let poll = |commands: Value| {
        let body = json!({ "cursors": {}, "commands": commands, "timeout_ms": 1000 });
        bob.request(Method::POST, "/poll", Some(body))
    };
    poll(json!([])).await?.expect(200);
    expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;
    poll(json!([{ "type": "presence:set", "status": "away" }])).await?.expect(200);
    expect_update(&alice, "bob", "away", UPDATE_TIMEOUT).await?;
    // A poll without a status keeps the earlier status.
    tokio::time::sleep(Duration::from_secs(5)).await;
    poll(json!([])).await?.expect(200);
    let answered = Instant::now();
    expect_update(&alice, "bob", "offline", Duration::from_secs(40)).await?;
    ensure!((27..40).contains(&answered.elapsed().as_secs()), "{:?}", answered.elapsed());
    Ok(())
}
