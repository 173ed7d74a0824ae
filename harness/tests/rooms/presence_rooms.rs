//! Whom it is told what people are: who shares a small room, once, and nobody else; and what a connect costs for it.

use std::time::{Duration, Instant};

use crate::watching::{
    GRACE_OVER, SOON, asks, asks_http, online, says, settle, silence, told, until, watcher,
};
use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::json;
use tidings_harness::Stack;

async fn two_gateways() -> Result<Stack> {
    Stack::builder().gateways(2).start().await
}

#[tokio::test]
async fn strangers_learn_nothing_by_any_way() -> Result<()> {
    let stack = two_gateways().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = watcher(&stack, 0, &room).await?;
    let eve = stack.connect_at(0, "eve").await?;
    let own = stack.http("eve").new_room(&[]).await?;
    eve.join_and_catch_up(&own).await?;
    let bob = stack.connect_at(1, "bob").await?;
    told(&alice, "bob", "online", SOON).await?;

    let nothing = json!({ "user": "bob", "status": "offline", "last_seen": null });
    ensure!(asks(&eve, "bob").await? == nothing);
    ensure!(asks_http(&stack.http("eve"), "bob").await? == nothing);
    let unknown = json!({ "user": "nobody", "status": "offline", "last_seen": null });
    ensure!(asks(&eve, "nobody").await? == unknown, "someone unknown is told of as a stranger is");
    // One sees oneself, also without any room.
    ensure!(asks(&bob, "bob").await?["status"] == "online");
    let hermit = stack.connect_at(0, "hermit").await?;
    until(&hermit, "hermit", "online", SOON).await?;

    bob.close().await?;
    let gone = told(&alice, "bob", "offline", GRACE_OVER).await?;
    ensure!(gone["last_seen"].is_string(), "{gone}");
    ensure!(asks(&eve, "bob").await? == nothing);
    ensure!(asks_http(&stack.http("eve"), "bob").await? == nothing);
    // All that eve was ever told is her own coming.
    let (mut frames, quiet) = (Vec::new(), Duration::from_millis(500));
    while let Ok(frame) = eve.wait_for("presence", quiet).await {
        frames.push(format!("{frame:?}"));
    }
    ensure!(frames.iter().all(|frame| frame.contains("eve")), "{frames:?}");
    Ok(())
}

#[tokio::test]
async fn rooms_of_over_a_hundred_members_are_told_nothing() -> Result<()> {
    let stack = Stack::start().await?;
    let crowd: Vec<String> = (0..99).map(|n| format!("user-{n:03}")).collect();
    let mut members: Vec<&str> = crowd.iter().map(String::as_str).collect();
    let hundred = stack.http("alice").new_room(&members).await?;
    members.push("dave");
    let more = stack.http("alice").new_room(&members).await?;

    let alice = stack.connect("alice").await?;
    let told_at_join = online(&alice, json!({ "type": "room:join", "room": hundred })).await?;
    ensure!(told_at_join == Some(vec!["alice online".to_owned()]), "{told_at_join:?}");
    let told_at_join = online(&alice, json!({ "type": "room:join", "room": more })).await?;
    ensure!(told_at_join.is_none(), "{told_at_join:?}");
    settle(&alice).await;

    // Dave is in the larger one only, user-000 in both.
    let _dave = stack.connect("dave").await?;
    silence(&alice, Duration::from_secs(3)).await?;
    let _member = stack.connect("user-000").await?;
    told(&alice, "user-000", "online", SOON).await?;
    // Whoever asks is answered: they share a room.
    ensure!(asks(&alice, "dave").await?["status"] == "online");
    Ok(())
}

#[tokio::test]
async fn however_many_rooms_are_shared_a_change_is_told_once() -> Result<()> {
    let stack = two_gateways().await?;
    for _ in 0..20 {
        stack.http("alice").new_room(&["bob"]).await?;
    }
    let alice = stack.connect_at(0, "alice").await?;
    ensure!(alice.join_mine().await?.rooms.len() == 20);
    settle(&alice).await;
    let bob = stack.connect_at(1, "bob").await?;
    told(&alice, "bob", "online", SOON).await?;
    silence(&alice, Duration::from_secs(2)).await?;
    says(&bob, "away").await?;
    told(&alice, "bob", "away", SOON).await?;
    silence(&alice, Duration::from_secs(2)).await?;
    Ok(())
}

#[tokio::test]
async fn who_joins_without_presence_is_told_nothing() -> Result<()> {
    let stack = Stack::start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    let join = json!({ "type": "room:join", "room": room, "presence": false });
    ensure!(online(&alice, join).await?.is_none());
    let _bob = stack.connect("bob").await?;
    silence(&alice, Duration::from_secs(3)).await?;
    // Joined again with it, she is told of what comes then.
    ensure!(online(&alice, json!({ "type": "room:join", "room": room })).await?.is_some());
    says(&_bob, "away").await?;
    told(&alice, "bob", "away", SOON).await?;
    // A room that was left tells nothing either.
    alice.leave(&room).await?;
    says(&_bob, "online").await?;
    silence(&alice, Duration::from_secs(3)).await?;
    Ok(())
}

