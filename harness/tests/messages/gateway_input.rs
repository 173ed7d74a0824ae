//! Bad input at the gateway: each kind gets its code, and the connection stays open unless the protocol closes it.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{
    Client, ClientError, Stack, Token, TokenBy,
    raw::{RawSocket, frame, opcode},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

// Covers: error, bad_request, too_large, not_found, ping, pong.
#[tokio::test]
async fn bad_frame_gets_its_code_and_connection_survives() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let foreign = stack.http("mallory").new_room(&["eve"]).await?;
    let mut socket = RawSocket::open(stack.gateway(0).port(), &stack.token("alice")).await?;
    let connected = next_json(&mut socket).await?;
    ensure!(connected["type"] == "connected", "{connected}");

    let send = |room: &str, content: &str| {
        json!({"type": "message:send", "ref": "r", "room": room, "client_id": "c", "content": content})
            .to_string()
    };
    let long = send(&room, &"é".repeat(1001));
    let cases: Vec<(&str, String, &str, Value)> = vec![
        ("not JSON", "{".into(), "bad_request", Value::Null),
        ("not an object", "[1]".into(), "bad_request", Value::Null),
        ("no type", r#"{"ref":"r"}"#.into(), "bad_request", json!("type")),
        ("unknown type", r#"{"type":"dance","ref":"r"}"#.into(), "bad_request", json!("type")),
        ("ref of another type", r#"{"type":"ping","ref":{}}"#.into(), "bad_request", json!("ref")),
        ("room missing", r#"{"type":"room:join","ref":"r"}"#.into(), "bad_request", json!("room")),
        (
            "room of another type",
            r#"{"type":"room:join","ref":"r","room":7}"#.into(),
            "bad_request",
            json!("room"),
        ),
        (
            "room id malformed",
            r#"{"type":"room:join","ref":"r","room":"a/b"}"#.into(),
            "bad_request",
            json!("room"),
        ),
        (
            "cursor malformed",
            format!(r#"{{"type":"room:join","ref":"r","room":"{room}","after":{{"seq":1}}}}"#),
            "bad_request",
            json!("after"),
        ),
        (
            "content missing",
            format!(r#"{{"type":"message:send","ref":"r","room":"{room}","client_id":"c"}}"#),
            "bad_request",
            json!("content"),
        ),
        (
            "content of another type",
            format!(r#"{{"type":"message:send","ref":"r","room":"{room}","client_id":"c","content":7}}"#),
            "bad_request",
            json!("content"),
        ),
        (
            "client id missing",
            format!(r#"{{"type":"message:send","ref":"r","room":"{room}","content":"x"}}"#),
            "bad_request",
            json!("client_id"),
        ),
        ("empty content", send(&room, ""), "bad_request", json!("content")),
        ("1001 characters", long, "too_large", json!("content")),
        ("NUL", send(&room, "a\u{0}b"), "bad_request", json!("content")),
        ("other control character", send(&room, "a\u{9f}b"), "bad_request", json!("content")),
        ("unknown room", send("no-such-room", "x"), "not_found", Value::Null),
        ("foreign room", send(&foreign, "x"), "not_found", Value::Null),
        (
            "join of an unknown room",
            r#"{"type":"room:join","ref":"r","room":"no-such-room"}"#.into(),
            "not_found",
            Value::Null,
        ),
        (
            "join of a foreign room",
            format!(r#"{{"type":"room:join","ref":"r","room":"{foreign}"}}"#),
            "not_found",
            Value::Null,
        ),
        (
            "mark in a foreign room",
            format!(r#"{{"type":"message:read","ref":"r","room":"{foreign}","seq":1}}"#),
            "not_found",
            Value::Null,
        ),
        (
            "seq negative",
            format!(r#"{{"type":"message:read","ref":"r","room":"{room}","seq":-1}}"#),
            "bad_request",
            json!("seq"),
        ),
        (
            "seq beyond 2^53",
            format!(r#"{{"type":"message:read","ref":"r","room":"{room}","seq":18446744073709551615}}"#),
            "bad_request",
            json!("seq"),
        ),
        (
            "another user's token",
            json!({"type": "auth", "ref": "r", "token": stack.token("bob")}).to_string(),
            "unauthorized",
            Value::Null,
        ),
        (
            "expired token",
            json!({"type": "auth", "ref": "r", "token": stack.sign(Token::of("alice").ttl_s(-10))})
                .to_string(),
            "unauthorized",
            Value::Null,
        ),
    ];
    for (name, text, code, field) in cases {
        socket.send(opcode::TEXT, text.as_bytes()).await?;
        let error = next_json(&mut socket).await?;
        ensure!(error["type"] == "error" && error["code"] == code, "{name}: {error}");
        ensure!(error["field"] == field, "{name}: {error}");
        if text.contains(r#""ref":"r""#) {
            ensure!(error["ref"] == "r", "{name}: {error}");
        }
        socket.send(opcode::TEXT, br#"{"type":"ping","ref":"p"}"#).await?;
        let pong = next_json(&mut socket).await?;
        ensure!(pong["type"] == "pong" && pong["ref"] == "p", "{name}: {pong}");
    }
    Ok(())
}

// Covers: 1002, 1003, 1007, 1009.
#[tokio::test]
async fn transport_violation_closes_with_documented_code() -> Result<()> {
    let stack = Stack::shared().await?;
    let mask = Some([1, 2, 3, 4]);
    let cases = [
        ("65 KiB frame", frame(0x80 | opcode::TEXT, &vec![b'x'; 65 * 1024], mask), 1009),
        ("unmasked frame", frame(0x80 | opcode::TEXT, b"{}", None), 1002),
        ("bad UTF-8", frame(0x80 | opcode::TEXT, &[0xff, 0xfe], mask), 1007),
        ("binary", frame(0x80 | opcode::BINARY, b"{}", mask), 1003),
        ("reserved bit", frame(0x80 | 0x40 | opcode::TEXT, b"{}", mask), 1002),
        ("long ping", frame(0x80 | opcode::PING, &[b'x'; 126], mask), 1002),
    ];
    for (name, bytes, code) in cases {
        let mut socket = RawSocket::open(stack.gateway(0).port(), &stack.token("alice")).await?;
        socket.send_bytes(&bytes).await?;
        let closed = socket.until_close(WAIT_TIMEOUT).await?;
        ensure!(closed == Some(code), "{name}: {closed:?}");
    }
    // A new connection works.
    stack.connect("alice").await?.ping().await?;
    Ok(())
}

// Covers: unauthorized, 4401, auth.
#[tokio::test]
async fn bad_token_is_refused_with_reason_before_and_after_upgrade() -> Result<()> {
    let stack = Stack::shared().await?;
    let cases = [
        (stack.sign(Token::of("a").ttl_s(-10)), "expired"),
        (stack.sign(Token::of("a").not_before_s(600)), "not_yet_valid"),
        (Token::of("a").sign("another secret than the right one"), "signature"),
        (stack.sign(Token::of("a").without("sub")), "claims"),
        (stack.sign(Token::of("a").without("exp")), "claims"),
        (stack.sign(Token::of("a b")), "claims"),
        ("nonsense".to_owned(), "malformed"),
        (format!("eyJhbGciOiJub25lIn0.{}.", "eyJzdWIiOiJhIiwiZXhwIjo0MDAwMDAwMDAwfQ"), "algorithm"),
    ];
    let ws = stack.gateway(0).ws();
    for (token, reason) in cases {
        for by in [TokenBy::Header, TokenBy::Query] {
            match Client::connect_by(by, &ws, &token).await {
                Err(error @ ClientError::Refused { status: 401, .. }) => {
                    ensure!((error.code(), error.reason()) == ("unauthorized", reason), "{by:?} {error}");
                }
                other => anyhow::bail!("{reason} by {by:?}: {:?}", other.err()),
            }
        }
        let client = Client::connect_by(TokenBy::Nothing, &ws, "").await?;
        client.send_json(&json!({"type": "auth", "token": token})).await?;
        match client.next_event(WAIT_TIMEOUT).await? {
            tidings_harness::ServerFrame::Error(error) => {
                ensure!(error.code == "unauthorized" && error.reason.as_deref() == Some(reason), "{error:?}");
            }
            other => anyhow::bail!("{reason}: {other:?}"),
        }
        ensure!(client.until_closed().await?.code == Some(4401), "{reason}");
    }
    Ok(())
}

// Covers: 4408, connected.
#[tokio::test]
async fn connection_without_token_is_not_served_and_closes() -> Result<()> {
    let stack = Stack::shared().await?;
    let client = Client::connect_by(TokenBy::Nothing, &stack.gateway(0).ws(), "").await?;
    let error = client.ask(json!({"type": "ping"})).await.err();
    ensure!(error.as_ref().is_some_and(|error| error.reason() == "missing"), "{error:?}");
    ensure!(client.until_closed().await?.code == Some(4408));
    Ok(())
}

// Covers: auth:ok, 4401.
#[tokio::test]
async fn expired_token_closes_connection_unless_renewed() -> Result<()> {
    let stack = Stack::shared().await?;
    let short = |ttl: i64| stack.sign(Token::of("alice").ttl_s(ttl));
    let (left_alone, renewed) = (
        Client::connect(&stack.gateway(0).ws(), &short(3)).await?,
        Client::connect(&stack.gateway(0).ws(), &short(3)).await?,
    );
    renewed.renew(&short(600)).await?;
    ensure!(left_alone.until_closed().await?.code == Some(4401));
    tokio::time::sleep(Duration::from_secs(2)).await;
    renewed.ping().await?;
    Ok(())
}

// Covers: 4403, forbidden.
#[tokio::test]
async fn blocked_user_is_refused_before_and_closed_after_upgrade() -> Result<()> {
    let stack = Stack::start().await?;
    stack.database().query("INSERT INTO users (id, blocked) VALUES ('mallory', true)").await?;
    let (ws, token) = (stack.gateway(0).ws(), stack.token("mallory"));
    match Client::connect(&ws, &token).await {
        Err(error @ ClientError::Refused { status: 403, .. }) => {
            ensure!(error.code() == "forbidden", "{error}")
        }
        other => anyhow::bail!("{:?}", other.err()),
    }
    let client = Client::connect_by(TokenBy::Nothing, &ws, "").await?;
    client.send_json(&json!({"type": "auth", "token": token})).await?;
    ensure!(client.until_closed().await?.code == Some(4403));
    Ok(())
}

#[tokio::test]
async fn invalid_handshake_is_refused_as_documented() -> Result<()> {
    let stack =
        Stack::builder().gateway_env("TIDINGS_ALLOWED_ORIGINS", "https://chat.example").start().await?;
    let (ws, token) = (stack.gateway(0).ws(), stack.token("alice"));
    let origin = |origin: &str| vec![("origin", origin.to_owned())];
    let refused = Client::connect_with(TokenBy::Header, &ws, &token, &origin("https://evil.example")).await;
    ensure!(matches!(refused, Err(ClientError::Refused { status: 403, .. })));
    Client::connect_with(TokenBy::Header, &ws, &token, &origin("https://chat.example")).await?.ping().await?;

    let plain = tidings_harness::http::client();
    let url = stack.gateway(0).url();
    let answer = plain.get(format!("{url}/v1/ws")).send().await?;
    ensure!(answer.status() == 426, "{answer:?}");
    let answer = plain.get(format!("{url}/v1/transport")).send().await?;
    ensure!(answer.json::<Value>().await? == json!({"websocket": true}));
    ensure!(plain.get(format!("{url}/v1/nothing")).send().await?.status() == 404);

    let off = Stack::builder().gateway_env("TIDINGS_WEBSOCKET", "false").start().await?;
    match Client::connect(&off.gateway(0).ws(), &off.token("alice")).await {
        Err(ClientError::Refused { status: 503, body, .. }) => ensure!(body["fallback"] == "poll", "{body}"),
        other => anyhow::bail!("{:?}", other.err()),
    }
    Ok(())
}

// Covers: rate_limited.
#[tokio::test]
async fn user_over_message_limit_gets_retry_after() -> Result<()> {
    // Only one message per second: a busy machine may need a second for ten sends and would not reach a higher limit.
    let stack = Stack::builder().gateway_env("TIDINGS_MESSAGES_BURST", 3);
    let stack = stack.gateway_env("TIDINGS_MESSAGES_PER_SECOND", 1).start().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect("alice").await?;
    let mut refusals = 0;
    for n in 0..6 {
        match alice.send(&room, &format!("m{n}")).await {
            Ok(_) => {}
            Err(ClientError::Answered(error)) => {
                ensure!(error.code == "rate_limited" && error.retry_after_ms.is_some(), "{error:?}");
                refusals += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(refusals > 0, "no message was refused");
    alice.ping().await?;
    Ok(())
}

async fn next_json(socket: &mut RawSocket) -> Result<Value> {
    loop {
        let frame = tokio::time::timeout(WAIT_TIMEOUT, socket.next()).await??;
        let frame = frame.ok_or_else(|| anyhow::anyhow!("the connection ended"))?;
        match frame.opcode {
            opcode::TEXT => return Ok(serde_json::from_str(frame.text())?),
            opcode::CLOSE => anyhow::bail!("closed with {:?}", frame.close_code()),
            _ => {}
        }
    }
}
