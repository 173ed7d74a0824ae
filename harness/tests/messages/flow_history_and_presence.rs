//! A support desk: the last fifty messages and older pages by cursor, presence, and reconnects after a network failure.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tidings_harness::{Client, Stack};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

async fn start_two_gateways() -> Result<Stack> {
    let stack = Stack::builder().gateways(2);
    stack
        .gateway_env("TIDINGS_MESSAGES_PER_SECOND", 10_000)
        .gateway_env("TIDINGS_MESSAGES_BURST", 10_000)
        .start()
        .await
}

fn seqs(page: &Value) -> Vec<u64> {
    page["messages"].as_array().into_iter().flatten().filter_map(|message| message["seq"].as_u64()).collect()
}

#[tokio::test]
async fn history_pages_hold_fifty_and_follow_without_gap() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("desk").new_room(&["guest-7"]).await?;
    let desk = stack.connect("desk").await?;
    for n in 1..=130 {
        desk.send_with(
            json!({"room": room, "client_id": n.to_string(), "content": n.to_string(), "ack": "accepted"}),
        )
        .await?;
    }
    desk.send(&room, "131").await?;
    let guest = stack.http("guest-7");
    let mut page = guest.messages(&room, "").await?.expect(200).body;
    ensure!(seqs(&page) == (82..=131).collect::<Vec<_>>() && page["has_after"] == false, "{:?}", seqs(&page));
    let mut all = seqs(&page);
    while page["has_before"] == true {
        page = guest.messages(&room, &format!("before={}", all[0])).await?.expect(200).body;
        all.splice(0..0, seqs(&page));
    }
    ensure!(all == (1..=131).collect::<Vec<_>>(), "{all:?}");

    // Joining after the page's head misses nothing between the page and live messages.
    let page = guest.messages(&room, "").await?.expect(200).body;
    desk.send(&room, "132").await?;
    let live = stack.connect_at(1, "guest-7").await?;
    live.join_after(&room, &serde_json::from_value(page["head"].clone())?).await?;
    ensure!(live.wait_for("message:new", WAIT_TIMEOUT).await?.log_position() == Some((room.as_str(), 132)));
    Ok(())
}

#[tokio::test]
async fn presence_is_reported_on_join_change_and_request() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("desk").new_room(&["guest-7", "guest-8"]).await?;
    let desk = stack.connect_at(0, "desk").await?;
    desk.join_and_catch_up(&room).await?;
    let guest = stack.connect_at(1, "guest-7").await?;
    wait_for_status(&desk, "guest-7", "online").await?;
    let (_, joined) = guest.ask(json!({"type": "room:join", "room": room})).await?;
    let online: Vec<_> =
        joined["rooms"][0]["online"].as_array().context("no list")?.iter().map(|one| &one["user"]).collect();
    ensure!(online.contains(&&json!("desk")) && !online.contains(&&json!("guest-8")), "{joined}");

    guest.ask(json!({"type": "presence:set", "status": "away"})).await?;
    wait_for_status(&desk, "guest-7", "away").await?;
    let (_, list) =
        desk.ask(json!({"type": "presence:get", "users": ["guest-7", "guest-8", "stranger"]})).await?;
    let status: Vec<_> = list["users"].as_array().into_iter().flatten().map(|one| &one["status"]).collect();
    ensure!(status == ["away", "offline", "offline"], "{list}");
    let by_http = stack.http("desk").get("/presence?user=guest-7").await?.expect(200).body;
    ensure!(by_http["users"][0]["status"] == "away", "{by_http}");

    guest.close().await?;
    wait_for_status(&desk, "guest-7", "offline").await?;
    Ok(())
}

/// Waits until an update shows this status of the user.
async fn wait_for_status(client: &Client, user: &str, status: &str) -> Result<()> {
    for _ in 0..50 {
        let frame = client.wait_for("presence", Duration::from_secs(40)).await?;
        let tidings_harness::ServerFrame::Other(frame) = frame else { bail!("not a presence frame") };
        if frame["user"] == user && frame["status"] == status {
            return Ok(());
        }
    }
    bail!("{user} never became {status}")
}

#[tokio::test]
async fn reconnect_with_backoff_misses_nothing() -> Result<()> {
    let stack = start_two_gateways().await?;
    let room = stack.http("desk").new_room(&["guest-7"]).await?;
    let desk = stack.connect_at(0, "desk").await?;
    let guest = stack.connect_at(1, "guest-7").await?;
    let mut cursor = guest.join(&room).await?.head;
    drop(guest);
    // Clients retry after 1, 2, 4 … s, at most 30 s; the test uses shorter pauses. The node restarts after the fourth
    // try.
    stack.gateway(1).kill();
    for n in 1..=5 {
        desk.send(&room, &n.to_string()).await?;
    }
    let mut pause = Duration::from_millis(50);
    let mut tries = 0;
    let back = loop {
        tries += 1;
        match stack.connect_at(1, "guest-7").await {
            Ok(client) => break client,
            Err(_) if tries == 4 => stack.gateway(1).restart().await?,
            Err(error) => ensure!(tries < 30, "{error}"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(1500));
    };
    ensure!(tries > 4, "the node was not down");
    back.join_after(&room, &cursor).await?;
    for n in 1..=5 {
        let missed = back.wait_for("message:new", WAIT_TIMEOUT).await?;
        ensure!(missed.log_position() == Some((room.as_str(), n)), "{missed:?}");
        cursor.seq = n;
    }
    back.wait_for("room:caught_up", WAIT_TIMEOUT).await?;
    let before = back.ping().await?;
    ensure!(back.ping().await? >= before);
    Ok(())
}
