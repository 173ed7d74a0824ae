//! Too many or too deeply nested frames: the connection survives mistakes of a client.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{
    Stack,
    raw::{RawSocket, frame, opcode},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn too_deep_json_is_bad_request_and_connection_survives() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let mut socket = RawSocket::open(stack.gateway(0).port(), &stack.token("alice")).await?;
    next_json(&mut socket).await?;
    let lists = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}{{}}{}", r#"{"a":"#.repeat(depth - 1), "}".repeat(depth - 1));
    let send = |metadata: &str| {
        format!(
            r#"{{"type":"message:send","ref":"r","room":"{room}","client_id":"c","content":"x","metadata":{metadata}}}"#
        )
    };
    let signal = |data: &str| format!(r#"{{"type":"signal","ref":"r","room":"{room}","data":{data}}}"#);
    let refused: Vec<(&str, String, Value)> = vec![
        ("nothing but lists", lists(32_000), Value::Null),
        ("nothing but objects", objects(10_000), json!("type")),
        ("lists that never end", "[".repeat(64_000), Value::Null),
        ("metadata", send(&objects(101)), json!("metadata")),
        ("metadata at its longest", send(&objects(600)), json!("metadata")),
        ("metadata of lists", send(&format!(r#"{{"a":{}}}"#, lists(1_500))), json!("metadata")),
        ("signal", signal(&lists(101)), json!("data")),
        ("signal at its longest", signal(&lists(8_000)), json!("data")),
        (
            "content",
            format!(
                r#"{{"type":"message:send","ref":"r","room":"{room}","client_id":"c","content":{}}}"#,
                lists(20_000)
            ),
            json!("content"),
        ),
        (
            "visible_to",
            format!(
                r#"{{"type":"message:send","ref":"r","room":"{room}","client_id":"c","content":"x","visible_to":{}}}"#,
                objects(5_000)
            ),
            json!("visible_to"),
        ),
        ("room", format!(r#"{{"type":"room:join","ref":"r","room":{}}}"#, lists(30_000)), json!("room")),
        (
            "after",
            format!(r#"{{"type":"room:join","ref":"r","room":"{room}","after":{}}}"#, objects(9_000)),
            json!("after"),
        ),
        ("ref", format!(r#"{{"type":"ping","ref":{}}}"#, lists(30_000)), json!("ref")),
    ];
    for (name, text, field) in refused {
        socket.send(opcode::TEXT, text.as_bytes()).await?;
        let error = next_json(&mut socket).await?;
        ensure!(error["type"] == "error" && error["code"] == "bad_request", "{name}: {error}");
        ensure!(error["field"] == field, "{name}: {error}");
    }
    // These are accepted: the greatest allowed depth, brackets in strings (which do not count), and a deep unknown
    // field.
    let brackets = format!(r#"{{"a":"{}\"[["}}"#, "[".repeat(1_000));
    let accepted = [
        (send(&objects(100)), "ack"),
        (send(&brackets).replace(r#""c""#, r#""d""#), "ack"),
        (signal(&lists(100)), "ok"),
        (format!(r#"{{"type":"ping","ref":"r","unknown":{}}}"#, lists(30_000)), "pong"),
    ];
    for (text, answer) in accepted {
        socket.send(opcode::TEXT, text.as_bytes()).await?;
        let answered = next_json(&mut socket).await?;
        ensure!(answered["type"] == answer && answered["ref"] == "r", "{answered}");
    }
    let page = stack.http("bob").get(&format!("/rooms/{room}/messages")).await?.expect(200);
    ensure!(page.body["messages"].as_array().is_some_and(|messages| messages.len() == 2), "{}", page.body);
    Ok(())
}

#[tokio::test]
async fn frame_burst_is_served_and_longer_burst_is_throttled() -> Result<()> {
    let stack = Stack::start().await?;
    let mut socket = RawSocket::open(stack.gateway(0).ports().public, &stack.token("alice")).await?;
    next_json(&mut socket).await?;
    for (pings, throttled) in [(150, false), (500, true)] {
        socket.send_bytes(&frame(0x80 | opcode::PING, b"?", Some([1, 2, 3, 4])).repeat(pings)).await?;
        let mut pongs = 0;
        while pongs < pings {
            let frame = tokio::time::timeout(WAIT_TIMEOUT, socket.next()).await??.context("ended")?;
            ensure!(matches!(frame.opcode, opcode::PONG | opcode::PING), "{frame:?}");
            pongs += usize::from(frame.opcode == opcode::PONG && frame.payload == b"?");
        }
        let metrics = stack.gateway(0).metrics().await?;
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("tidings_gateway_frame_rate_holds_total "));
        ensure!((line != Some("0")) == throttled, "{pings} pings: {line:?}");
    }
    socket.send(opcode::TEXT, br#"{"type":"ping","ref":"p"}"#).await?;
    ensure!(next_json(&mut socket).await?["type"] == "pong");
    Ok(())
}

async fn next_json(socket: &mut RawSocket) -> Result<Value> {
    loop {
        let frame =
            tokio::time::timeout(WAIT_TIMEOUT, socket.next()).await??.context("the connection ended")?;
        match frame.opcode {
            opcode::TEXT => return Ok(serde_json::from_str(frame.text())?),
            opcode::CLOSE => anyhow::bail!("closed with {:?}", frame.close_code()),
            _ => {}
        }
    }
}
