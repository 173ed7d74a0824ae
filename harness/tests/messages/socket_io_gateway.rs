//! Socket.IO on a gateway: tokens, namespaces, and one conversation with clients of `/v1/ws`, by every transport.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use rstest::rstest;
use serde_json::{Value, json};
use tidings_harness::engine_io::EngineSocket;
use tidings_harness::http::encode;
use tidings_harness::socket_io::{SocketIo, SocketIoTransport};
use tidings_harness::{Client, ClientError, ServerFrame, SharedStack, Stack, Token, clock};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

async fn connect(
    stack: &SharedStack,
    gateway: usize,
    via: SocketIoTransport,
    user: &str,
) -> Result<SocketIo> {
    let url = stack.gateway(gateway).url();
    Ok(SocketIo::connect_with_token(&url, via, &stack.token(user)).await?)
}

fn message(room: &str, content: &str) -> Value {
    json!({ "room": room, "client_id": clock::client_id(), "content": content })
}

async fn next_content(client: &Client) -> Result<(u64, String)> {
    match client.wait_for("message:new", WAIT_TIMEOUT).await? {
        ServerFrame::Message(message) => Ok((message.seq, message.content)),
        other => bail!("{other:?}"),
    }
}

#[rstest]
#[case(SocketIoTransport::WebSocket)]
#[case(SocketIoTransport::Polling)]
#[case(SocketIoTransport::Upgrade)]
#[tokio::test]
async fn socket_io_and_websocket_clients_share_a_conversation(#[case] via: SocketIoTransport) -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob", "carol"]).await?;
    let mut alice = connect(&stack, 0, via, "alice").await?;
    let mut bob = connect(&stack, 1, via, "bob").await?;
    let carol = stack.connect_at(1, "carol").await?;
    for client in [&mut alice, &mut bob] {
        let connected = client.wait_for("connected", WAIT_TIMEOUT).await?;
        ensure!(connected["type"] == "connected" && connected["heartbeat_ms"] == 25_000, "{connected}");
        let joined = client.join(&room).await?;
        ensure!(joined["type"] == "room:joined" && joined["rooms"][0]["room"] == *room, "{joined}");
        ensure!(joined.get("ref").is_none(), "{joined}");
    }
    carol.join_and_catch_up(&room).await?;
    for seq in (1..=30_u64).step_by(2) {
        let (of_alice, of_carol) = (format!("<b>{seq}</b>\n🙂"), format!("and {seq}"));
        let ack = alice.ask("message:send", &message(&room, &of_alice)).await?;
        ensure!(ack["type"] == "ack" && ack["seq"] == seq && ack["stage"] == "stored", "{ack}");
        ensure!(ack["duplicate"] == false && ack.get("ref").is_none(), "{ack}");
        ensure!(carol.send(&room, &of_carol).await?.seq == seq + 1);
        for client in [&mut alice, &mut bob] {
            for (seq, content, sender) in [(seq, &of_alice, "alice"), (seq + 1, &of_carol, "carol")] {
                let event = client.wait_for("message:new", WAIT_TIMEOUT).await?;
                ensure!(event["type"] == "message:new" && event["seq"] == seq, "{event}");
                ensure!(event["content"] == *content && event["sender"]["id"] == sender, "{event}");
            }
        }
        for expected in [(seq, of_alice), (seq + 1, of_carol)] {
            let received = next_content(&carol).await?;
            ensure!(received == expected, "{received:?}");
        }
    }
    let page = stack.http("bob").messages(&room, "limit=200").await?.expect(200).body;
    let stored = page["messages"].as_array().into_iter().flatten().map(|message| message["seq"].as_u64());
    ensure!(stored.eq((1..=30).map(Some)), "{page}");
    Ok(())
}

