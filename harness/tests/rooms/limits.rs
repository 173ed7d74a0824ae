//! Rate limits of a user at a gateway, and the close of a connection that ignores them.

use std::time::{Duration, Instant};

use crate::hearing::{new_room_with, refusal_code, typing_frame};
use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tidings_harness::{Client, ClientError, Http, Stack};

const LIMIT_NAMES: [&str; 6] = ["TYPING", "SIGNALS", "MARKS", "PRESENCE", "JOINS", "COMMANDS"];

async fn metric(stack: &Stack, line: &str) -> Result<u64> {
    let text = stack.gateway(0).metrics().await?;
    let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("there is no {line}"))?.parse()?)
}

// Covers: rate_limited.
#[tokio::test]
async fn each_command_kind_has_own_limit_with_retry_after() -> Result<()> {
    let mut builder = Stack::builder().gateway_env("TIDINGS_MESSAGES_PER_SECOND", 1);
    builder = builder.gateway_env("TIDINGS_MESSAGES_BURST", 4);
    for limit in LIMIT_NAMES {
        builder = builder.gateway_env(&format!("TIDINGS_{limit}_PER_SECOND"), 1);
    }
    let stack = builder.start().await?;
    let room = new_room_with(&stack, "alice", &[("bob", "member")]).await?;
    let join = |kind: &str| json!({"type": format!("room:{kind}"), "room": room});
    let seq = |kind: &str| json!({"type": format!("message:{kind}"), "room": room, "seq": 0});
    let change = |kind: &str| json!({"type": kind, "room": room, "seq": 1, "content": "x", "emoji": "+"});
    let message =
        json!({"type": "message:send", "room": room, "client_id": "c", "content": "x", "ack": "accepted"});
    let cases: [(&str, Vec<Value>); 7] = [
        ("messages", vec![message, change("message:edit"), change("reaction:add"), change("message:delete")]),
        ("typing", vec![typing_frame(&room, true), typing_frame(&room, false)]),
        ("signals", vec![json!({"type": "signal", "room": room, "data": 1})]),
        ("marks", vec![seq("read"), seq("delivered")]),
        (
            "presence",
            vec![
                json!({"type": "presence:set", "status": "away"}),
                json!({"type": "presence:get", "users": []}),
            ],
        ),
        ("joins", vec![join("join"), join("leave")]),
        ("commands", vec![json!({"type": "dance"}), json!({"type": "auth", "token": "x"})]),
    ];
    for (limit, commands) in &cases {
        let alice = stack.connect("alice").await?;
        let (mut others, mut limited) = (0, 0);
        for command in commands.iter().cycle().take(12) {
            match alice.ask(command.clone()).await {
                Err(ClientError::Answered(error)) if error.code == "rate_limited" => {
                    ensure!(error.retry_after_ms.is_some_and(|ms| (1..=4000).contains(&ms)), "{error:?}");
                    ensure!(error.message.contains(limit), "{error:?}");
                    limited += 1;
                }
                Ok(_) | Err(ClientError::Answered(_)) => others += 1,
                Err(error) => anyhow::bail!("{limit}: {error}, {:?}", alice.until_closed().await),
            }
        }
        ensure!(others >= 4 && limited >= 1, "{limit}: {others} other answers, {limited} refused");
        let counted = metric(&stack, &format!("tidings_gateway_limited_total{{limit=\"{limit}\"}}")).await?;
        ensure!(counted == limited, "{limit}: {counted} counted, {limited} refused");
    }
    // A user over the limit still gets an answer to a ping.
    stack.connect("alice").await?.ping().await?;
    Ok(())
}

