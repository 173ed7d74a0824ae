//! Presence when nodes crash or hang, and when Redis hangs or loses its data.

use std::time::{Duration, Instant};

use crate::watching::{
    GRACE_AND_SWEEP, UPDATE_TIMEOUT, connect_watcher, expect_no_update, expect_update, get_presence, now_ms,
    parse_time_ms, set_status, wait_for_status,
};
use anyhow::{Result, ensure};
use tidings_harness::proxy::{LinkConditions, Proxy};
use tidings_harness::{Client, Stack};

/// The sum of the times of a node lease, its grace and the sweep.
const LEASE_AND_GRACE: Duration = Duration::from_secs(32);

#[tokio::test]
async fn killed_node_users_go_offline_after_lease_and_grace() -> Result<()> {
    let stack = Stack::builder().gateways(3).start().await?;
    let room = stack.http("alice").new_room(&["bob", "carol", "dave"]).await?;
    let alice = connect_watcher(&stack, 0, &room).await?;
    let _bob = stack.connect_at(1, "bob").await?;
    expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;
    // Carol is also connected to another node, with status away; dave reconnects to another node in time.
    let _carol = stack.connect_at(1, "carol").await?;
    expect_update(&alice, "carol", "online", UPDATE_TIMEOUT).await?;
    let other = stack.connect_at(2, "carol").await?;
    set_status(&other, "away").await?;
    let _dave = stack.connect_at(1, "dave").await?;
    expect_update(&alice, "dave", "online", UPDATE_TIMEOUT).await?;
    // Waits for one or two renewals of the lease.
    tokio::time::sleep(Duration::from_secs(8)).await;

    let (killed, killed_at) = (Instant::now(), now_ms());
    stack.gateway(1).kill();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let _back = stack.connect_at(2, "dave").await?;
    // The last renewal may be 5 s old, so no status changes in the first 20 s. The test waits only 15 s of them.
    expect_no_update(&alice, Duration::from_secs(15).saturating_sub(killed.elapsed())).await?;
    let mut frames = Vec::new();
    for _ in 0..2 {
        let frame = alice.wait_for("presence", LEASE_AND_GRACE.saturating_sub(killed.elapsed())).await?;
        frames.push(match frame {
            tidings_harness::ServerFrame::Other(frame) => frame,
            other => anyhow::bail!("{other:?}"),
        });
    }
    frames.sort_unstable_by_key(|frame| frame["user"].to_string());
    ensure!(frames[0]["user"] == "bob" && frames[0]["status"] == "offline", "{frames:?}");
    ensure!(frames[1]["user"] == "carol" && frames[1]["status"] == "away", "{frames:?}");
    // `last_seen` is the time of the last renewal of the node's lease.
    let seen = killed_at - parse_time_ms(&frames[0]["last_seen"])?;
    ensure!((-1000..7000).contains(&seen), "last_seen is {seen} ms before the kill: {frames:?}");
    expect_no_update(&alice, Duration::from_secs(4)).await?;
    ensure!(get_presence(&alice, "dave").await?["status"] == "online");
    Ok(())
}

#[tokio::test]
async fn last_seen_after_silent_cut_is_last_sign_of_life() -> Result<()> {
    // The cut is noticed after 10 s without a pong.
    let stack = Stack::builder().gateway_env("TIDINGS_HEARTBEAT_MS", "5000").start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = connect_watcher(&stack, 0, &room).await?;
    let path = Proxy::start(stack.gateway(0).ports().public).await?;
    let bob = Client::connect(&format!("ws://127.0.0.1:{}/v1/ws", path.port()), &stack.token("bob")).await?;
    expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;
    set_status(&bob, "online").await?;
    let cut_at = now_ms();
    path.set(LinkConditions::BLACK_HOLE);
    let frame = expect_update(&alice, "bob", "offline", Duration::from_secs(10) + GRACE_AND_SWEEP).await?;
    let after_cut = parse_time_ms(&frame["last_seen"])? - cut_at;
    ensure!(after_cut.abs() < 3000, "last seen {after_cut} ms after the cut: {frame}");
    Ok(())
}

#[tokio::test]
async fn connection_grace_outlives_killed_node() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = connect_watcher(&stack, 0, &room).await?;
    let bob = stack.connect_at(1, "bob").await?;
    expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let closed = Instant::now();
    bob.close().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    stack.gateway(1).kill();
    expect_update(&alice, "bob", "offline", GRACE_AND_SWEEP).await?;
    ensure!((8..17).contains(&closed.elapsed().as_secs()), "{:?}", closed.elapsed());
    Ok(())
}

#[tokio::test]
async fn stopped_node_users_go_offline_after_grace() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob", "carol"]).await?;
    let alice = connect_watcher(&stack, 0, &room).await?;
    let _bob = stack.connect_at(1, "bob").await?;
    expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;
    let _carol = stack.connect_at(1, "carol").await?;
    expect_update(&alice, "carol", "online", UPDATE_TIMEOUT).await?;
    let stopped = Instant::now();
    stack.gateway(1).stop().await?;
    let _back = stack.connect_at(0, "carol").await?;
    expect_update(&alice, "bob", "offline", GRACE_AND_SWEEP).await?;
    ensure!((7..20).contains(&stopped.elapsed().as_secs()), "{:?}", stopped.elapsed());
    expect_no_update(&alice, Duration::from_secs(4)).await?;
    Ok(())
}

