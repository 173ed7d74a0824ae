//! Drain of a gateway: it becomes unready, refuses new connections, tells each connection when to leave, and closes
//! those that stay. It answers pending commands until the drain time is over.

use crate::room_log;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::draining::{
    WAIT_TIMEOUT, close_code_without_frames, metric, reconnect_delay, until_gone, until_metric, until_unready,
};
use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use serde_json::json;
use tidings_harness::{Client, ClientError, Http, ServerFrame, Stack, TokenBy};

async fn start_stack_with_drain_time(drain_ms: u64) -> Result<Stack> {
    Stack::builder().gateway_env("TIDINGS_DRAIN_MS", drain_ms).start().await
}

// Covers: draining, 1012.
#[tokio::test]
async fn drain_notices_are_spread_evenly_and_followed_by_close() -> Result<()> {
    const CONNECTIONS: usize = 60;
    let stack = start_stack_with_drain_time(7_500).await?;
    let people: Vec<String> = (0..CONNECTIONS).map(|number| format!("p{number}")).collect();
    let clients = try_join_all(people.iter().map(|user| stack.connect(user))).await?;
    stack.gateway(0).terminate()?;
    let begun = Instant::now();
    let ends = clients.iter().map(|client| async {
        let delay = reconnect_delay(client).await?;
        ensure!(close_code_without_frames(client).await? == Some(1012));
        Ok((delay, begun.elapsed()))
    });
    let mut ends = try_join_all(ends).await?;
    ends.sort();

    // A fifth of the 7.5 s is reserved for the closes, so the 60 notices are spread over 6 s.
    let first = ends[0].0;
    let mut slices = [0; 10];
    for (delay, _) in &ends {
        slices[usize::try_from((*delay - first).as_millis() / 600)?.min(9)] += 1;
    }
    ensure!(slices.iter().all(|count| (4..=8).contains(count)), "{slices:?}");
    let last = ends[CONNECTIONS - 1].0;
    ensure!((4..=6).contains(&last.as_secs()) && first < Duration::from_secs(1), "{first:?} to {last:?}");
    for (delay, closed) in &ends {
        ensure!(closed >= delay && *closed < *delay + Duration::from_secs(4), "{delay:?}: {closed:?}");
    }
    until_gone(stack.gateway(0)).await?;
    let log = stack.gateway(0).log()?;
    ensure!(log.contains(r#""told":60,"overstayed":60,"cut":0"#), "{log}");
    Ok(())
}

#[tokio::test]
async fn draining_gateway_refuses_new_and_serves_old_connections() -> Result<()> {
    let stack = start_stack_with_drain_time(60_000).await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (alice, bob) = (stack.connect("alice").await?, stack.connect("bob").await?);
    bob.join_and_catch_up(&room).await?;
    stack.gateway(0).terminate()?;
    until_unready(stack.gateway(0)).await?;
    reconnect_delay(&alice).await?;

    match stack.connect("carol").await {
        Err(refused @ ClientError::Refused { status: 503, retry_after_s: Some(1), .. }) => {
            ensure!(refused.code() == "unavailable", "{refused}");
        }
        other => anyhow::bail!("{:?}", other.err()),
    }
    let gateway = Http::new(&stack.gateway(0).url(), &stack.token("carol"));
    let polled = gateway.post("/poll", json!({})).await?.expect(503);
    ensure!(polled.code() == "unavailable");
    let transport = gateway.get("/transport").await?.expect(200);
    // `Connection: close` makes the client connect again, so the load balancer can choose another node.
    ensure!(polled.closes && transport.closes);
    let transport = transport.body;
    ensure!(transport == json!({"websocket": true, "retry_after_ms": 1000}), "{transport}");

    let ack = alice.send(&room, "still here").await?;
    ensure!(ack.stage == "stored");
    match bob.wait_for("message:new", WAIT_TIMEOUT).await? {
        ServerFrame::Message(message) => ensure!(message.content == "still here"),
        other => anyhow::bail!("{other:?}"),
    }
    // The node exits as soon as the last connection has left.
    alice.close().await?;
    bob.close().await?;
    let took = until_gone(stack.gateway(0)).await?;
    ensure!(took < Duration::from_secs(20), "{took:?}");
    Ok(())
}

#[tokio::test]
async fn client_authenticating_during_drain_connects_and_gets_notice() -> Result<()> {
    let stack = start_stack_with_drain_time(60_000).await?;
    let unauthenticated = Client::connect_by(TokenBy::Nothing, &stack.gateway(0).ws(), "").await?;
    let bob = stack.connect("bob").await?;
    stack.gateway(0).terminate()?;
    reconnect_delay(&bob).await?;
    let (answer, _) = unauthenticated.ask(json!({"type": "auth", "token": stack.token("alice")})).await?;
    ensure!(answer.kind() == "connected", "{answer:?}");
    reconnect_delay(&unauthenticated).await?;
    Ok(())
}

#[tokio::test]
async fn overdue_connection_gets_pending_answer_before_close() -> Result<()> {
    let stack = start_stack_with_drain_time(20_000).await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let alice = Arc::new(stack.connect("alice").await?);
    let held = room_log::hold_messages(&stack, 14.0).await?;
    let sending = tokio::spawn({
        let (alice, room) = (Arc::clone(&alice), room.clone());
        async move { alice.send(&room, "in flight").await }
    });
    stack.gateway(0).terminate()?;
    reconnect_delay(&alice).await?;
    // The notice told the only connection to leave in the middle of the drain time. One second after that time, about
    // 10 s after this point, the node asks the connection to close.
    until_metric(stack.gateway(0), "tidings_gateway_drain_overstayed_total", 1.0).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    ensure!(alice.closed().is_none() && !sending.is_finished(), "{:?}", alice.closed());
    ensure!(sending.await??.stage == "stored");
    ensure!(alice.until_closed().await?.code == Some(1012));
    until_gone(stack.gateway(0)).await?;
    ensure!(stack.gateway(0).log()?.contains(r#""told":1,"overstayed":1,"cut":0"#));
    held.await?;
    Ok(())
}

#[tokio::test]
async fn expired_drain_time_closes_connections_with_pending_answers() -> Result<()> {
    let stack = start_stack_with_drain_time(2_000).await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let alice = stack.connect("alice").await?;
    let held = room_log::hold_messages(&stack, 10.0).await?;
    let client_id = tidings_harness::clock::client_id();
    let frame = json!({"type": "message:send", "room": room, "client_id": client_id, "content": "too late"});
    alice.send_json(&frame).await?;
    alice.ask(json!({"type": "ping"})).await?;
    stack.gateway(0).terminate()?;
    reconnect_delay(&alice).await?;
    ensure!(close_code_without_frames(&alice).await? == Some(1012));
    until_gone(stack.gateway(0)).await?;
    ensure!(stack.gateway(0).log()?.contains(r#""told":1,"overstayed":1,"cut":1"#));
    held.await?;
    // The accepted message is stored, and only once.
    stack.gateway(0).restart().await?;
    let again = stack.connect("alice").await?.send_as(&room, &client_id, "too late").await?;
    ensure!(again.duplicate && again.seq == 1, "{again:?}");
    Ok(())
}

#[tokio::test]
async fn pending_poll_is_answered_during_drain() -> Result<()> {
    let stack = start_stack_with_drain_time(20_000).await?;
    let room = stack.http("alice").new_room(&[]).await?;
    // Bob's connection may stay for a while, which keeps the node running.
    let _bob = stack.connect("bob").await?;
    let http = Http::new(&stack.gateway(0).url(), &stack.token("alice"));
    let held = room_log::hold_messages(&stack, 4.0).await?;
    let send = json!({
        "type": "message:send", "room": room, "client_id": tidings_harness::clock::client_id(), "content": "hi",
    });
    let body = json!({"cursors": {&room: null}, "commands": [send], "timeout_ms": 30_000});
    let poll = tokio::spawn(async move { http.post("/poll", body).await });
    until_command_received(&stack).await?;
    stack.gateway(0).terminate()?;
    let answer = poll.await??.expect(200).body;
    ensure!(answer["answers"][0]["stage"] == "stored", "{answer}");
    held.await?;
    Ok(())
}

/// Waits until the gateway has received the command of the poll.
async fn until_command_received(stack: &Stack) -> Result<()> {
    let begun = Instant::now();
    let sent = "tidings_gateway_frames_total{type=\"message:send\"} 1";
    while !stack.gateway(0).metrics().await?.contains(sent) {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "the gateway received no command");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test]
async fn unready_gateway_accepts_connections_before_drain_begins() -> Result<()> {
    let builder = Stack::builder().gateway_env("TIDINGS_UNREADY_MS", 3_000);
    let stack = builder.gateway_env("TIDINGS_DRAIN_MS", 60_000).start().await?;
    let alice = stack.connect("alice").await?;
    stack.gateway(0).terminate()?;
    until_unready(stack.gateway(0)).await?;
    let bob = stack.connect("bob").await?;
    ensure!(metric(stack.gateway(0), "tidings_gateway_drain_notified_total").await? == 0.0);
    reconnect_delay(&alice).await?;
    reconnect_delay(&bob).await?;
    ensure!(matches!(stack.connect("carol").await, Err(ClientError::Refused { status: 503, .. })));
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_a_gateway_at_once() -> Result<()> {
    let stack = start_stack_with_drain_time(60_000).await?;
    let alice = stack.connect("alice").await?;
    stack.gateway(0).terminate()?;
    let delay = reconnect_delay(&alice).await?;
    ensure!(delay > Duration::from_secs(20), "{delay:?}");
    stack.gateway(0).terminate()?;
    let took = until_gone(stack.gateway(0)).await?;
    ensure!(took < Duration::from_secs(10), "{took:?}");
    ensure!(stack.gateway(0).log()?.contains("second signal"));
    Ok(())
}