#[rstest]
#[case(SocketIoTransport::WebSocket)]
#[case(SocketIoTransport::Polling)]
#[tokio::test]
async fn changes_typing_and_receipts_are_events(#[case] via: SocketIoTransport) -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob", "carol"]).await?;
    let mut alice = connect(&stack, 0, via, "alice").await?;
    let mut bob = connect(&stack, 1, via, "bob").await?;
    let carol = stack.connect("carol").await?;
    alice.join(&room).await?;
    bob.join(&room).await?;
    carol.join_and_catch_up(&room).await?;
    let sent = alice.ask("message:send", &message(&room, "first")).await?;
    let seq = sent["seq"].clone();
    let typing = alice.ask("typing:start", &json!({ "room": room })).await?;
    ensure!(typing == json!({ "type": "ok" }), "{typing}");
    let heard = bob.wait_for("typing:start", WAIT_TIMEOUT).await?;
    ensure!(heard["user"]["id"] == "alice" && heard["expires_ms"].is_u64(), "{heard}");
    for (command, fields, event) in [
        ("message:edit", json!({ "content": "edited" }), "message:edited"),
        ("reaction:add", json!({ "emoji": "👍" }), "reaction:added"),
        ("reaction:remove", json!({ "emoji": "👍" }), "reaction:removed"),
        ("message:delete", json!({}), "message:deleted"),
    ] {
        let mut change = fields;
        (change["room"], change["seq"]) = (json!(room), seq.clone());
        let ack = alice.ask(command, &change).await?;
        ensure!(ack["type"] == "ack" && ack["stage"] == "stored", "{command}: {ack}");
        let received = bob.wait_for(event, WAIT_TIMEOUT).await?;
        ensure!(received["target"] == seq && received["seq"] == ack["seq"], "{event}: {received}");
        carol.wait_for(event, WAIT_TIMEOUT).await?;
    }
    let read = bob.ask("message:read", &json!({ "room": room, "seq": seq })).await?;
    ensure!(read == json!({ "type": "ok" }), "{read}");
    loop {
        let receipt = alice.wait_for("receipt:read", WAIT_TIMEOUT).await?;
        let mut marks = receipt["marks"].as_array().into_iter().flatten();
        if marks.any(|mark| mark["user"] == "bob" && mark["seq"] == seq) {
            break;
        }
    }
    let pong = bob.ask("ping", &json!({})).await?;
    ensure!(pong["type"] == "pong" && pong["server_time"].is_string(), "{pong}");
    Ok(())
}

#[tokio::test]
async fn absent_client_is_replayed_after_its_cursor() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let mut bob = connect(&stack, 0, SocketIoTransport::WebSocket, "bob").await?;
    bob.join(&room).await?;
    let alice = stack.connect("alice").await?;
    alice.send(&room, "1").await?;
    let first = bob.wait_for("message:new", WAIT_TIMEOUT).await?;
    drop(bob);
    for content in ["2", "3"] {
        alice.send(&room, content).await?;
    }
    let epoch = stack.http("bob").room(&room).await?.expect(200).body["head"]["epoch"].clone();
    let mut again = connect(&stack, 1, SocketIoTransport::Polling, "bob").await?;
    let after = json!({ "epoch": epoch, "seq": first["seq"] });
    let joined = again.ask("room:join", &json!({ "room": room, "after": after })).await?;
    ensure!(joined["type"] == "room:joined", "{joined}");
    for content in ["2", "3"] {
        let event = again.wait_for("message:new", WAIT_TIMEOUT).await?;
        ensure!(event["content"] == content, "{event}");
    }
    let caught_up = again.wait_for("room:caught_up", WAIT_TIMEOUT).await?;
    ensure!(caught_up["seq"] == 3, "{caught_up}");
    Ok(())
}

#[tokio::test]
async fn connect_with_rooms_joins_them() -> Result<()> {
    let stack = Stack::shared().await?;
    let mut rooms = Vec::new();
    for _ in 0..3 {
        rooms.push(stack.http("alice").new_room(&["bob"]).await?);
    }
    let alice = stack.connect("alice").await?;
    for requested in [json!("mine"), json!(rooms)] {
        let mut bob = SocketIo::open(&stack.gateway(1).url(), SocketIoTransport::WebSocket).await?;
        bob.connect("/", &json!({ "token": stack.token("bob"), "rooms": requested })).await?;
        for _ in &rooms {
            bob.wait_for("room:caught_up", WAIT_TIMEOUT).await?;
        }
        for room in &rooms {
            alice.send(room, "hello").await?;
            let event = bob.wait_for("message:new", WAIT_TIMEOUT).await?;
            ensure!(event["room"] == *room, "{event}");
        }
    }
    Ok(())
}

