//! Presence when nodes die, stand still, and when Redis loses its data.

use std::time::{Duration, Instant};

use crate::watching::{GRACE_OVER, SOON, asks, ms, now_ms, says, silence, told, until, watcher};
use anyhow::{Result, ensure};
use tidings_harness::Stack;

/// A lease, its grace, and what the sweep needs.
const LEASE_AND_GRACE: Duration = Duration::from_secs(32);

#[tokio::test]
async fn users_of_a_killed_node_go_when_its_lease_and_grace_are_over() -> Result<()> {
    let stack = Stack::builder().gateways(3).start().await?;
    let room = stack.http("alice").new_room(&["bob", "carol", "dave"]).await?;
    let alice = watcher(&stack, 0, &room).await?;
    let _bob = stack.connect_at(1, "bob").await?;
    told(&alice, "bob", "online", SOON).await?;
    // Carol is on another node as well, where she is away; dave comes back elsewhere in time.
    let _carol = stack.connect_at(1, "carol").await?;
    told(&alice, "carol", "online", SOON).await?;
    let other = stack.connect_at(2, "carol").await?;
    says(&other, "away").await?;
    let _dave = stack.connect_at(1, "dave").await?;
    told(&alice, "dave", "online", SOON).await?;
    // Time for a renewal or two, so that the lease is not the first.
    tokio::time::sleep(Duration::from_secs(8)).await;

    let (killed, killed_at) = (Instant::now(), now_ms());
    stack.gateway(1).kill();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let _back = stack.connect_at(2, "dave").await?;
    // The last renewal may be five seconds old: not before twenty, fifteen to be safe.
    silence(&alice, Duration::from_secs(15).saturating_sub(killed.elapsed())).await?;
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
    // Seen last when the node was heard of last.
    let seen = killed_at - ms(&frames[0]["last_seen"])?;
    ensure!((-1000..7000).contains(&seen), "{seen} ms before the end: {frames:?}");
    silence(&alice, Duration::from_secs(4)).await?;
    ensure!(asks(&alice, "dave").await?["status"] == "online");
    Ok(())
}

#[tokio::test]
async fn the_grace_of_a_connection_outlives_its_node() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = watcher(&stack, 0, &room).await?;
    let bob = stack.connect_at(1, "bob").await?;
    told(&alice, "bob", "online", SOON).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let closed = Instant::now();
    bob.close().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    stack.gateway(1).kill();
    told(&alice, "bob", "offline", GRACE_OVER).await?;
    ensure!((8..17).contains(&closed.elapsed().as_secs()), "{:?}", closed.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_node_that_stops_leaves_its_users_the_grace_and_no_more() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob", "carol"]).await?;
    let alice = watcher(&stack, 0, &room).await?;
    let _bob = stack.connect_at(1, "bob").await?;
    told(&alice, "bob", "online", SOON).await?;
    let _carol = stack.connect_at(1, "carol").await?;
    told(&alice, "carol", "online", SOON).await?;
    let stopped = Instant::now();
    stack.gateway(1).stop().await?;
    let _back = stack.connect_at(0, "carol").await?;
    told(&alice, "bob", "offline", GRACE_OVER).await?;
    ensure!((7..20).contains(&stopped.elapsed().as_secs()), "{:?}", stopped.elapsed());
    silence(&alice, Duration::from_secs(4)).await?;
    Ok(())
}

#[tokio::test]
async fn users_of_a_node_that_stood_still_come_back_with_it() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = watcher(&stack, 0, &room).await?;
    let bob = stack.connect_at(1, "bob").await?;
    told(&alice, "bob", "online", SOON).await?;
    stack.gateway(1).pause()?;
    told(&alice, "bob", "offline", LEASE_AND_GRACE).await?;
    stack.gateway(1).resume()?;
    told(&alice, "bob", "online", Duration::from_secs(15)).await?;
    // The life that was over counts no more: what it held goes with a close as ever.
    bob.close().await?;
    told(&alice, "bob", "offline", GRACE_OVER).await?;
    silence(&alice, Duration::from_secs(3)).await?;
    Ok(())
}

