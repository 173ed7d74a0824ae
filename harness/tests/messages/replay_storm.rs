//! Many clients rejoin a room with a full tail at once, over a slow link to Redis, while other users send.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::json;
use tidings_harness::{Client, Cursor, ServerFrame, Stack, clock, proxy::LinkConditions};

const CLIENTS: usize = 100;
const WAIT_TIMEOUT: Duration = Duration::from_secs(40);

/// Joins after a cursor, and receives all messages up to this seq.
async fn rejoin(client: &Client, room: &str, after: &Cursor, last: u64) -> Result<()> {
    client.join_after(room, after).await?;
    let mut position = after.seq;
    loop {
        match client.next_of_log(WAIT_TIMEOUT).await? {
            ServerFrame::Message(message) => {
                ensure!(message.seq == position + 1, "{} after {position}", message.seq);
                position = message.seq;
            }
            ServerFrame::CaughtUp(caught_up) => {
                ensure!(caught_up.seq == position && position >= last, "{caught_up:?} after {position}");
                return Ok(());
            }
            other => anyhow::bail!("{other:?} after {position}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sends_continue_while_clients_replay_full_tails() -> Result<()> {
    let mut builder = Stack::builder().proxied().gateway_env("TIDINGS_WORKERS", 1);
    for setting in ["MESSAGES_PER_SECOND", "MESSAGES_BURST", "JOINS_PER_SECOND", "CONNECTIONS_PER_USER"] {
        builder = builder.gateway_env(&format!("TIDINGS_{setting}"), 10_000);
    }
    let stack = builder.start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let other = stack.http("alice").new_room(&[]).await?;
    let alice = stack.connect("alice").await?;
    let from = alice.join_and_catch_up(&room).await?;
    let after = Cursor { epoch: from.epoch, seq: from.seq };
    let mut last = 0;
    for _ in 0..50 {
        let fields = json!({
            "room": room, "client_id": clock::client_id(), "content": "back", "metadata": {"fill": "x".repeat(700)}
        });
        last = alice.send_with(fields).await?.seq;
    }
    let clients = try_join_all((0..CLIENTS).map(|_| stack.connect("bob"))).await?;
    // The link passes at most 16 KiB per 20 ms on each connection to Redis, so the tails alone need at least 5 s.
    let link = stack.links().gateways_redis();
    link.set(LinkConditions { delay: Duration::from_millis(20), ..LinkConditions::default() });
    let coming_back = try_join_all(clients.iter().map(|client| rejoin(client, &room, &after, last)));
    let sending = async {
        for number in 0..20 {
            alice.send(&other, &number.to_string()).await.with_context(|| format!("message {number}"))?;
        }
        Ok::<(), anyhow::Error>(())
    };
    let (came_back, sent) = tokio::join!(coming_back, sending);
    link.heal();
    sent?;
    came_back?;
    let log = stack.gateway(0).log()?;
    ensure!(!log.contains("Redis session closed"), "{log}");
    Ok(())
}
