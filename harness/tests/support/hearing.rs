//! Connections and commands for the tests of typing, signals and receipts, and functions that collect the frames of a
//! connection.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tidings_harness::{Client, ClientError, ServerFrame, System, Token};

pub const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a test listens on a connection that must receive nothing.
pub const QUIET_PERIOD: Duration = Duration::from_millis(700);

/// Connects with a token that contains a name.
pub async fn connect_as(stack: &impl System, gateway: usize, user: &str, name: &str) -> Result<Client> {
    Ok(stack.connect_with(gateway, Token::of(user).name(name)).await?)
}

pub async fn connect_and_join(stack: &impl System, gateway: usize, user: &str, room: &str) -> Result<Client> {
    let client = stack.connect_at(gateway, user).await?;
    client.join_and_catch_up(room).await?;
    Ok(client)
}

/// All frames except messages and `room:caught_up`, in order, up to the message with this text.
pub async fn frames_until_message(client: &Client, text: &str) -> Result<Vec<Value>> {
    let mut frames = Vec::new();
    loop {
        match client.next_event(WAIT_TIMEOUT).await.with_context(|| format!("waiting for {text:?}"))? {
            ServerFrame::Message(message) if message.content == text => return Ok(frames),
            ServerFrame::Other(value) => frames.push(value),
            ServerFrame::Message(_) | ServerFrame::CaughtUp(_) => {}
            other => bail!("{other:?}"),
        }
    }
}

/// All frames except messages, until nothing arrives for `QUIET_PERIOD`.
pub async fn frames_until_quiet(client: &Client) -> Result<Vec<Value>> {
    let mut frames = Vec::new();
    loop {
        match client.next_event(QUIET_PERIOD).await {
            Ok(ServerFrame::Other(value)) => frames.push(value),
            Ok(ServerFrame::Message(_)) => {}
            Ok(other) => bail!("{other:?}"),
            Err(ClientError::Silent(_)) => return Ok(frames),
            Err(error) => return Err(error.into()),
        }
    }
}

pub fn frames_of_types(frames: &[Value], types: &[&str]) -> Vec<Value> {
    let wanted = |frame: &&Value| types.iter().any(|kind| frame["type"] == **kind);
    frames.iter().filter(wanted).cloned().collect()
}

pub async fn expect_ok(client: &Client, frame: Value) -> Result<()> {
    let (answer, _) = client.ask(frame).await?;
    anyhow::ensure!(answer.kind() == "ok", "{answer:?}");
    Ok(())
}

/// Sends a command that must be refused; returns the code.
pub async fn refusal_code(client: &Client, frame: Value) -> Result<String> {
    match client.ask(frame.clone()).await {
        Err(error @ ClientError::Answered(_)) => Ok(error.code().to_owned()),
        other => bail!("{frame}: {:?}", other.map(|(answer, _)| answer)),
    }
}

pub fn typing_frame(room: &str, started: bool) -> Value {
    json!({"type": if started { "typing:start" } else { "typing:stop" }, "room": room})
}

/// Creates a private room whose members have these roles; its creator is the owner.
pub async fn new_room_with(stack: &impl System, owner: &str, members: &[(&str, &str)]) -> Result<String> {
    let members: Vec<Value> =
        members.iter().map(|(user, role)| json!({"user": user, "role": role})).collect();
    let room = stack.http(owner).post("/rooms", json!({"kind": "private", "members": members})).await?;
    Ok(room.expect(201).body["room"].as_str().context("a room")?.to_owned())
}