#[tokio::test]
async fn a_single_join_tells_who_is_here_oneself_included() -> Result<()> {
    let stack = two_gateways().await?;
    let room = stack.http("alice").new_room(&["bob", "carol", "dave"]).await?;
    let bob = stack.connect_at(0, "bob").await?;
    let carol = stack.connect_at(1, "carol").await?;
    says(&carol, "away").await?;
    until(&bob, "carol", "away", SOON).await?;
    let alice = stack.connect_at(1, "alice").await?;
    let one = json!({ "type": "room:join", "room": room });
    let here = online(&alice, one.clone()).await?;
    let all = ["alice online", "bob online", "carol away"].map(str::to_owned).to_vec();
    ensure!(here == Some(all), "{here:?}");
    ensure!(online(&alice, json!({ "type": "room:join", "rooms": [room] })).await?.is_none());
    ensure!(online(&alice, json!({ "type": "room:join", "rooms": "mine" })).await?.is_none());

    // The list comes from Redis by now: a member who is new is in it all the same.
    stack.persistence(0).pause()?;
    let paused = Instant::now();
    let here = online(&alice, one.clone()).await?;
    ensure!(here.as_ref().map(Vec::len) == Some(3) && paused.elapsed() < SOON, "{here:?}");
    stack.persistence(0).resume()?;
    let (alice_http, path) = (stack.http("alice"), format!("/rooms/{room}/members/erin"));
    alice_http.request(Method::PUT, &path, Some(json!({ "role": "member" }))).await?.expect(200);
    let _erin = stack.connect_at(0, "erin").await?;
    until(&alice, "erin", "online", SOON).await?;
    let here = online(&alice, one).await?.unwrap_or_default();
    ensure!(here.contains(&"erin online".to_owned()), "{here:?}");
    Ok(())
}

#[tokio::test]
async fn who_leaves_the_last_common_room_becomes_a_stranger() -> Result<()> {
    let stack = Stack::start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = watcher(&stack, 0, &room).await?;
    let bob = stack.connect("bob").await?;
    told(&alice, "bob", "online", SOON).await?;
    let path = format!("/rooms/{room}/members/bob");
    stack.http("bob").request(Method::DELETE, &path, None).await?.expect(200);
    says(&bob, "away").await?;
    silence(&alice, Duration::from_secs(3)).await?;
    let nothing = json!({ "user": "bob", "status": "offline", "last_seen": null });
    ensure!(asks(&alice, "bob").await? == nothing);
    let nothing = json!({ "user": "alice", "status": "offline", "last_seen": null });
    ensure!(asks(&bob, "alice").await? == nothing);
    Ok(())
}

/// Calls of commands that Redis has carried out, those of scripts included.
async fn calls(stack: &Stack) -> Result<u64> {
    let client = redis::Client::open(stack.redis().url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await?;
    let calls =
        stats.lines().filter_map(|line| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok());
    Ok(calls.sum())
}

#[tokio::test]
async fn a_connect_costs_a_bounded_number_of_commands() -> Result<()> {
    const WINDOW: Duration = Duration::from_secs(4);
    let stack = Stack::builder().gateway_env("TIDINGS_WORKERS", 1).start().await?;
    let alice = stack.http("alice");
    for _ in 0..300 {
        alice.new_room(&["bob"]).await?;
    }
    // So that rooms and memberships are known to Redis, as they are in a running system.
    let before = stack.connect("alice").await?;
    let rooms = before.join_mine().await?.rooms;
    before.close().await?;
    let watcher = stack.connect("bob").await?;
    watcher.join_and_catch_up(&rooms[0].room).await?;
    tokio::time::sleep(GRACE_OVER).await;
    settle(&watcher).await;
    let before = calls(&stack).await?;
    tokio::time::sleep(WINDOW).await;
    let idle = calls(&stack).await? - before;

    let before = calls(&stack).await?;
    let _phone = stack.connect("alice").await?;
    tokio::time::sleep(WINDOW).await;
    let first = (calls(&stack).await? - before).saturating_sub(idle);
    told(&watcher, "alice", "online", SOON).await?;
    // 200 of the rooms are looked at, and what it takes besides is little.
    println!("{first} commands for the first device, {idle} when idle");
    ensure!((180..320).contains(&first), "{first} commands for the first device, {idle} when idle");

    let before = calls(&stack).await?;
    let mut devices = Vec::new();
    for _ in 0..5 {
        devices.push(stack.connect("alice").await?);
    }
    tokio::time::sleep(WINDOW).await;
    let more = (calls(&stack).await? - before).saturating_sub(idle);
    println!("{more} commands for five more devices");
    ensure!(more < 100, "{more} commands for five more devices, {idle} when idle");
    Ok(())
}
