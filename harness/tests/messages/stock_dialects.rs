//! Stock Socket.IO clients converse with the events of an existing application. Each gateway translates these events by
//! one of the dialects in deploy/dialects.

use std::time::Duration;

use crate::stock_clients::run_script;
use anyhow::{Context, Result, ensure};
use rstest::rstest;
use serde_json::{Value, json};
use tidings_harness::Stack;
use tokio::time::timeout;

/// Messages of each of the two users. A user may post 20 messages at once over HTTP.
const MESSAGE_COUNT: usize = 15;
const CONVERSATION_TIMEOUT: Duration = Duration::from_secs(120);
const DIALECTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/dialects");

async fn start_stack(dialect: &str) -> Result<Stack> {
    let stack = Stack::builder().gateway_env("TIDINGS_SOCKET_IO", "on");
    stack
        .gateway_env("TIDINGS_SOCKET_IO_DIALECT", format!("{DIALECTS}/{dialect}.toml"))
        .gateway_env("TIDINGS_MESSAGES_PER_SECOND", 10_000)
        .gateway_env("TIDINGS_MESSAGES_BURST", 10_000)
        .start()
        .await
}

/// The texts of the messages that a room has stored.
async fn stored_texts(stack: &Stack, room: &str) -> Result<Vec<Value>> {
    let page = stack.http("ann").messages(room, "limit=200").await?.expect(200).body;
    let messages = page["messages"].as_array().context("no messages")?;
    Ok(messages.iter().map(|message| message["content"].clone()).collect())
}

/// The backend creates the room, unless a join creates it.
#[rstest]
#[case("rooms", "room-tea:20time", false)]
#[case("chat", "chat-a", true)]
#[case("mobile", "mobile-a", true)]
#[case("portal", "chat-42", true)]
#[case("broadcast", "app-everybody", false)]
#[tokio::test]
async fn application_converses_by_its_dialect(
    #[case] dialect: &str,
    #[case] room: &str,
    #[case] room_exists: bool,
) -> Result<()> {
    let stack = start_stack(dialect).await?;
    if room_exists {
        let admin = stack.http("ann").with_token(&stack.admin_token("ann"));
        let room_object = json!({ "id": room, "kind": "private", "members": [{ "user": "ben" }] });
        admin.post("/rooms", room_object).await?.expect(201);
    }
    let options = json!({
        "version": "4.8", "application": dialect, "count": MESSAGE_COUNT,
        "url": stack.gateway(0).url(), "persistence": stack.persistence(0).url(),
        "tokens": [stack.token("ann"), stack.token("ben")],
    });
    let texts =
        timeout(CONVERSATION_TIMEOUT, run_script("dialects.mjs", &options)).await.context("no end")??;
    let stored = stored_texts(&stack, room).await?;
    ensure!(stored.len() == 2 * MESSAGE_COUNT, "{} messages are stored", stored.len());
    ensure!(texts == Value::Array(stored), "received {texts}");
    Ok(())
}
