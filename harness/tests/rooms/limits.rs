//! Rate limits of a user at a gateway, and the close of a connection that ignores them.

use crate::hearing::{refusal_code, room_with, typing};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{Client, ClientError, Http, Stack};

const LIMITS: [&str; 6] = ["TYPING", "SIGNALS", "MARKS", "PRESENCE", "JOINS", "COMMANDS"];

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
    for limit in LIMITS {
        builder = builder.gateway_env(&format!("TIDINGS_{limit}_PER_SECOND"), 1);
    }
    let stack = builder.start().await?;
    let room = room_with(&stack, "alice", &[("bob", "member")]).await?;
    let join = |kind: &str| json!({"type": format!("room:{kind}"), "room": room});
    let seq = |kind: &str| json!({"type": format!("message:{kind}"), "room": room, "seq": 0});
    let change = |kind: &str| json!({"type": kind, "room": room, "seq": 1, "content": "x", "emoji": "+"});
    let message =
        json!({"type": "message:send", "room": room, "client_id": "c", "content": "x", "ack": "accepted"});
    let cases: [(&str, Vec<Value>); 7] = [
        ("messages", vec![message, change("message:edit"), change("reaction:add"), change("message:delete")]),
        ("typing", vec![typing(&room, true), typing(&room, false)]),
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

#[tokio::test]
async fn limit_counts_all_connections_of_user() -> Result<()> {
    let stack = Stack::builder().gateway_env("TIDINGS_SIGNALS_PER_SECOND", 1).start().await?;
    let room = room_with(&stack, "alice", &[("bob", "member")]).await?;
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
    let room = room_with(&stack, "alice", &[("bob", "member")]).await?;
    let floods = [
        ("typing", typing(&room, true)),
        // A ping is answered, but counts.
        ("ping", json!({"type": "ping"})),
        // An invalid frame counts too.
        ("nonsense", json!({"type": 7})),
    ];
    for (name, frame) in floods {
        let (abuser, calm) = (stack.connect("alice").await?, stack.connect("alice").await?);
        let closed = flood(&abuser, &frame, 200).await?;
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
async fn flood(client: &Client, frame: &Value, times: usize) -> Result<Option<u16>> {
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
