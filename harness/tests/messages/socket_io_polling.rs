//! The ends of polling sessions whose requests reach two gateways in turn: a removed member, a blocked user, an expired
//! token, a node that stops. The session is on the first gateway.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tidings_harness::engine_io::EnginePolling;
use tidings_harness::socket_io::{SOCKET_IO_PATH, SocketIo, SocketIoKind, SocketIoTransport};
use tidings_harness::{ClientError, Http, Stack, System, Token, clock};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
const DRAIN_TIME: Duration = Duration::from_secs(4);

async fn start_stack() -> Result<Stack> {
    let stack = Stack::builder().gateways(2).gateway_env("TIDINGS_SOCKET_IO", "on");
    stack.gateway_env("TIDINGS_DRAIN_MS", DRAIN_TIME.as_millis()).start().await
}

/// Opens a session, and connects the main namespace.
async fn connect(stack: &impl System, token: &str) -> Result<SocketIo> {
    let urls = [0, 1].map(|number| stack.gateway_url(number));
    let mut client = SocketIo::open_over(&urls, SocketIoTransport::Polling).await?;
    client.connect("/", &json!({ "token": token })).await?;
    Ok(client)
}

async fn ensure_silent(client: &mut SocketIo, event: &str) -> Result<()> {
    let silent = client.wait_for(event, Duration::from_millis(500)).await;
    ensure!(matches!(silent, Err(ClientError::Silent(_))), "{silent:?}");
    Ok(())
}

/// Waits for the event `close`, which the disconnect of the namespace follows.
async fn ensure_ended(client: &mut SocketIo, code: u16) -> Result<()> {
    let close = client.wait_for("close", WAIT_TIMEOUT).await?;
    ensure!(close["code"] == code, "{close}");
    client.next_packet_of(SocketIoKind::Disconnect, "/", WAIT_TIMEOUT).await?;
    Ok(())
}

#[tokio::test]
async fn removed_member_gets_nothing_by_later_polls() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob", "carol"]).await?;
    let mut bob = connect(&stack, &stack.token("bob")).await?;
    bob.join(&room).await?;
    let carol = stack.connect_at(1, "carol").await?;
    carol.join_and_catch_up(&room).await?;
    carol.send(&room, "before").await?;
    let event = bob.wait_for("message:new", WAIT_TIMEOUT).await?;
    ensure!(event["content"] == "before", "{event}");
    let removed = stack.http("alice").remove_member(&room, "bob").await?.expect(200).body;
    carol.send(&room, "after").await?;
    let notice = bob.wait_for("room:removed", WAIT_TIMEOUT).await?;
    ensure!(notice["room"] == *room && notice["seq"] == removed["seq"], "{notice}");
    let send = json!({ "room": room, "client_id": clock::client_id(), "content": "hello" });
    let refused = bob.ask("message:send", &send).await?;
    ensure!(refused["code"] == "not_found", "{refused}");
    ensure_silent(&mut bob, "message:new").await
}

#[tokio::test]
async fn blocked_user_and_expired_token_end_polled_namespace() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let mut bob = connect(&stack, &stack.token("bob")).await?;
    bob.join(&room).await?;
    let root = Http::new(&stack.persistence(0).url(), &stack.admin_token("root"));
    root.put_user("bob", json!({ "blocked": true })).await?.expect(200);
    ensure_ended(&mut bob, 4403).await?;
    match bob.connect("/", &json!({ "token": stack.token("bob") })).await {
        Err(ClientError::Refused { body, .. }) => ensure!(body["data"]["code"] == "forbidden", "{body}"),
        other => bail!("{other:?}"),
    }

    let mut alice = connect(&stack, &stack.sign(Token::of("alice").ttl_s(6))).await?;
    alice.join(&room).await?;
    ensure_ended(&mut alice, 4401).await?;
    // The session stays. A new token connects the namespace again, and no room is joined yet.
    alice.connect("/", &json!({ "token": stack.token("alice") })).await?;
    stack.http("alice").send(&room, "by-http", "hello").await?.expect(201);
    ensure_silent(&mut alice, "message:new").await?;
    alice.join(&room).await?;
    Ok(())
}

#[tokio::test]
async fn stopping_node_ends_polling_sessions_in_time() -> Result<()> {
    let stack = start_stack().await?;
    let mut alice = connect(&stack, &stack.token("alice")).await?;
    // The last packets of this session are never taken, because nobody polls.
    let unpolled = EnginePolling::open(&format!("{}{SOCKET_IO_PATH}", stack.gateway(0).url())).await?;
    let posted = unpolled.post(&format!("40{}", json!({ "token": stack.token("bob") }))).await?;
    ensure!(posted.status == 200, "{posted:?}");
    let begun = Instant::now();
    stack.gateway(0).terminate()?;
    let draining = alice.wait_for("draining", WAIT_TIMEOUT).await?;
    ensure!(draining["reconnect_after_ms"].is_u64(), "{draining}");
    let close = alice.wait_for("close", WAIT_TIMEOUT).await?;
    ensure!(close["code"] == 1012, "{close}");
    alice.until_closed(WAIT_TIMEOUT).await?;
    while stack.gateway(0).pid().is_some() {
        ensure!(begun.elapsed() < DRAIN_TIME + WAIT_TIMEOUT, "the node did not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = unpolled.at(&format!("{}{SOCKET_IO_PATH}", stack.gateway(1).url())).get().await?;
    ensure!((answer.status, answer.code()) == (400, Some(1)), "{answer:?}");
    Ok(())
}