/// Sends 25 messages per second through each gateway for this time. Returns the number of accepted messages.
async fn flood_gateways(stack: &Stack, room: &str, user: &str, time: Duration) -> Result<usize> {
    let flood_one = async |gateway: usize| {
        let client = Client::connect(&stack.gateway(gateway).ws(), &stack.token(user)).await?;
        let (begun, mut accepted) = (Instant::now(), 0);
        for n in 0.. {
            if begun.elapsed() >= time {
                break;
            }
            let client_id = format!("{user}-{gateway}-{n}");
            let message = json!({
                "type": "message:send", "room": room, "client_id": client_id, "attempt": 1, "content": "x", "ack": "accepted"
            });
            match client.ask(message).await {
                Ok(_) => accepted += 1,
                Err(error) if error.code() == "rate_limited" => {}
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        anyhow::Ok(accepted)
    };
    let accepted = join_all((0..stack.gateways().len()).map(flood_one)).await;
    accepted.into_iter().sum()
}

#[tokio::test]
async fn message_limit_holds_for_all_gateways_together() -> Result<()> {
    const GATEWAYS: usize = 4;
    let limited = Stack::builder().gateway_env("TIDINGS_MESSAGES_PER_SECOND", 5);
    let stack = limited.gateway_env("TIDINGS_MESSAGES_BURST", 5).gateways(GATEWAYS).start().await?;
    let room = new_room_with(&stack, "alice", &[("bob", "member")]).await?;
    // With a separate limit on each of the 4 gateways, 260 messages would be accepted.
    let begun = Instant::now();
    let accepted = flood_gateways(&stack, &room, "alice", Duration::from_secs(12)).await?;
    let seconds = usize::try_from(begun.elapsed().as_secs())? + 1;
    // The limit of all gateways allows a burst of 5, then 5 per second. Each gateway may accept another burst and 2 s
    // of messages before it knows the messages of the others.
    let max_accepted = 5 + 5 * seconds + GATEWAYS * (5 + 2 * 5);
    ensure!(
        accepted <= max_accepted,
        "{accepted} were accepted in {seconds} s, at most {max_accepted} were expected"
    );
    ensure!(accepted >= 40, "only {accepted} were accepted in {seconds} s");
    // A user on one gateway gets the whole limit, and alice's messages do not count for other users.
    let bob = Client::connect(&stack.gateway(1).ws(), &stack.token("bob")).await?;
    for n in 0..25 {
        let message = json!({"type": "message:send", "room": room, "client_id": n.to_string(), "content": "x", "ack": "accepted"});
        bob.ask(message).await?;
        tokio::time::sleep(Duration::from_millis(if n < 4 { 0 } else { 220 })).await;
    }
    Ok(())
}

#[tokio::test]
async fn limit_counts_all_connections_of_user() -> Result<()> {
    let stack = Stack::builder().gateway_env("TIDINGS_SIGNALS_PER_SECOND", 1).start().await?;
    let room = new_room_with(&stack, "alice", &[("bob", "member")]).await?;
    let signal = json!({"type": "signal", "room": room, "data": 1});
    let mut limited = 0;
    for _ in 0..8 {
        let alice = stack.connect("alice").await?;
        match alice.ask(signal.clone()).await {
            Ok(_) => {}
            Err(error) if error.code() == "rate_limited" => limited += 1,
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(limited > 0, "each of the eight connections had its own limit");
    stack.connect("bob").await?.ask(signal).await?;
    Ok(())
}

// Covers: 4429.
#[tokio::test]
async fn connection_flooding_limits_is_closed_and_others_stay() -> Result<()> {
    let stack = Stack::builder()
        .gateway_env("TIDINGS_TYPING_PER_SECOND", 1)
        .gateway_env("TIDINGS_COMMANDS_PER_SECOND", 1)
        .gateway_env("TIDINGS_ABUSE_PER_MINUTE", 50)
        .start()
        .await?;
    let room = new_room_with(&stack, "alice", &[("bob", "member")]).await?;
    let floods = [
        ("typing", typing_frame(&room, true)),
        // A ping over the limit counts as abuse, although it is answered.
        ("ping", json!({"type": "ping"})),
        // An invalid frame counts as abuse too.
        ("nonsense", json!({"type": 7})),
    ];
    for (name, frame) in floods {
        let (abuser, calm) = (stack.connect("alice").await?, stack.connect("alice").await?);
        let closed = flood_until_closed(&abuser, &frame, 200).await?;
        ensure!(closed == Some(4429), "{name}: {closed:?}");
        calm.ping().await?;
    }
    ensure!(metric(&stack, "tidings_gateway_closes_total{code=\"4429\"}").await? == 3);
    // Exceeding a limit now and then is no abuse.
    let alice = stack.connect("alice").await?;
    let mut codes = Vec::new();
    for _ in 0..20 {
        codes.push(refusal_code(&alice, json!({"type": 7})).await?);
    }
    ensure!(codes.iter().any(|code| code == "rate_limited"), "{codes:?}");
    alice.ping().await?;
    Ok(())
}

/// Sends a frame up to `times` times and waits for the close.
async fn flood_until_closed(client: &Client, frame: &Value, times: usize) -> Result<Option<u16>> {
    for _ in 0..times {
        // The server may close before all frames are sent.
        if client.send_json(frame).await.is_err() {
            break;
        }
    }
    Ok(client.until_closed().await?.code)
}

#[tokio::test]
async fn poll_limit_cost_grows_with_number_of_rooms() -> Result<()> {
    let stack = Stack::builder().gateway_env("TIDINGS_POLLS_PER_SECOND", 2).start().await?;
    let node = stack.gateway(0).url();
    let poll = async |user: &str, rooms: u32| {
        let cursors: serde_json::Map<String, Value> =
            (0..rooms).map(|n| (format!("room{n}"), Value::Null)).collect();
        let body = json!({"cursors": cursors, "timeout_ms": 0});
        Http::new(&node, &stack.token(user)).post("/poll", body).await
    };
    let mut limited = 0;
    for _ in 0..20 {
        let answer = poll("alice", 1).await?;
        if answer.status == 429 {
            ensure!(answer.code() == "rate_limited", "{}", answer.body);
            ensure!(answer.body["retry_after_ms"].as_u64().is_some_and(|ms| (1..=500).contains(&ms)));
            limited += 1;
        } else {
            answer.expect(200);
        }
    }
    ensure!(limited > 0, "twenty polls at once were all accepted");
    // The first poll of 349 rooms uses the whole burst, so the second is refused.
    poll("bob", 349).await?.expect(200);
    ensure!(poll("bob", 349).await?.expect(429).body["retry_after_ms"].as_u64().is_some_and(|ms| ms > 500));
    let counted = metric(&stack, "tidings_gateway_limited_total{limit=\"polls\"}").await?;
    ensure!(counted == limited + 1, "{counted} counted, {limited} and one refused");
    Ok(())
}

#[tokio::test]
async fn large_commands_of_user_are_limited_in_bytes() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let room = new_room_with(&stack, "alice", &[("bob", "member")]).await?;
    let alice = stack.connect("alice").await?;
    let signal = |bytes: usize| json!({"type": "signal", "room": room, "data": "x".repeat(bytes)});
    let (mut accepted, mut refused) = (0, None);
    // 60 signals are fewer than a user's burst, so only the limit of bytes can refuse one.
    while refused.is_none() && accepted < 60 {
        match alice.ask(signal(15 * 1024)).await {
            Ok(_) => accepted += 1,
            Err(ClientError::Answered(error)) => refused = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    let refused = refused.with_context(|| format!("{accepted} signals of 15 KiB are accepted"))?;
    ensure!(refused.code == "rate_limited" && refused.message.contains("bytes"), "{refused:?}");
    ensure!(refused.retry_after_ms.is_some() && accepted >= 13, "{accepted} accepted, then {refused:?}");
    // Small commands, and other users, are not affected.
    alice.ask(signal(100)).await?;
    alice.send(&room, "small").await?;
    stack.connect("bob").await?.ask(signal(15 * 1024)).await?;
    ensure!(metric(&stack, "tidings_gateway_limited_total{limit=\"bytes\"}").await? == 1);
    Ok(())
}
