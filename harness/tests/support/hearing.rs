//! What a connection heard: live-only frames up to a message that ends the listening.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tidings_harness::{Client, ClientError, ServerFrame, Stack, Token};

pub const PATIENCE: Duration = Duration::from_secs(20);
/// How long a connection is listened to that is to hear nothing.
pub const QUIET: Duration = Duration::from_millis(700);

/// A connection with a name in its token.
pub async fn connect_as(stack: &Stack, gateway: usize, user: &str, name: &str) -> Result<Client> {
    let token = Token::of(user).name(name).sign(stack.jwt_secret());
    Ok(Client::connect(&stack.gateway(gateway).ws(), &token).await?)
}

/// Another connection that hears of the room.
pub async fn joined(stack: &Stack, gateway: usize, user: &str, room: &str) -> Result<Client> {
    let client = stack.connect_at(gateway, user).await?;
    client.join_and_catch_up(room).await?;
    Ok(client)
}

/// Everything but log events, in order, up to the message with this text.
pub async fn heard_until(client: &Client, text: &str) -> Result<Vec<Value>> {
    let mut heard = Vec::new();
    loop {
        match client.next_event(PATIENCE).await.with_context(|| format!("waiting for {text:?}"))? {
            ServerFrame::Message(message) if message.content == text => return Ok(heard),
            ServerFrame::Other(value) => heard.push(value),
            ServerFrame::Message(_) | ServerFrame::CaughtUp(_) => {}
            other => bail!("{other:?}"),
        }
    }
}

/// Whatever comes until it has been quiet for a while.
pub async fn heard_until_quiet(client: &Client) -> Result<Vec<Value>> {
    let mut heard = Vec::new();
    loop {
        match client.next_event(QUIET).await {
            Ok(ServerFrame::Other(value)) => heard.push(value),
            Ok(ServerFrame::Message(_)) => {}
            Ok(other) => bail!("{other:?}"),
            Err(ClientError::Silent(_)) => return Ok(heard),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Those of these types.
pub fn of_types(heard: &[Value], types: &[&str]) -> Vec<Value> {
    let wanted = |frame: &&Value| types.iter().any(|kind| frame["type"] == **kind);
    heard.iter().filter(wanted).cloned().collect()
}

/// Sends a command, and expects `ok`.
pub async fn ok(client: &Client, frame: Value) -> Result<()> {
    let (answer, _) = client.ask(frame).await?;
    anyhow::ensure!(answer.kind() == "ok", "{answer:?}");
    Ok(())
}

/// Sends a command that is to be refused; the code.
pub async fn refused(client: &Client, frame: Value) -> Result<String> {
    match client.ask(frame.clone()).await {
        Err(error @ ClientError::Answered(_)) => Ok(error.code().to_owned()),
        other => bail!("{frame}: {:?}", other.map(|(answer, _)| answer)),
    }
}

pub fn typing(room: &str, started: bool) -> Value {
    json!({"type": if started { "typing:start" } else { "typing:stop" }, "room": room})
}

/// A private room with members in roles; its creator is its owner.
pub async fn room_with(stack: &Stack, owner: &str, members: &[(&str, &str)]) -> Result<String> {
    let members: Vec<Value> =
        members.iter().map(|(user, role)| json!({"user": user, "role": role})).collect();
    let room = stack.http(owner).post("/rooms", json!({"kind": "private", "members": members})).await?;
    Ok(room.expect(201).body["room"].as_str().context("a room")?.to_owned())
}

/// Archives a room as an append does.
pub async fn archive(stack: &Stack, room: &str) -> Result<()> {
    let client = redis::Client::open(stack.redis().url())?;
    let key = tidings_shared::log::keys::room(&tidings_shared::ids::RoomId::parse(room)?);
    let mut connection = client.get_multiplexed_async_connection().await?;
    Ok(redis::cmd("HSET").arg(key).arg("archived").arg("1").query_async(&mut connection).await?)
}
