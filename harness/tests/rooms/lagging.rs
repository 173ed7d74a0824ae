//! A client that reads slower than its rooms send stays connected and misses nothing.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::{join_all, try_join_all};
use serde_json::{Value, json};
use tidings_harness::{
    Client, ServerFrame, Stack, clock,
    proxy::{LinkConditions, Proxy},
    stack::StackBuilder,
};
use tidings_shared::{ids::RoomId, log::keys};

use crate::hearing::{WAIT_TIMEOUT, connect_and_join};

/// Shorter than the write timeout of the gateway.
const MAX_FLOOD_TIME: Duration = Duration::from_secs(7);

async fn metric(stack: &Stack, name: &str) -> Result<u64> {
    let page = stack.gateway(0).metrics().await?;
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.unwrap_or("0").parse()?)
}

/// Connects to the first gateway over a proxy.
async fn connect_over(stack: &Stack, link: &Proxy, user: &str) -> Result<Client> {
    let port = |port: u16| format!(":{port}/");
    let ws = stack.gateway(0).ws().replace(&port(stack.gateway(0).ports().public), &port(link.port()));
    Ok(Client::connect(&ws, &stack.token(user)).await?)
}

/// Builds a stack whose gateway has one worker and high message limits.
fn one_worker_stack() -> StackBuilder {
    ["TIDINGS_MESSAGES_PER_SECOND", "TIDINGS_MESSAGES_BURST"]
        .into_iter()
        .fold(Stack::builder().gateway_env("TIDINGS_WORKERS", 1), |builder, limit| {
            builder.gateway_env(limit, 10_000)
        })
}

/// Sends ten large messages at a time until a receiver lags. Returns the seq of the last message.
async fn flood_until_lagging(stack: &Stack, sender: &Client, receiver: &Client, room: &str) -> Result<u64> {
    let (begun, mut last) = (Instant::now(), 0);
    while metric(stack, "tidings_gateway_lagging_total").await? == 0 {
        let elapsed = begun.elapsed();
        ensure!(receiver.closed().is_none() && elapsed < MAX_FLOOD_TIME, "nothing lags after {elapsed:?}");
        let sends = (0..10).map(|_| sender.send_with(large_message(room)));
        last = try_join_all(sends).await?.iter().map(|ack| ack.seq).fold(last, u64::max);
    }
    Ok(last)
}

/// A message of about 20 KB.
fn large_message(room: &str) -> Value {
    let url = format!("https://files.example/{}", "x".repeat(2_000));
    let attachment = json!({"url": url, "name": "photo", "media_type": "image/png", "size": 1});
    json!({
        "room": room, "client_id": clock::client_id(), "content": "photos", "attachments": vec![attachment; 10],
        "ack": "accepted", "attempt": 1
    })
}

/// Receives the events of the room up to this seq, and checks that each is sent once or is in a gap. Returns the number
/// of the gaps.
async fn receive_all(client: &Client, last: u64, mut position: u64) -> Result<u64> {
    let mut gaps = 0;
    while position < last {
        match client.next_of_log(WAIT_TIMEOUT).await? {
            ServerFrame::Message(message) => {
                ensure!(message.seq == position + 1, "{} after {position}", message.seq);
                position = message.seq;
            }
            ServerFrame::Gap(gap) => {
                ensure!(gap.after == position && gap.head.seq > position, "{gap:?} after {position}");
                position = gap.head.seq;
                gaps += 1;
            }
            other => anyhow::bail!("{other:?} after {position}"),
        }
    }
    ensure!(position == last, "{position} is above {last}");
    Ok(gaps)
}

#[tokio::test]
async fn receiver_with_full_outbox_is_replayed_and_stays_connected() -> Result<()> {
    let stack = one_worker_stack().start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    let link = Proxy::start(stack.gateway(0).ports().public).await?;
    let bob = connect_over(&stack, &link, "bob").await?;
    let joined_at = bob.join_and_catch_up(&room).await?.seq;
    let near = connect_and_join(&stack, 0, "alice", &room).await?;
    // Packets to bob are held back until the buffers of the kernel and of the gateway are full.
    link.set(LinkConditions { holds_down: true, ..LinkConditions::default() });
    let last = flood_until_lagging(&stack, &alice, &bob, &room).await?;
    let queued = metric(&stack, "tidings_gateway_outbox_bytes").await?;
    ensure!((128 * 1024..=256 * 1024).contains(&queued), "{queued} bytes are queued");
    link.heal();
    let gaps = receive_all(&bob, last, joined_at).await.context("bob")?;
    ensure!(gaps <= 1, "{gaps} gaps");
    ensure!(receive_all(&near, last, joined_at).await.context("alice")? == 0, "a quick receiver has no gap");
    // Bob receives live events again.
    let seq = alice.send(&room, "after").await?.seq;
    receive_all(&bob, seq, last).await?;
    ensure!(metric(&stack, "tidings_gateway_lagging_total").await? == 1);
    ensure!(metric(&stack, "tidings_gateway_closes_total{code=\"4413\"}").await? == 0);
    Ok(())
}

/// Deletes a room whose messages are all stored. No function of the service deletes a room, but a restore may.
async fn delete_room(stack: &Stack, room: &str) -> Result<()> {
    let delete =
        format!("DELETE FROM members WHERE room_id = '{room}'; DELETE FROM rooms WHERE id = '{room}'");
    stack.database().query(&delete).await?;
    let mut forget = redis::cmd("DEL");
    forget.arg(keys::room(&RoomId::parse(room)?)).arg(keys::tail(&RoomId::parse(room)?));
    stack.shards().command::<()>(&forget).await
}

