//! Who receives presence: only users who share a small room, each of them once. Also the cost of a connect.

use std::time::{Duration, Instant};

use crate::watching::{
    GRACE_AND_SWEEP, UPDATE_TIMEOUT, connect_watcher, discard_first_updates, expect_no_update, expect_update,
    get_presence, get_presence_http, join_and_list_online, set_status, wait_for_status,
};
use anyhow::{Result, ensure};
use reqwest::Method;
use serde_json::json;
use tidings_harness::{
    Stack,
    redis::{CommandMonitor, RedisTopology},
};

async fn start_two_gateways() -> Result<Stack> {
    Stack::builder().gateways(2).start().await
}

#[tokio::test]
async fn users_without_shared_room_learn_no_presence() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = connect_watcher(&stack, 0, &room).await?;
    let eve = stack.connect_at(0, "eve").await?;
    let own = stack.http("eve").new_room(&[]).await?;
    eve.join_and_catch_up(&own).await?;
    let bob = stack.connect_at(1, "bob").await?;
    expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;

    let nothing = json!({ "user": "bob", "status": "offline", "last_seen": null });
    ensure!(get_presence(&eve, "bob").await? == nothing);
    ensure!(get_presence_http(&stack.http("eve"), "bob").await? == nothing);
    let unknown = json!({ "user": "nobody", "status": "offline", "last_seen": null });
    ensure!(
        get_presence(&eve, "nobody").await? == unknown,
        "an unknown user must look like a user without a shared room"
    );
    // Users see their own presence, even without any room.
    ensure!(get_presence(&bob, "bob").await?["status"] == "online");
    let hermit = stack.connect_at(0, "hermit").await?;
    wait_for_status(&hermit, "hermit", "online", UPDATE_TIMEOUT).await?;

    bob.close().await?;
    let gone = expect_update(&alice, "bob", "offline", GRACE_AND_SWEEP).await?;
    ensure!(gone["last_seen"].is_string(), "{gone}");
    ensure!(get_presence(&eve, "bob").await? == nothing);
    ensure!(get_presence_http(&stack.http("eve"), "bob").await? == nothing);
    // Eve received only the update of her own connect.
    let (mut frames, quiet) = (Vec::new(), Duration::from_millis(500));
    while let Ok(frame) = eve.wait_for("presence", quiet).await {
        frames.push(format!("{frame:?}"));
    }
    ensure!(frames.iter().all(|frame| frame.contains("eve")), "{frames:?}");
    Ok(())
}

#[tokio::test]
async fn large_room_gets_no_presence_updates() -> Result<()> {
    let stack = Stack::shared().await?;
    let crowd: Vec<String> = (0..99).map(|n| format!("user-{n:03}")).collect();
    let mut members: Vec<&str> = crowd.iter().map(String::as_str).collect();
    let hundred = stack.http("alice").new_room(&members).await?;
    members.push("dave");
    let more = stack.http("alice").new_room(&members).await?;

    let alice = stack.connect("alice").await?;
    let listed = join_and_list_online(&alice, json!({ "type": "room:join", "room": hundred })).await?;
    ensure!(listed == Some(vec!["alice online".to_owned()]), "{listed:?}");
    let listed = join_and_list_online(&alice, json!({ "type": "room:join", "room": more })).await?;
    ensure!(listed.is_none(), "{listed:?}");
    discard_first_updates(&alice).await;

    // Dave is only in the larger room, and user-000 is in both rooms.
    let _dave = stack.connect("dave").await?;
    expect_no_update(&alice, Duration::from_secs(3)).await?;
    let _member = stack.connect("user-000").await?;
    expect_update(&alice, "user-000", "online", UPDATE_TIMEOUT).await?;
    // Alice may ask for dave's status, because they share a room.
    ensure!(get_presence(&alice, "dave").await?["status"] == "online");
    Ok(())
}

#[tokio::test]
async fn presence_change_is_sent_once_despite_many_shared_rooms() -> Result<()> {
    let stack = Stack::shared().await?;
    for _ in 0..20 {
        stack.http("alice").new_room(&["bob"]).await?;
    }
    let alice = stack.connect_at(0, "alice").await?;
    ensure!(alice.join_mine().await?.rooms.len() == 20);
    discard_first_updates(&alice).await;
    let bob = stack.connect_at(1, "bob").await?;
    expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;
    expect_no_update(&alice, Duration::from_secs(2)).await?;
    set_status(&bob, "away").await?;
    expect_update(&alice, "bob", "away", UPDATE_TIMEOUT).await?;
    expect_no_update(&alice, Duration::from_secs(2)).await?;
    Ok(())
}

#[tokio::test]
async fn join_without_presence_receives_no_updates() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    let join = json!({ "type": "room:join", "room": room, "presence": false });
    ensure!(join_and_list_online(&alice, join).await?.is_none());
    let bob = stack.connect("bob").await?;
    expect_no_update(&alice, Duration::from_secs(3)).await?;
    // After a join with presence, alice receives later updates.
    ensure!(join_and_list_online(&alice, json!({ "type": "room:join", "room": room })).await?.is_some());
    set_status(&bob, "away").await?;
    expect_update(&alice, "bob", "away", UPDATE_TIMEOUT).await?;
    // A room that alice left sends her no updates either.
    alice.leave(&room).await?;
    set_status(&bob, "online").await?;
    expect_no_update(&alice, Duration::from_secs(3)).await?;
    Ok(())
}

