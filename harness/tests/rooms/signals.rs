//! Signals: opaque payloads to all members of a room or to one of them, never stored.

use crate::hearing::{
    WAIT_TIMEOUT, connect_and_join, expect_ok, frames_of_types, frames_until_message, frames_until_quiet,
    new_room_with, refusal_code,
};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{
    Client, ClientError, Stack,
    raw::{RawSocket, opcode},
};

fn signal(room: &str, to: Option<&str>, data: &Value) -> Value {
    json!({"type": "signal", "room": room, "to": to, "data": data})
}

/// The signals of a connection up to the message with this text.
async fn signals_until(client: &Client, text: &str) -> Result<Vec<Value>> {
    Ok(frames_of_types(&frames_until_message(client, text).await?, &["signal"]))
}

// Covers: signal.
#[tokio::test]
async fn signal_reaches_joined_others_or_only_named_user() -> Result<()> {
    let stack = Stack::shared().await?;
    let room =
        new_room_with(&stack, "alice", &[("bob", "member"), ("carol", "member"), ("gus", "guest")]).await?;
    let alice = connect_and_join(&stack, 0, "alice", &room).await?;
    let own = connect_and_join(&stack, 1, "alice", &room).await?;
    let bobs =
        [connect_and_join(&stack, 0, "bob", &room).await?, connect_and_join(&stack, 1, "bob", &room).await?];
    let others = [
        connect_and_join(&stack, 1, "carol", &room).await?,
        connect_and_join(&stack, 0, "gus", &room).await?,
    ];
    let not_joined = stack.connect("bob").await?;

    let frame = |data: &Value| json!({"type": "signal", "room": room, "from": "alice", "data": data});
    let (offer, answer, to_self) = (json!({"sdp": ["offer", null]}), json!("only bob"), json!(0));
    expect_ok(&alice, signal(&room, None, &offer)).await?;
    expect_ok(&alice, signal(&room, Some("bob"), &answer)).await?;
    expect_ok(&alice, signal(&room, Some("alice"), &to_self)).await?;
    alice.send(&room, "end").await?;
    for bob in &bobs {
        let received = signals_until(bob, "end").await?;
        ensure!(received == [frame(&offer), frame(&answer)], "{received:?}");
    }
    for other in &others {
        let received = signals_until(other, "end").await?;
        ensure!(received == [frame(&offer)], "{received:?}");
    }
    for sender in [&alice, &own] {
        let received = signals_until(sender, "end").await?;
        ensure!(received == [frame(&to_self)], "{received:?}");
    }
    ensure!(frames_of_types(&frames_until_quiet(&not_joined).await?, &["signal"]).is_empty());

    // Signals are neither stored nor replayed.
    let late = stack.connect_at(1, "bob").await?;
    let start = json!({"epoch": late.join(&room).await?.head.epoch, "seq": 0});
    late.ask(json!({"type": "room:join", "room": room, "after": start})).await?;
    ensure!(signals_until(&late, "end").await?.is_empty());
    let events = stack.http("bob").events(&room, "after=0").await?.expect(200);
    ensure!(events.body["events"].as_array().is_some_and(|events| events.len() == 1), "{}", events.body);
    Ok(())
}

#[tokio::test]
async fn payload_up_to_16_kib_arrives_byte_for_byte() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = new_room_with(&stack, "alice", &[("bob", "member")]).await?;
    let mut bob = RawSocket::open(stack.gateway(0).port(), &stack.token("bob")).await?;
    let join = json!({"type": "room:join", "room": room}).to_string();
    bob.send(opcode::TEXT, join.as_bytes()).await?;
    next_text_of_type(&mut bob, "room:caught_up").await?;
    let alice = stack.connect("alice").await?;
    let data = format!(r#"{{"z":1.50,  "a":"\u00e9\n{}"}}"#, "x".repeat(16 * 1024 - 27));
    ensure!(data.len() == 16 * 1024, "{}", data.len());
    let send = |data: &str| format!(r#"{{"type":"signal","ref":"s","room":"{room}","data":{data}}}"#);
    alice.send_text(&send(&data)).await?;
    let text = next_text_of_type(&mut bob, "signal").await?;
    let expected = format!(r#"{{"type":"signal","room":"{room}","from":"alice","data":{data}}}"#);
    ensure!(text == expected, "{} bytes instead of {}", text.len(), expected.len());
    match alice.ask(signal(&room, None, &json!("x".repeat(16 * 1024)))).await {
        Err(ClientError::Answered(error)) => {
            ensure!(error.code == "too_large" && error.field.as_deref() == Some("data"), "{error:?}");
        }
        other => anyhow::bail!("{:?}", other.err()),
    }
    Ok(())
}

#[tokio::test]
async fn only_sending_roles_signal_and_only_to_members() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = new_room_with(&stack, "alice", &[("bob", "member"), ("gus", "guest")]).await?;
    let other = stack.http("eve").new_room(&["mal"]).await?;
    let (alice, gus, eve) = (
        connect_and_join(&stack, 0, "alice", &room).await?,
        connect_and_join(&stack, 0, "gus", &room).await?,
        stack.connect("eve").await?,
    );
    let data = json!({});
    ensure!(refusal_code(&gus, signal(&room, None, &data)).await? == "forbidden");
    ensure!(refusal_code(&eve, signal(&room, None, &data)).await? == "not_found");
    ensure!(refusal_code(&eve, signal(&room, Some("alice"), &data)).await? == "not_found");
    // None of them is a member of the room: two users of another room, and the unknown user `nobody`.
    for outsider in ["mal", "eve", "nobody"] {
        match alice.ask(signal(&room, Some(outsider), &data)).await {
            Err(ClientError::Answered(error)) => {
                ensure!(
                    error.code == "not_found" && error.field.as_deref() == Some("to"),
                    "{outsider}: {error:?}"
                );
            }
            other => anyhow::bail!("{outsider}: {:?}", other.err()),
        }
    }
    expect_ok(&alice, signal(&room, Some("gus"), &data)).await?;
    gus.wait_for("signal", WAIT_TIMEOUT).await?;
    expect_ok(&eve, signal(&other, Some("mal"), &data)).await?;
    stack.http("alice").archive_room(&room).await?.expect(204);
    ensure!(refusal_code(&alice, signal(&room, None, &data)).await? == "conflict");
    Ok(())
}

/// The text of the next frame of a type.
async fn next_text_of_type(socket: &mut RawSocket, kind: &str) -> Result<String> {
    let start = format!(r#"{{"type":"{kind}""#);
    loop {
        let frame = tokio::time::timeout(WAIT_TIMEOUT, socket.next()).await??;
        let frame = frame.ok_or_else(|| anyhow::anyhow!("the connection ended"))?;
        if frame.opcode == opcode::TEXT && frame.text().starts_with(&start) {
            return Ok(frame.text().to_owned());
        }
    }
}
