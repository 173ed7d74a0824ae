//! Shutdown of a persistence node: it becomes unready, finishes pending requests and releases its partitions, which
//! another node takes over at once.

use crate::room_log;
use std::time::{Duration, Instant};

use crate::draining::{WAIT_TIMEOUT, until_gone, until_unready};
use anyhow::{Result, ensure};
use serde_json::json;
use tidings_harness::{Stack, clock, http};

/// Waits until the first event of the room is appended in Redis.
async fn until_first_append(stack: &Stack, room: &str) -> Result<()> {
    let begun = Instant::now();
    let client = redis::Client::open(stack.redis().url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let key = tidings_shared::log::keys::room(&tidings_shared::ids::RoomId::parse(room)?);
    loop {
        let head: Option<u64> = redis::cmd("HGET").arg(&key).arg("seq").query_async(&mut connection).await?;
        if head == Some(1) {
            return Ok(());
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "nothing was appended: {head:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn stopping_node_answers_pending_send_and_refuses_new_requests() -> Result<()> {
    let stack = Stack::start().await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let held = room_log::hold_messages(&stack, 4.0).await?;
    let sending = tokio::spawn({
        let (http, room) = (stack.http("alice"), room.clone());
        async move { http.send(&room, &clock::client_id(), "in flight").await }
    });
    until_first_append(&stack, &room).await?;
    stack.persistence(0).terminate()?;
    until_unready(stack.persistence(0)).await?;
    let begun = Instant::now();
    // A connection made while the listener closes may be reset instead of refused.
    while !stack.http("alice").get("/me/rooms").await.is_err_and(|error| error.is_connect()) {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the node still accepts connections");
    }
    let answer = sending.await??.expect(201).body;
    ensure!(answer["stage"] == "stored", "{answer}");
    until_gone(stack.persistence(0)).await?;
    let owned = "SELECT count(*) FROM partitions WHERE owner IS NOT NULL";
    ensure!(stack.database().value(owned).await? == "0");
    held.await?;
    Ok(())
}

#[tokio::test]
async fn released_partitions_are_taken_over_before_next_renewal() -> Result<()> {
    const LEASE: Duration = Duration::from_secs(60);
    let stack = Stack::builder()
        .persistence(2)
        .persistence_env("TIDINGS_LEASE_MS", LEASE.as_millis())
        .start()
        .await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let alice = stack.connect("alice").await?;
    let ack = alice.send(&room, "before").await?;
    ensure!(ack.seq == 1);
    // The first node owns all partitions, because the next renewal is far away.
    let owners = "SELECT count(DISTINCT owner) FROM partitions WHERE owner IS NOT NULL";
    ensure!(stack.database().value(owners).await? == "1");
    stack.persistence(0).stop().await?;
    let begun = Instant::now();
    ensure!(alice.send(&room, "after").await?.seq == 2);
    ensure!(begun.elapsed() < LEASE / 6, "{:?}", begun.elapsed());
    Ok(())
}

#[tokio::test]
async fn unready_persistence_serves_requests_with_connection_close() -> Result<()> {
    let stack = Stack::builder().persistence_env("TIDINGS_UNREADY_MS", 3_000).start().await?;
    let ask = || http::client().get(format!("{}/v1/me/rooms", stack.persistence(0).url()));
    let ask = || ask().bearer_auth(stack.token("alice")).send();
    ensure!(ask().await?.headers().get("connection").is_none());
    stack.persistence(0).terminate()?;
    until_unready(stack.persistence(0)).await?;
    let answer = ask().await?;
    ensure!(answer.status() == 200 && answer.headers()["connection"] == "close", "{answer:?}");
    until_gone(stack.persistence(0)).await?;
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_persistence_at_once() -> Result<()> {
    let stack = Stack::start().await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let held = room_log::hold_messages(&stack, 15.0).await?;
    let sending = tokio::spawn({
        let (http, room) = (stack.http("alice"), room.clone());
        let body = json!({"client_id": clock::client_id(), "content": "cut off"});
        async move { http.post(&format!("/rooms/{room}/messages"), body).await }
    });
    until_first_append(&stack, &room).await?;
    stack.persistence(0).terminate()?;
    until_unready(stack.persistence(0)).await?;
    stack.persistence(0).terminate()?;
    let took = until_gone(stack.persistence(0)).await?;
    ensure!(took < Duration::from_secs(6), "{took:?}");
    ensure!(sending.await?.is_err());
    held.await?;
    Ok(())
}
