//! Refusals and ends of Socket.IO connections on a gateway: errors in acks, binary events, removed and blocked members,
//! expired tokens, and a stopping node.

use std::time::Duration;

use anyhow::{Result, ensure};
use rstest::rstest;
use serde_json::{Value, json};
use tidings_harness::engine_io::EngineMessage;
use tidings_harness::socket_io::{SocketIo, SocketIoKind, SocketIoPacket, SocketIoTransport};
use tidings_harness::{ClientError, Http, Stack, System, Token, clock};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

async fn start_stack() -> Result<Stack> {
    Stack::builder().gateway_env("TIDINGS_SOCKET_IO", "on").start().await
}

async fn connect(stack: &impl System, via: SocketIoTransport, user: &str) -> Result<SocketIo> {
    Ok(SocketIo::connect_with_token(&stack.gateway_url(0), via, &stack.token(user)).await?)
}

fn message(room: &str, client_id: &str) -> Value {
    json!({ "room": room, "client_id": client_id, "content": "hello" })
}

/// Waits for the event `close`, which the disconnect of the namespace follows.
async fn ensure_ended(client: &mut SocketIo, code: u16) -> Result<()> {
    let close = client.wait_for("close", WAIT_TIMEOUT).await?;
    ensure!(close["code"] == code, "{close}");
    client.next_packet_of(SocketIoKind::Disconnect, "/", WAIT_TIMEOUT).await?;
    Ok(())
}

#[tokio::test]
async fn acks_report_refusals_and_duplicates() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let foreign = stack.http("mallory").new_room(&[]).await?;
    let mut alice = connect(&stack, SocketIoTransport::WebSocket, "alice").await?;
    for (event, fields, code) in [
        ("message:send", message(&foreign, "a"), "not_found"),
        ("message:send", json!({ "room": room, "client_id": "b" }), "bad_request"),
        ("room:join", json!({ "room": foreign }), "not_found"),
        ("no:such:event", json!({}), "bad_request"),
    ] {
        let answer = alice.ask(event, &fields).await?;
        ensure!(answer["type"] == "error" && answer["code"] == code, "{event}: {answer}");
        ensure!(answer["message"].is_string() && answer.get("ref").is_none(), "{event}: {answer}");
    }
    // Without an ack id, the refusal arrives as an event.
    alice.emit("room:join", &json!({ "room": foreign }));
    let error = alice.wait_for("error", WAIT_TIMEOUT).await?;
    ensure!(error["code"] == "not_found", "{error}");
    let first = alice.ask("message:send", &message(&room, "the-id")).await?;
    let again = alice.ask("message:send", &message(&room, "the-id")).await?;
    ensure!(first["duplicate"] == false && again["duplicate"] == true, "{first} {again}");
    ensure!(first["seq"] == again["seq"] && first["id"] == again["id"], "{first} {again}");
    Ok(())
}

#[rstest]
#[case(SocketIoTransport::WebSocket)]
#[case(SocketIoTransport::Polling)]
#[tokio::test]
async fn binary_event_is_refused_and_the_connection_stays(#[case] via: SocketIoTransport) -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&[]).await?;
    let mut alice = connect(&stack, via, "alice").await?;
    let placeholder = json!({ "_placeholder": true, "num": 0 });
    for id in [Some(900), None] {
        let data = json!(["message:send", placeholder]);
        let mut event = SocketIoPacket::new(SocketIoKind::BinaryEvent, "/", id, data);
        event.attachments = 1;
        alice.send_packet(&event);
        alice.send_message(EngineMessage::Binary(vec![1, 2, 3]));
        let error = if id.is_some() {
            let mut ack = alice.next_packet_of(SocketIoKind::Ack, "/", WAIT_TIMEOUT).await?;
            ensure!(ack.id == id, "{ack}");
            ack.take_argument(0)
        } else {
            alice.wait_for("error", WAIT_TIMEOUT).await?
        };
        ensure!(error["type"] == "error" && error["code"] == "bad_request", "{error}");
    }
    let ack = alice.ask("message:send", &message(&room, &clock::client_id())).await?;
    ensure!(ack["type"] == "ack" && ack["seq"] == 1, "{ack}");
    Ok(())
}

