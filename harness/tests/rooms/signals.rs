//! Signals: opaque payloads between members, to a room or to one of them, never kept.

use crate::hearing::{
    PATIENCE, archive, heard_until, heard_until_quiet, joined, of_types, ok, refused, room_with,
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

/// What a connection was signalled, up to a message.
async fn signalled(client: &Client, text: &str) -> Result<Vec<Value>> {
    Ok(of_types(&heard_until(client, text).await?, &["signal"]))
}

// Covers: signal.
#[tokio::test]
async fn a_signal_reaches_all_others_who_joined_or_only_the_one_it_names() -> Result<()> {
    let stack = Stack::builder().gateways(2).start().await?;
    let room =
        room_with(&stack, "alice", &[("bob", "member"), ("carol", "member"), ("gus", "guest")]).await?;
    let alice = joined(&stack, 0, "alice", &room).await?;
    let own = joined(&stack, 1, "alice", &room).await?;
    let bobs = [joined(&stack, 0, "bob", &room).await?, joined(&stack, 1, "bob", &room).await?];
    let others = [joined(&stack, 1, "carol", &room).await?, joined(&stack, 0, "gus", &room).await?];
    let not_joined = stack.connect("bob").await?;

    let frame = |data: &Value| json!({"type": "signal", "room": room, "from": "alice", "data": data});
    let (offer, answer, mine) = (json!({"sdp": ["offer", null]}), json!("only bob"), json!(0));
    ok(&alice, signal(&room, None, &offer)).await?;
    ok(&alice, signal(&room, Some("bob"), &answer)).await?;
    ok(&alice, signal(&room, Some("alice"), &mine)).await?;
    alice.send(&room, "end").await?;
    for bob in &bobs {
        let heard = signalled(bob, "end").await?;
        ensure!(heard == [frame(&offer), frame(&answer)], "{heard:?}");
    }
    for other in &others {
        let heard = signalled(other, "end").await?;
        ensure!(heard == [frame(&offer)], "{heard:?}");
    }
    for sender in [&alice, &own] {
        let heard = signalled(sender, "end").await?;
        ensure!(heard == [frame(&mine)], "{heard:?}");
    }
    ensure!(of_types(&heard_until_quiet(&not_joined).await?, &["signal"]).is_empty());

    // Neither stored nor replayed.
    let late = stack.connect_at(1, "bob").await?;
    let start = json!({"epoch": late.join(&room).await?.head.epoch, "seq": 0});
    late.ask(json!({"type": "room:join", "room": room, "after": start})).await?;
    ensure!(signalled(&late, "end").await?.is_empty());
    let events = stack.http("bob").events(&room, "after=0").await?.expect(200);
    ensure!(events.body["events"].as_array().is_some_and(|events| events.len() == 1), "{}", events.body);
    Ok(())
}

#[tokio::test]
async fn a_payload_arrives_byte_for_byte_up_to_16_kib() -> Result<()> {
    let stack = Stack::start().await?;
    let room = room_with(&stack, "alice", &[("bob", "member")]).await?;
    let mut bob = RawSocket::open(stack.gateway(0).ports().public, &stack.token("bob")).await?;
    let join = json!({"type": "room:join", "room": room}).to_string();
    bob.send(opcode::TEXT, join.as_bytes()).await?;
    until(&mut bob, "room:caught_up").await?;
    let alice = stack.connect("alice").await?;
    let data = format!(r#"{{"z":1.50,  "a":"\u00e9\n{}"}}"#, "x".repeat(16 * 1024 - 27));
    ensure!(data.len() == 16 * 1024, "{}", data.len());
    let send = |data: &str| format!(r#"{{"type":"signal","ref":"s","room":"{room}","data":{data}}}"#);
    alice.send_text(&send(&data)).await?;
    let text = until(&mut bob, "signal").await?;
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
async fn only_members_who_may_send_signal_and_only_to_members() -> Result<()> {
    let stack = Stack::start().await?;
    let room = room_with(&stack, "alice", &[("bob", "member"), ("gus", "guest")]).await?;
    let other = stack.http("eve").new_room(&["mal"]).await?;
    let (alice, gus, eve) = (
        joined(&stack, 0, "alice", &room).await?,
        joined(&stack, 0, "gus", &room).await?,
        stack.connect("eve").await?,
    );
    let data = json!({});
    ensure!(refused(&gus, signal(&room, None, &data)).await? == "forbidden");
    ensure!(refused(&eve, signal(&room, None, &data)).await? == "not_found");
    ensure!(refused(&eve, signal(&room, Some("alice"), &data)).await? == "not_found");
    // Someone of another room, someone who is connected and nowhere, and nobody.
    for stranger in ["mal", "eve", "nobody"] {
        match alice.ask(signal(&room, Some(stranger), &data)).await {
            Err(ClientError::Answered(error)) => {
                ensure!(
                    error.code == "not_found" && error.field.as_deref() == Some("to"),
                    "{stranger}: {error:?}"
                );
            }
            other => anyhow::bail!("{stranger}: {:?}", other.err()),
        }
    }
    ok(&alice, signal(&room, Some("gus"), &data)).await?;
    gus.wait_for("signal", PATIENCE).await?;
    ok(&eve, signal(&other, Some("mal"), &data)).await?;
    archive(&stack, &room).await?;
    ensure!(refused(&alice, signal(&room, None, &data)).await? == "conflict");
    Ok(())
}

/// The text of the next frame of a type.
async fn until(socket: &mut RawSocket, kind: &str) -> Result<String> {
    let start = format!(r#"{{"type":"{kind}""#);
    loop {
        let frame = tokio::time::timeout(PATIENCE, socket.next()).await??;
        let frame = frame.ok_or_else(|| anyhow::anyhow!("the connection ended"))?;
        if frame.opcode == opcode::TEXT && frame.text().starts_with(&start) {
            return Ok(frame.text().to_owned());
        }
    }
}