#[tokio::test]
async fn after_redis_lost_everything_who_is_connected_is_online_and_who_went_is_remembered() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob", "carol"]).await?;
    let alice = watcher(&stack, 0, &room).await?;
    let bob = stack.connect_at(1, "bob").await?;
    told(&alice, "bob", "online", SOON).await?;
    says(&bob, "away").await?;
    told(&alice, "bob", "away", SOON).await?;
    let carol = stack.connect_at(1, "carol").await?;
    told(&alice, "carol", "online", SOON).await?;
    carol.close().await?;
    let gone = told(&alice, "carol", "offline", GRACE_OVER).await?;
    let stored = "SELECT count(*) FROM presence WHERE user_id = 'carol' AND last_seen IS NOT NULL";
    let deadline = Instant::now() + SOON;
    while stack.database().value(stored).await? != "1" {
        ensure!(Instant::now() < deadline, "who went is not written down");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    stack.redis().restart_empty().await?;
    let patience = Duration::from_secs(30);
    let deadline = Instant::now() + patience;
    while asks(&alice, "bob").await.is_err() {
        ensure!(Instant::now() < deadline, "nobody is answered");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    until(&alice, "bob", "away", patience).await?;
    until(&alice, "alice", "online", patience).await?;
    let asked = asks(&alice, "carol").await?;
    ensure!(asked["status"] == "offline" && asked["last_seen"] == gone["last_seen"], "{asked} {gone}");
    // And all goes on as before.
    says(&bob, "online").await?;
    let deadline = Instant::now() + patience;
    loop {
        let frame = format!("{:?}", alice.wait_for("presence", deadline - Instant::now()).await?);
        if frame.contains("bob") && frame.contains("online") {
            break;
        }
    }
    bob.close().await?;
    until(&alice, "bob", "offline", GRACE_OVER).await?;
    Ok(())
}

#[tokio::test]
async fn what_is_said_while_redis_hangs_is_told_once_it_is_back() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = watcher(&stack, 0, &room).await?;
    let bob = stack.connect_at(1, "bob").await?;
    told(&alice, "bob", "online", SOON).await?;
    stack.redis().pause()?;
    // Said while nobody listens: it is answered, and told when it can be.
    says(&bob, "away").await?;
    tokio::time::sleep(Duration::from_secs(6)).await;
    stack.redis().resume()?;
    until(&alice, "bob", "away", Duration::from_secs(20)).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_node_did_not_hear_it_tells_when_it_hears_again() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob", "carol"]).await?;
    let alice = watcher(&stack, 0, &room).await?;
    let bob = stack.connect_at(1, "bob").await?;
    told(&alice, "bob", "online", SOON).await?;
    let client = redis::Client::open(stack.redis().url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    // Nobody hears anything for two seconds: each connection for pub/sub is cut as soon as it is there.
    let cut_until = Instant::now() + Duration::from_secs(2);
    let mut said = false;
    while Instant::now() < cut_until {
        redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").exec_async(&mut connection).await?;
        if !said && cut_until - Instant::now() < Duration::from_millis(1500) {
            says(&bob, "away").await?;
            said = true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    told(&alice, "bob", "away", SOON).await?;
    // Once, and nothing of before.
    silence(&alice, Duration::from_secs(2)).await?;
    let _carol = stack.connect_at(1, "carol").await?;
    told(&alice, "carol", "online", SOON).await?;
    Ok(())
}

#[tokio::test]
async fn who_goes_while_nobody_can_say_which_rooms_they_are_in_is_told_of_once_somebody_can() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = watcher(&stack, 0, &room).await?;
    let bob = stack.connect_at(1, "bob").await?;
    told(&alice, "bob", "online", SOON).await?;
    stack.persistence(0).pause()?;
    let client = redis::Client::open(stack.redis().url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    redis::cmd("DEL").arg("rooms:{bob}").exec_async(&mut connection).await?;
    bob.close().await?;
    // The grace, and some sweeps that find nobody to tell.
    silence(&alice, GRACE_OVER).await?;
    stack.persistence(0).resume()?;
    told(&alice, "bob", "offline", Duration::from_secs(20)).await?;
    Ok(())
}
