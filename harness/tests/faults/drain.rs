//! The end of a gateway: unready, nothing new, everybody told when to leave, and closed when they do not; what was
//! asked is answered as long as there is time.

use crate::room_log;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::draining::{
    PATIENCE, closed_without_a_word, metric, told, until_gone, until_metric, until_unready,
};
use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use serde_json::json;
use tidings_harness::{Client, ClientError, Http, ServerFrame, Stack, TokenBy};

async fn stack(drain_ms: u64) -> Result<Stack> {
    Stack::builder().gateway_env("TIDINGS_DRAIN_MS", drain_ms).start().await
}

// Covers: draining, 1012.
#[tokio::test]
async fn each_connection_is_told_once_when_to_leave_evenly_spread_and_closed_a_little_after() -> Result<()> {
    const PEOPLE: usize = 60;
    let stack = stack(7_500).await?;
    let people: Vec<String> = (0..PEOPLE).map(|number| format!("p{number}")).collect();
    let clients = try_join_all(people.iter().map(|user| stack.connect(user))).await?;
    stack.gateway(0).terminate()?;
    let begun = Instant::now();
    let ends = clients.iter().map(|client| async {
        let told = told(client).await?;
        ensure!(closed_without_a_word(client).await? == Some(1012));
        Ok((told, begun.elapsed()))
    });
    let mut ends = try_join_all(ends).await?;
    ends.sort();

    // Of 7.5 s a fifth is kept for the closes: 60 connections over 6 s.
    let first = ends[0].0;
    let mut slices = [0; 10];
    for (told, _) in &ends {
        slices[usize::try_from((*told - first).as_millis() / 600)?.min(9)] += 1;
    }
    ensure!(slices.iter().all(|count| (4..=8).contains(count)), "{slices:?}");
    let last = ends[PEOPLE - 1].0;
    ensure!((4..=6).contains(&last.as_secs()) && first < Duration::from_secs(1), "{first:?} to {last:?}");
    for (told, closed) in &ends {
        ensure!(closed >= told && *closed < *told + Duration::from_secs(4), "{told:?}: {closed:?}");
    }
    until_gone(stack.gateway(0)).await?;
    let log = stack.gateway(0).log()?;
    ensure!(log.contains(r#""told":60,"overstayed":60,"cut":0"#), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_draining_node_is_unready_and_refuses_but_serves_who_is_there_until_they_leave() -> Result<()> {
    let stack = stack(60_000).await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let (alice, bob) = (stack.connect("alice").await?, stack.connect("bob").await?);
    bob.join_and_catch_up(&room).await?;
    stack.gateway(0).terminate()?;
    until_unready(stack.gateway(0)).await?;
    told(&alice).await?;

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
    // The next request goes where the load balancer leads it.
    ensure!(polled.closes && transport.closes);
    let transport = transport.body;
    ensure!(transport == json!({"websocket": true, "retry_after_ms": 1000}), "{transport}");

    let ack = alice.send(&room, "still here").await?;
    ensure!(ack.stage == "stored");
    match bob.wait_for("message:new", PATIENCE).await? {
        ServerFrame::Message(message) => ensure!(message.content == "still here"),
        other => anyhow::bail!("{other:?}"),
    }
    // Once everybody has left nothing is waited for.
    alice.close().await?;
    bob.close().await?;
    let took = until_gone(stack.gateway(0)).await?;
    ensure!(took < Duration::from_secs(20), "{took:?}");
    Ok(())
}

#[tokio::test]
async fn who_shows_their_token_while_the_node_drains_is_let_in_and_then_told() -> Result<()> {
    let stack = stack(60_000).await?;
    let stranger = Client::connect_by(TokenBy::Nothing, &stack.gateway(0).ws(), "").await?;
    let known = stack.connect("bob").await?;
    stack.gateway(0).terminate()?;
    told(&known).await?;
    let (answer, _) = stranger.ask(json!({"type": "auth", "token": stack.token("alice")})).await?;
    ensure!(answer.kind() == "connected", "{answer:?}");
    told(&stranger).await?;
    Ok(())
}

#[tokio::test]
async fn an_answer_in_flight_comes_before_the_close_however_long_overdue_that_is() -> Result<()> {
    let stack = stack(20_000).await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let alice = Arc::new(stack.connect("alice").await?);
    let held = room_log::hold_messages(&stack, 14.0).await?;
    let sending = tokio::spawn({
        let (alice, room) = (Arc::clone(&alice), room.clone());
        async move { alice.send(&room, "in flight").await }
    });
    stack.gateway(0).terminate()?;
    told(&alice).await?;
    // The only one of them leaves in the middle of the time, and is called upon a second after: some 10 s from here.
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
async fn when_the_drain_time_is_up_the_unanswered_are_closed_as_well() -> Result<()> {
    let stack = stack(2_000).await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let alice = stack.connect("alice").await?;
    let held = room_log::hold_messages(&stack, 10.0).await?;
    let client_id = tidings_harness::clock::client_id();
    let frame = json!({"type": "message:send", "room": room, "client_id": client_id, "content": "too late"});
    alice.send_json(&frame).await?;
    alice.ask(json!({"type": "ping"})).await?;
    stack.gateway(0).terminate()?;
    told(&alice).await?;
    ensure!(closed_without_a_word(&alice).await? == Some(1012));
    until_gone(stack.gateway(0)).await?;
    ensure!(stack.gateway(0).log()?.contains(r#""told":1,"overstayed":1,"cut":1"#));
    held.await?;
    // What was accepted is stored all the same, once.
    stack.gateway(0).restart().await?;
    let again = stack.connect("alice").await?.send_as(&room, &client_id, "too late").await?;
    ensure!(again.duplicate && again.seq == 1, "{again:?}");
    Ok(())
}

#[tokio::test]
async fn a_poll_under_way_is_answered_with_its_commands_answers() -> Result<()> {
    let stack = stack(20_000).await?;
    let room = stack.http("alice").new_room(&[]).await?;
    // Whose time has not come keeps the node there.
    let _bob = stack.connect("bob").await?;
    let http = Http::new(&stack.gateway(0).url(), &stack.token("alice"));
    let held = room_log::hold_messages(&stack, 4.0).await?;
    let send = json!({
        "type": "message:send", "room": room, "client_id": tidings_harness::clock::client_id(), "content": "hi",
    });
    let body = json!({"cursors": {&room: null}, "commands": [send], "timeout_ms": 30_000});
    let poll = tokio::spawn(async move { http.post("/poll", body).await });
    until_polls(&stack).await?;
    stack.gateway(0).terminate()?;
    let answer = poll.await??.expect(200).body;
    ensure!(answer["answers"][0]["stage"] == "stored", "{answer}");
    held.await?;
    Ok(())
}

/// Waits until the command of a poll is carried out.
async fn until_polls(stack: &Stack) -> Result<()> {
    let begun = Instant::now();
    let sent = "tidings_gateway_frames_total{type=\"message:send\"} 1";
    while !stack.gateway(0).metrics().await?.contains(sent) {
        ensure!(begun.elapsed() < PATIENCE, "no command came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test]
async fn for_a_while_after_the_signal_a_node_serves_as_ever_though_it_is_unready() -> Result<()> {
    let builder = Stack::builder().gateway_env("TIDINGS_UNREADY_MS", 3_000);
    let stack = builder.gateway_env("TIDINGS_DRAIN_MS", 60_000).start().await?;
    let alice = stack.connect("alice").await?;
    stack.gateway(0).terminate()?;
    until_unready(stack.gateway(0)).await?;
    let bob = stack.connect("bob").await?;
    ensure!(metric(stack.gateway(0), "tidings_gateway_drain_told_total").await? == 0.0);
    told(&alice).await?;
    told(&bob).await?;
    ensure!(matches!(stack.connect("carol").await, Err(ClientError::Refused { status: 503, .. })));
    Ok(())
}

#[tokio::test]
async fn a_second_signal_ends_a_gateway_at_once() -> Result<()> {
    let stack = stack(60_000).await?;
    let alice = stack.connect("alice").await?;
    stack.gateway(0).terminate()?;
    let told = told(&alice).await?;
    ensure!(told > Duration::from_secs(20), "{told:?}");
    stack.gateway(0).terminate()?;
    let took = until_gone(stack.gateway(0)).await?;
    ensure!(took < Duration::from_secs(10), "{took:?}");
    ensure!(stack.gateway(0).log()?.contains("second signal"));
    Ok(())
}
