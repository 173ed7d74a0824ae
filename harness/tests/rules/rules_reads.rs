//! The rule of reads: a node that has seen a room in an epoch ignores heads from earlier epochs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::proxy::{LinkConditions, Proxy};
use tidings_harness::redis::Redis;
use tidings_harness::stack::StackBuilder;
use tidings_harness::{Client, ServerFrame};
use tidings_shared::{ids::RoomId, log::keys};

use crate::processes::{redirect_persistence_to, start_replica};
use crate::replay::{
    BrokenPromise, Removal, ReplaySystem, STORE_DEADLINE, WAIT_TIMEOUT, ensure_needed, small_stack,
};
use crate::rules_processes::store_over_http;

/// Shorter than the time after which a gateway closes a connection that takes nothing.
const RECEIVER_BLOCKED_TIME: Duration = Duration::from_secs(7);

fn high_limits_stack() -> StackBuilder {
    let limits = ["TIDINGS_MESSAGES_PER_SECOND", "TIDINGS_MESSAGES_BURST"];
    let builder = small_stack().proxied().gateway_env("TIDINGS_WORKERS", 1);
    limits.into_iter().fold(builder, |builder, limit| builder.gateway_env(limit, 10_000))
}

/// Sends large messages until the outbox of a receiver is full. Returns the last seq.
async fn flood_receiver(system: &ReplaySystem) -> Result<u64> {
    let url = format!("https://files.example/{}", "x".repeat(2000));
    let attachment = json!({ "url": url, "name": "photo", "media_type": "image/png", "size": 1 });
    for number in 0.. {
        let mut fields = system.message_fields(&format!("flood-{number}"), Some(1));
        fields["attachments"] = json!(vec![&attachment; 10]);
        let last = system.alice.send_with(fields).await?.seq;
        let metrics = system.stack.gateway(0).metrics().await?;
        if metrics.lines().any(|line| line == "tidings_gateway_lagging_total 1") {
            return Ok(last);
        }
    }
    anyhow::bail!("the outbox is never full")
}

/// Moves the subscriptions of the gateway from one Redis process to another. Its other connections stay.
async fn move_subscriptions(system: &ReplaySystem, from: &Redis, to: &Redis) -> Result<()> {
    system.stack.links().gateways_redis().point_to(to.port());
    let _: usize = from.command(redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub")).await?;
    let (begun, channel) = (Instant::now(), keys::room(&RoomId::parse(&system.room)?));
    loop {
        let channels: Vec<String> = to.command(redis::cmd("PUBSUB").arg("CHANNELS").arg(&channel)).await?;
        if !channels.is_empty() {
            return Ok(());
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the room's channel is not subscribed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Connects bob over a proxy, and joins the room.
async fn connect_bob_over(system: &ReplaySystem, link: &Proxy) -> Result<Client> {
    let port = |port: u16| format!(":{port}/");
    let gateway = system.stack.gateway(0);
    let ws = gateway.ws().replace(&port(gateway.ports().public), &port(link.port()));
    let bob = Client::connect(&ws, &system.stack.token("bob")).await?;
    bob.join_and_catch_up(&system.room).await?;
    Ok(bob)
}

/// While the only receiver on a node takes nothing, the node's subscriptions move to another Redis process and back.
/// There the node learns of an epoch. Nobody reads the room on this node meanwhile.
async fn replay_node_hears_of_an_epoch_and_comes_back(system: &mut ReplaySystem) -> Result<BrokenPromise> {
    system.send_until_stored("a").await?;
    let (first, second) = (system.stack.redis(), start_replica(&system.stack).await?);
    let link = system.stack.links().clients_gateways.first().context("a link to the gateway")?;
    let bob = connect_bob_over(system, link).await?;
    link.set(LinkConditions { holds_down: true, ..LinkConditions::default() });
    let begun = Instant::now();
    flood_receiver(system).await?;
    second.promote().await?;
    move_subscriptions(system, first, &second).await?;
    redirect_persistence_to(&system.stack, &second);
    system.until_opened(2).await?;
    let alice = system.stack.http("alice");
    let is_stored = store_over_http(&alice, &system.room, "b", Instant::now() + WAIT_TIMEOUT).await?;
    ensure!(is_stored, "b is not stored");
    let head = format!("SELECT head_seq FROM rooms WHERE id = '{}'", system.room);
    let head: u64 = system.stack.database().value(&head).await?.parse()?;
    move_subscriptions(system, &second, first).await?;
    redirect_persistence_to(&system.stack, first);
    system.until_opened(3).await?;
    ensure!(
        begun.elapsed() < RECEIVER_BLOCKED_TIME,
        "bob's connection was blocked for {:?}",
        begun.elapsed()
    );
    link.heal();
    let healed = Instant::now();
    loop {
        match bob.next_of_log(STORE_DEADLINE.saturating_sub(healed.elapsed())).await {
            Ok(ServerFrame::Message(message)) if message.seq >= head => return Ok(None),
            Ok(ServerFrame::Gap(gap)) if gap.head.seq >= head => return Ok(None),
            Ok(_) => {}
            Err(error) => return Ok(Some(format!("bob never learns of the message at {head}: {error}"))),
        }
    }
}

#[tokio::test]
#[ignore = "long: its steps must take less than seven seconds together"]
async fn head_of_an_earlier_epoch_is_not_answered() -> Result<()> {
    let removal = Removal::Named("a head of an earlier epoch is not answered");
    ensure_needed(&[removal], high_limits_stack(), replay_node_hears_of_an_epoch_and_comes_back).await
}