#[rstest]
#[case(SocketIoTransport::WebSocket)]
#[case(SocketIoTransport::Polling)]
#[tokio::test]
async fn removed_member_gets_notice_and_nothing_more(#[case] via: SocketIoTransport) -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob", "carol"]).await?;
    let mut bob = connect(&stack, via, "bob").await?;
    let carol = stack.connect("carol").await?;
    bob.join(&room).await?;
    carol.join_and_catch_up(&room).await?;
    let removed = stack.http("alice").remove_member(&room, "bob").await?.expect(200).body;
    carol.send(&room, "behind his back").await?;
    let notice = bob.wait_for("room:removed", WAIT_TIMEOUT).await?;
    ensure!(notice["room"] == *room && notice["seq"] == removed["seq"], "{notice}");
    let leaving = bob.wait_for("member:removed", WAIT_TIMEOUT).await?;
    ensure!(leaving["user"] == "bob" && leaving["seq"] == removed["seq"], "{leaving}");
    let answer = bob.ask("message:send", &message(&room, &clock::client_id())).await?;
    ensure!(answer["code"] == "not_found", "{answer}");
    let silent = bob.wait_for("message:new", Duration::from_millis(500)).await;
    ensure!(matches!(silent, Err(ClientError::Silent(_))), "{silent:?}");
    Ok(())
}

#[tokio::test]
async fn blocked_user_and_expired_token_end_the_namespace() -> Result<()> {
    let stack = Stack::shared().await?;
    let mut bob = connect(&stack, SocketIoTransport::WebSocket, "bob").await?;
    let root = Http::new(&stack.persistence(0).url(), &stack.admin_token("root"));
    root.put_user("bob", json!({ "blocked": true })).await?.expect(200);
    ensure_ended(&mut bob, 4403).await?;
    match bob.connect("/", &json!({ "token": stack.token("bob") })).await {
        Err(ClientError::Refused { body, .. }) => ensure!(body["data"]["code"] == "forbidden", "{body}"),
        other => anyhow::bail!("{other:?}"),
    }

    let token = stack.sign(Token::of("alice").ttl_s(3));
    let url = stack.gateway(0).url();
    let mut alice = SocketIo::connect_with_token(&url, SocketIoTransport::Polling, &token).await?;
    ensure_ended(&mut alice, 4401).await?;
    // The namespace may be connected again on the same connection.
    alice.connect("/", &json!({ "token": stack.token("alice") })).await?;
    let pong = alice.ask("ping", &json!({})).await?;
    ensure!(pong["type"] == "pong", "{pong}");
    Ok(())
}

#[rstest]
#[case(SocketIoTransport::WebSocket)]
#[case(SocketIoTransport::Polling)]
#[tokio::test]
async fn stopping_node_sends_draining_and_closes(#[case] via: SocketIoTransport) -> Result<()> {
    let stack = start_stack().await?;
    let mut alice = connect(&stack, via, "alice").await?;
    stack.gateway(0).terminate()?;
    let draining = alice.wait_for("draining", WAIT_TIMEOUT).await?;
    ensure!(draining["reconnect_after_ms"].is_u64(), "{draining}");
    let close = alice.wait_for("close", WAIT_TIMEOUT).await?;
    ensure!(close["code"] == 1012, "{close}");
    // The connection ends without a disconnect packet, because stock clients reconnect by themselves only then.
    alice.until_closed(WAIT_TIMEOUT).await?;
    let disconnect = alice.next_packet_of(SocketIoKind::Disconnect, "/", Duration::ZERO).await;
    ensure!(disconnect.is_err(), "{disconnect:?}");
    Ok(())
}

#[tokio::test]
async fn disconnected_namespace_gets_no_more_events() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let mut bob = connect(&stack, SocketIoTransport::WebSocket, "bob").await?;
    bob.join(&room).await?;
    bob.send_packet(&SocketIoPacket::new(SocketIoKind::Disconnect, "/", None, Value::Null));
    let alice = stack.connect("alice").await?;
    // Reconnects the namespace. The answer arrives after all packets of the earlier connection.
    bob.connect("/", &json!({ "token": stack.token("bob") })).await?;
    alice.send(&room, "nobody has joined").await?;
    let silent = bob.wait_for("message:new", Duration::from_millis(500)).await;
    ensure!(matches!(silent, Err(ClientError::Silent(_))), "{silent:?}");
    bob.join(&room).await?;
    alice.send(&room, "now").await?;
    let event = bob.wait_for("message:new", WAIT_TIMEOUT).await?;
    ensure!(event["content"] == "now", "{event}");
    Ok(())
}