#[tokio::test]
async fn paused_node_users_return_on_resume() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = connect_watcher(&stack, 0, &room).await?;
    let bob = stack.connect_at(1, "bob").await?;
    expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;
    stack.gateway(1).pause()?;
    expect_update(&alice, "bob", "offline", LEASE_AND_GRACE).await?;
    stack.gateway(1).resume()?;
    expect_update(&alice, "bob", "online", Duration::from_secs(15)).await?;
    // The expired lease no longer counts: a close still makes the user go offline.
    bob.close().await?;
    expect_update(&alice, "bob", "offline", GRACE_AND_SWEEP).await?;
    expect_no_update(&alice, Duration::from_secs(3)).await?;
    Ok(())
}

#[tokio::test]
async fn empty_redis_restores_online_users_and_last_seen() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob", "carol"]).await?;
    let alice = connect_watcher(&stack, 0, &room).await?;
    let bob = stack.connect_at(1, "bob").await?;
    expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;
    set_status(&bob, "away").await?;
    expect_update(&alice, "bob", "away", UPDATE_TIMEOUT).await?;
    let carol = stack.connect_at(1, "carol").await?;
    expect_update(&alice, "carol", "online", UPDATE_TIMEOUT).await?;
    carol.close().await?;
    let gone = expect_update(&alice, "carol", "offline", GRACE_AND_SWEEP).await?;
    let stored = "SELECT count(*) FROM presence WHERE user_id = 'carol' AND last_seen IS NOT NULL";
    let deadline = Instant::now() + UPDATE_TIMEOUT;
    while stack.database().value(stored).await? != "1" {
        ensure!(Instant::now() < deadline, "last_seen is not stored");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    stack.shards().restart_empty().await?;
    let timeout = Duration::from_secs(30);
    let deadline = Instant::now() + timeout;
    while get_presence(&alice, "bob").await.is_err() {
        ensure!(Instant::now() < deadline, "presence requests are not answered");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    wait_for_status(&alice, "bob", "away", timeout).await?;
    wait_for_status(&alice, "alice", "online", timeout).await?;
    let asked = get_presence(&alice, "carol").await?;
    ensure!(asked["status"] == "offline" && asked["last_seen"] == gone["last_seen"], "{asked} {gone}");
    // Updates work again.
    set_status(&bob, "online").await?;
    let deadline = Instant::now() + timeout;
    loop {
        let frame = format!("{:?}", alice.wait_for("presence", deadline - Instant::now()).await?);
        if frame.contains("bob") && frame.contains("online") {
            break;
        }
    }
    bob.close().await?;
    wait_for_status(&alice, "bob", "offline", GRACE_AND_SWEEP).await?;
    Ok(())
}

#[tokio::test]
async fn status_set_during_redis_hang_is_published_after_it() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = connect_watcher(&stack, 0, &room).await?;
    let bob = stack.connect_at(1, "bob").await?;
    expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;
    stack.shards().pause()?;
    // The gateway answers the command at once, and publishes the status when Redis is back.
    set_status(&bob, "away").await?;
    tokio::time::sleep(Duration::from_secs(6)).await;
    stack.shards().resume()?;
    wait_for_status(&alice, "bob", "away", Duration::from_secs(20)).await?;
    Ok(())
}

#[tokio::test]
async fn presence_missed_during_pub_sub_cut_is_delivered_after_it() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob", "carol"]).await?;
    let alice = connect_watcher(&stack, 0, &room).await?;
    let bob = stack.connect_at(1, "bob").await?;
    expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;
    // No pub/sub message arrives for two seconds: each pub/sub connection is cut as soon as it exists.
    let cut_until = Instant::now() + Duration::from_secs(2);
    let mut sent = false;
    while Instant::now() < cut_until {
        stack.shards().cut_pub_sub().await?;
        if !sent && cut_until - Instant::now() < Duration::from_millis(1500) {
            set_status(&bob, "away").await?;
            sent = true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    expect_update(&alice, "bob", "away", UPDATE_TIMEOUT).await?;
    // The update arrives once, and no older update arrives.
    expect_no_update(&alice, Duration::from_secs(2)).await?;
    let _carol = stack.connect_at(1, "carol").await?;
    expect_update(&alice, "carol", "online", UPDATE_TIMEOUT).await?;
    Ok(())
}

#[tokio::test]
async fn offline_is_published_once_rooms_can_be_looked_up_again() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = connect_watcher(&stack, 0, &room).await?;
    let bob = stack.connect_at(1, "bob").await?;
    expect_update(&alice, "bob", "online", UPDATE_TIMEOUT).await?;
    stack.persistence(0).pause()?;
    let client = redis::Client::open(stack.redis().url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    redis::cmd("DEL").arg("rooms:{bob}").exec_async(&mut connection).await?;
    bob.close().await?;
    // The grace passes, and some sweeps cannot look up the user's rooms.
    expect_no_update(&alice, GRACE_AND_SWEEP).await?;
    stack.persistence(0).resume()?;
    expect_update(&alice, "bob", "offline", Duration::from_secs(20)).await?;
    Ok(())
}