#[tokio::test]
async fn single_room_join_lists_online_members_including_self() -> Result<()> {
    let stack = start_two_gateways().await?;
    let room = stack.http("alice").new_room(&["bob", "carol", "dave"]).await?;
    let bob = stack.connect_at(0, "bob").await?;
    let carol = stack.connect_at(1, "carol").await?;
    set_status(&carol, "away").await?;
    wait_for_status(&bob, "carol", "away", UPDATE_TIMEOUT).await?;
    let alice = stack.connect_at(1, "alice").await?;
    let one = json!({ "type": "room:join", "room": room });
    let here = join_and_list_online(&alice, one.clone()).await?;
    let all = ["alice online", "bob online", "carol away"].map(str::to_owned).to_vec();
    ensure!(here == Some(all), "{here:?}");
    ensure!(join_and_list_online(&alice, json!({ "type": "room:join", "rooms": [room] })).await?.is_none());
    ensure!(join_and_list_online(&alice, json!({ "type": "room:join", "rooms": "mine" })).await?.is_none());

    // While persistence is paused, the list comes from the cache in Redis. Later, a new member must be in the list too.
    stack.persistence(0).pause()?;
    let paused = Instant::now();
    let here = join_and_list_online(&alice, one.clone()).await?;
    ensure!(here.as_ref().map(Vec::len) == Some(3) && paused.elapsed() < UPDATE_TIMEOUT, "{here:?}");
    stack.persistence(0).resume()?;
    let (alice_http, path) = (stack.http("alice"), format!("/rooms/{room}/members/erin"));
    alice_http.request(Method::PUT, &path, Some(json!({ "role": "member" }))).await?.expect(200);
    let _erin = stack.connect_at(0, "erin").await?;
    wait_for_status(&alice, "erin", "online", UPDATE_TIMEOUT).await?;
    let here = join_and_list_online(&alice, one).await?.unwrap_or_default();
    ensure!(here.contains(&"erin online".to_owned()), "{here:?}");
    Ok(())
}

#[tokio::test]
async fn leaving_last_shared_room_ends_presence_visibility() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = connect_watcher(&stack, 0, &room).await?;
    let bob = stack.connect("bob").await?;
    expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;
    let path = format!("/rooms/{room}/members/bob");
    stack.http("bob").request(Method::DELETE, &path, None).await?.expect(200);
    set_status(&bob, "away").await?;
    expect_no_update(&alice, Duration::from_secs(3)).await?;
    let nothing = json!({ "user": "bob", "status": "offline", "last_seen": null });
    ensure!(get_presence(&alice, "bob").await? == nothing);
    let nothing = json!({ "user": "alice", "status": "offline", "last_seen": null });
    ensure!(get_presence(&bob, "alice").await? == nothing);
    Ok(())
}

/// Number of commands about `names`, a user and the user's rooms, in four seconds. Ignores commands about other users and
/// background commands.
async fn commands_of_connects(monitor: &CommandMonitor, names: &[&str]) -> Result<usize> {
    tokio::time::sleep(Duration::from_secs(4)).await;
    Ok(monitor.take_commands(names)?.len())
}

#[tokio::test]
async fn connect_costs_bounded_number_of_redis_commands() -> Result<()> {
    let one_redis = Stack::builder().redis(RedisTopology::Single);
    let stack = one_redis.gateway_env("TIDINGS_WORKERS", 1).start().await?;
    let alice = stack.http("alice");
    for _ in 0..300 {
        alice.new_room(&["bob"]).await?;
    }
    // Fills the caches of rooms and memberships, as in a running system.
    let before = stack.connect("alice").await?;
    let rooms = before.join_mine().await?.rooms;
    before.close().await?;
    let watcher = stack.connect("bob").await?;
    watcher.join_and_catch_up(&rooms[0].room).await?;
    tokio::time::sleep(GRACE_AND_SWEEP).await;
    discard_first_updates(&watcher).await;
    let mut names: Vec<&str> = rooms.iter().map(|joined| joined.room.as_str()).collect();
    names.push("alice");
    let monitor = CommandMonitor::start(&stack.redis().url()).await?;
    let _phone = stack.connect("alice").await?;
    expect_update(&watcher, "alice", "online", UPDATE_TIMEOUT).await?;
    let first = commands_of_connects(&monitor, &names).await?;
    // A connect reads 200 of the user's rooms, and needs few other commands.
    println!("{first} commands for the first device");
    ensure!((200..320).contains(&first), "{first} commands for the first device");

    let mut devices = Vec::new();
    for _ in 0..5 {
        devices.push(stack.connect("alice").await?);
    }
    let more = commands_of_connects(&monitor, &names).await?;
    println!("{more} commands for five more devices");
    ensure!(more < 100, "{more} commands for five more devices");
    Ok(())
}