/// Waits until the only subscription of the gateway was ended because its room does not exist.
async fn ensure_subscription_ended(stack: &Stack, client: &Client, room: &str) -> Result<()> {
    let refusal = loop {
        if let ServerFrame::Error(error) = client.next_event(WAIT_TIMEOUT).await? {
            break error;
        }
    };
    ensure!(refusal.code == "not_found" && refusal.room.as_deref() == Some(room), "{refusal:?}");
    ensure!(metric(stack, "tidings_gateway_rooms").await? == 0, "the subscription has not ended");
    Ok(())
}

#[tokio::test]
async fn lagging_subscription_of_missing_room_ends() -> Result<()> {
    let stack = one_worker_stack().start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    let link = Proxy::start(stack.gateway(0).ports().public).await?;
    let bob = connect_over(&stack, &link, "bob").await?;
    bob.join_and_catch_up(&room).await?;
    link.set(LinkConditions { holds_down: true, ..LinkConditions::default() });
    flood_until_lagging(&stack, &alice, &bob, &room).await?;
    // When this message is stored, all earlier messages of the room are stored too.
    alice.send(&room, "last").await?;
    delete_room(&stack, &room).await?;
    link.heal();
    ensure_subscription_ended(&stack, &bob, &room).await?;
    bob.ping().await?;
    Ok(())
}

#[tokio::test]
async fn live_subscription_of_missing_room_ends() -> Result<()> {
    let stack = one_worker_stack().start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let bob = connect_and_join(&stack, 0, "bob", &room).await?;
    stack.connect("alice").await?.send(&room, "last").await?;
    delete_room(&stack, &room).await?;
    // A hint with a hole before it, so that the gateway reads the room.
    let hint = format!("1\x1f1\x1f1000\x1f0\x1f{room}\x1fmessage:new\x1falice\x1f\x1f\x1f\x1f\x1f\n{{}}");
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(keys::room(&RoomId::parse(&room)?)).arg(hint);
    stack.shards().command::<()>(&publish).await?;
    ensure_subscription_ended(&stack, &bob, &room).await?;
    bob.ping().await?;
    Ok(())
}

/// Sends five messages of 60 KB while the gateway is paused, so that it receives all of them at once.
async fn send_while_paused(stack: &Stack, room: &str) -> Result<u64> {
    let (http, path) = (stack.http("alice"), format!("/rooms/{room}/messages"));
    let sends = join_all((0..5).map(|_| {
        let body = json!({
            "client_id": clock::client_id(), "content": "x".repeat(60_000), "ack": "accepted", "attempt": 1
        });
        http.post(&path, body)
    }));
    stack.gateway(0).pause()?;
    let answers = sends.await;
    stack.gateway(0).resume()?;
    let mut last = 0;
    for answer in answers {
        last = last.max(answer?.expect(202).body["seq"].as_u64().unwrap_or_default());
    }
    Ok(last)
}

#[tokio::test]
async fn distant_receiver_gets_large_messages_of_one_turn() -> Result<()> {
    let builder = Stack::builder().gateway_env("TIDINGS_WORKERS", 1).env("TIDINGS_MAX_MESSAGE_CHARS", 60_000);
    let stack = builder.env("TIDINGS_MESSAGES_PER_SECOND", 10_000).start().await?;
    let room = stack.http("alice").new_room(&["bob", "carol"]).await?;
    let (links, mut receivers) = (
        [
            Proxy::start(stack.gateway(0).ports().public).await?,
            Proxy::start(stack.gateway(0).ports().public).await?,
        ],
        Vec::new(),
    );
    for (link, (user, delay_ms)) in links.iter().zip([("bob", 50), ("carol", 200)]) {
        let receiver = connect_over(&stack, link, user).await?;
        let joined_at = receiver.join_and_catch_up(&room).await?.seq;
        link.set(LinkConditions { delay: Duration::from_millis(delay_ms), ..LinkConditions::default() });
        receivers.push((receiver, joined_at));
    }
    let last = send_while_paused(&stack, &room).await?;
    for (receiver, joined_at) in &receivers {
        let gaps = receive_all(receiver, last, *joined_at).await?;
        ensure!(gaps == 0 && receiver.closed().is_none(), "{gaps} gaps, {:?}", receiver.closed());
    }
    ensure!(metric(&stack, "tidings_gateway_closes_total{code=\"4413\"}").await? == 0);
    Ok(())
}

#[tokio::test]
async fn signals_to_full_outbox_are_dropped_and_close_nothing() -> Result<()> {
    let stack = one_worker_stack().gateway_env("TIDINGS_SIGNALS_PER_SECOND", 10_000).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    let link = Proxy::start(stack.gateway(0).ports().public).await?;
    let bob = connect_over(&stack, &link, "bob").await?;
    let joined_at = bob.join_and_catch_up(&room).await?.seq;
    link.set(LinkConditions { holds_down: true, ..LinkConditions::default() });
    let signal = json!({"type": "signal", "room": room, "data": "x".repeat(15 * 1024)});
    let begun = Instant::now();
    while metric(&stack, "tidings_gateway_lagging_total").await? == 0 {
        ensure!(
            bob.closed().is_none() && begun.elapsed() < MAX_FLOOD_TIME,
            "nothing lags after {:?}",
            begun.elapsed()
        );
        try_join_all((0..20).map(|_| alice.ask(signal.clone()))).await?;
    }
    let last = alice.send(&room, "between").await?.seq;
    link.heal();
    ensure!(receive_all(&bob, last, joined_at).await? == 0, "a signal has no position");
    Ok(())
}