fn ensure_refused(refused: Result<Value, ClientError>, code: &str, reason: &str) -> Result<()> {
    match refused {
        Err(ClientError::Refused { status: 0, body, .. }) => {
            ensure!(body["message"].is_string(), "{body}");
            ensure!(body["data"]["code"] == code && body["data"]["reason"] == reason, "{body}");
            Ok(())
        }
        other => bail!("{other:?} in place of {code} {reason}"),
    }
}

#[tokio::test]
async fn refused_token_leaves_connection_usable() -> Result<()> {
    let stack = Stack::shared().await?;
    let foreign = Token::of("alice").sign("another secret of enough characters");
    let expired = stack.sign(Token::of("alice").ttl_s(-5));
    let mut client = SocketIo::open(&stack.gateway(0).url(), SocketIoTransport::WebSocket).await?;
    for (auth, reason) in [
        (json!({ "token": foreign }), "signature"),
        (json!({ "token": expired }), "expired"),
        (json!({ "token": "no token" }), "malformed"),
        (json!({}), "missing"),
        (Value::Null, "missing"),
    ] {
        ensure_refused(client.connect("/", &auth).await, "unauthorized", reason)?;
    }
    let connected = client.connect("/", &json!({ "token": stack.token("alice") })).await?;
    ensure!(connected["sid"].is_string(), "{connected}");
    let event = client.wait_for("connected", WAIT_TIMEOUT).await?;
    ensure!(event["user"] == "alice", "{event}");
    Ok(())
}

#[tokio::test]
async fn token_in_handshake_query_is_accepted() -> Result<()> {
    let stack = Stack::shared().await?;
    let url = stack.gateway(0).url().replacen("http", "ws", 1);
    let token = encode(&stack.token("alice"));
    let url = format!("{url}/socket.io/?EIO=4&transport=websocket&token={token}");
    let mut socket = EngineSocket::open(&url).await?;
    socket.send("40").await?;
    for expected in ["0{", r#"40{"sid":"#, r#"42["connected",{"#] {
        let packet = tokio::time::timeout(WAIT_TIMEOUT, socket.next()).await?;
        ensure!(packet.text().starts_with(expected), "{packet:?}");
    }
    Ok(())
}

#[tokio::test]
async fn namespaces_have_users_and_rooms_of_their_own() -> Result<()> {
    let stack = Stack::shared().await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let mut client = connect(&stack, 0, SocketIoTransport::WebSocket, "alice").await?;
    let connected = client.connect("/admin", &json!({ "token": stack.token("bob") })).await?;
    ensure!(connected["sid"].is_string(), "{connected}");
    for (namespace, user) in [("/", "alice"), ("/admin", "bob")] {
        let event = client.wait_for_in(namespace, "connected", WAIT_TIMEOUT).await?;
        ensure!(event["user"] == user, "{event}");
    }
    let joined = client.ask_in("/admin", "room:join", &json!({ "room": room })).await?;
    ensure!(joined["type"] == "room:joined", "{joined}");
    let ack = client.ask("message:send", &message(&room, "from the main namespace")).await?;
    ensure!(ack["type"] == "ack", "{ack}");
    let event = client.wait_for_in("/admin", "message:new", WAIT_TIMEOUT).await?;
    ensure!(event["sender"]["id"] == "alice", "{event}");
    // The main namespace has not joined.
    let silent = client.wait_for("message:new", Duration::from_millis(500)).await;
    ensure!(matches!(silent, Err(ClientError::Silent(_))), "{silent:?}");

    match client.connect("/elsewhere", &json!({ "token": stack.token("bob") })).await {
        Err(ClientError::Refused { body, .. }) => ensure!(body["message"] == "Invalid namespace", "{body}"),
        other => bail!("{other:?}"),
    }
    let pong = client.ask("ping", &json!({})).await?;
    ensure!(pong["type"] == "pong", "{pong}");
    Ok(())
}
