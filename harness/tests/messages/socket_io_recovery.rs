//! Connection state recovery of Socket.IO: what the packets contain, with and without a dialect, and who is not
//! recovered.

use std::time::Duration;

use crate::epochs::send_until_stored;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::socket_io::{SocketIo, SocketIoKind, SocketIoPacket, SocketIoTransport};
use tidings_harness::{ClientError, Stack};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
const DIALECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/dialects/rooms.toml");

async fn start_stack(recovery: &str, dialect: Option<&str>) -> Result<Stack> {
    let mut stack = Stack::builder().gateways(2).gateway_env("TIDINGS_SOCKET_IO", "on");
    stack = stack.gateway_env("TIDINGS_SOCKET_IO_RECOVERY", recovery);
    if let Some(dialect) = dialect {
        stack = stack.gateway_env("TIDINGS_SOCKET_IO_DIALECT", dialect);
    }
    stack.start().await
}

/// A client with what a stock client keeps for recovery.
struct TrackedClient {
    client: SocketIo,
    pid: Value,
    offset: Value,
}

impl TrackedClient {
    async fn connect(stack: &Stack, gateway: usize, auth: &Value) -> Result<TrackedClient> {
        let url = stack.gateway(gateway).url();
        let mut client = SocketIo::open(&url, SocketIoTransport::WebSocket).await?;
        let answer = client.connect("/", auth).await?;
        Ok(TrackedClient { client, pid: answer["pid"].clone(), offset: Value::Null })
    }

    /// Connects again as this user. The pid of the answer is the same if the connection was recovered.
    async fn connect_again(&self, stack: &Stack, gateway: usize, user: &str) -> Result<TrackedClient> {
        let auth = json!({ "token": stack.token(user), "pid": self.pid, "offset": self.offset });
        TrackedClient::connect(stack, gateway, &auth).await
    }

    /// The next event with this name. Keeps the offset, as stock clients do.
    async fn next(&mut self, event: &str) -> Result<SocketIoPacket> {
        loop {
            let packet = self.client.next_packet_of(SocketIoKind::Event, "/", WAIT_TIMEOUT).await?;
            let last = packet.data.as_array().and_then(|arguments| arguments.last());
            self.offset = last.context("no arguments")?.clone();
            ensure!(self.offset.is_string(), "no offset: {packet}");
            if packet.event() == event {
                return Ok(packet);
            }
        }
    }

    fn offset(&self) -> &str {
        self.offset.as_str().unwrap_or_default()
    }
}

fn auth(stack: &Stack, user: &str) -> Value {
    json!({ "token": stack.token(user) })
}

#[tokio::test]
async fn events_have_no_offset_unless_recovery_is_on() -> Result<()> {
    let stack = start_stack("off", None).await?;
    let mut bob = TrackedClient::connect(&stack, 0, &auth(&stack, "bob")).await?;
    ensure!(bob.pid.is_null(), "{}", bob.pid);
    let connected = bob.client.next_packet_of(SocketIoKind::Event, "/", WAIT_TIMEOUT).await?;
    ensure!(connected.data.as_array().is_some_and(|arguments| arguments.len() == 2), "{connected}");
    Ok(())
}

#[tokio::test]
async fn join_is_in_the_offset_before_its_ack() -> Result<()> {
    let stack = start_stack("on", None).await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let mut bob = TrackedClient::connect(&stack, 0, &auth(&stack, "bob")).await?;
    bob.next("connected").await?;
    ensure!(!bob.offset().ends_with('!'), "{}", bob.offset);
    let join = json!(["room:join", { "room": room }]);
    bob.client.send_packet(&SocketIoPacket::new(SocketIoKind::Event, "/", Some(7), join));
    let mut events = Vec::new();
    let ack = loop {
        let packet = bob.client.next_packet(WAIT_TIMEOUT).await?;
        if packet.kind == SocketIoKind::Ack {
            break packet;
        }
        events.push(packet);
    };
    ensure!(ack.data[0]["type"] == "room:joined", "{ack}");
    let recovery = events.iter().find(|event| event.event() == "recovery").context("no offset")?;
    ensure!(recovery.data[1].as_str().is_some_and(|offset| offset.ends_with('!')), "{recovery}");
    // A client that is cut off here begins anew, because it does not have the position of the room.
    bob.offset = recovery.data[1].clone();
    let again = bob.connect_again(&stack, 1, "bob").await?;
    ensure!(again.pid.is_string() && again.pid != bob.pid, "{}", again.pid);
    bob.next("room:caught_up").await?;
    ensure!(bob.offset().contains(&format!(";{room}=0@")), "{}", bob.offset);
    let again = bob.connect_again(&stack, 1, "bob").await?;
    ensure!(again.pid == bob.pid, "{}", again.pid);
    Ok(())
}

#[tokio::test]
async fn rooms_of_auth_are_joined_and_added_to_recovered_rooms() -> Result<()> {
    let stack = start_stack("on", None).await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let mut request = json!({ "token": stack.token("bob"), "rooms": "mine" });
    let mut bob = TrackedClient::connect(&stack, 0, &request).await?;
    bob.next("room:caught_up").await?;
    let alice = stack.connect("alice").await?;
    alice.send(&room, "1").await?;
    bob.next("message:new").await?;
    // The room was in the pid, so the offset has its index.
    ensure!(bob.offset().ends_with(";#0=1"), "{} of {}", bob.offset, bob.pid);
    drop(bob.client);
    alice.send(&room, "2").await?;
    let later = stack.http("alice").new_room(&["bob"]).await?;
    (request["pid"], request["offset"]) = (bob.pid.clone(), bob.offset.clone());
    let mut again = TrackedClient::connect(&stack, 1, &request).await?;
    ensure!(again.pid == bob.pid, "{}", again.pid);
    let joined = again.next("room:joined").await?;
    let rooms = joined.data[1]["rooms"].as_array().context("no rooms")?;
    ensure!(rooms.len() == 2 && rooms.iter().any(|joined| joined["room"] == *later), "{joined}");
    let missed = again.next("message:new").await?;
    ensure!(missed.data[1]["content"] == "2", "{missed}");
    Ok(())
}

#[tokio::test]
async fn only_rooms_of_the_user_are_recovered() -> Result<()> {
    let stack = start_stack("on", None).await?;
    let room = stack.http("alice").new_room(&["bob", "carol"]).await?;
    let mut bob = TrackedClient::connect(&stack, 0, &auth(&stack, "bob")).await?;
    bob.client.emit("room:join", &json!({ "room": room }));
    bob.next("room:caught_up").await?;
    let recovered = bob.connect_again(&stack, 1, "bob").await?;
    ensure!(recovered.pid == bob.pid, "{}", recovered.pid);
    let foreign = stack.http("alice").new_room(&[]).await?;
    let forged = TrackedClient {
        client: SocketIo::open(&stack.gateway(0).url(), SocketIoTransport::WebSocket).await?,
        pid: json!("~tag~bob"),
        offset: json!(format!("tag;{foreign}={}", bob.offset().rsplit('=').next().unwrap_or_default())),
    };
    let refused = forged.connect_again(&stack, 1, "bob").await?;
    ensure!(refused.pid.is_string() && refused.pid != forged.pid, "{}", refused.pid);
    let carol = bob.connect_again(&stack, 1, "carol").await?;
    ensure!(carol.pid.is_string() && carol.pid != bob.pid, "{}", carol.pid);
    stack.http("alice").remove_member(&room, "bob").await?.expect(200);
    let mut removed = bob.connect_again(&stack, 1, "bob").await?;
    ensure!(removed.pid.is_string() && removed.pid != bob.pid, "{}", removed.pid);
    stack.connect("alice").await?.send(&room, "behind his back").await?;
    let silent = removed.client.wait_for("message:new", Duration::from_millis(500)).await;
    ensure!(matches!(silent, Err(ClientError::Silent(_))), "{silent:?}");
    Ok(())
}

#[tokio::test]
async fn recovered_room_keeps_its_epoch_until_its_next_event() -> Result<()> {
    let stack = start_stack("on", None).await?;
    let room = stack.http("alice").new_room(&["bob"]).await?;
    let alice = stack.connect_at(0, "alice").await?;
    let mut bob = TrackedClient::connect(&stack, 0, &auth(&stack, "bob")).await?;
    bob.client.emit("room:join", &json!({ "room": room }));
    bob.next("room:caught_up").await?;
    let first = send_until_stored(&alice, &room, "1").await?;
    bob.next("message:new").await?;
    let before = bob.offset.clone();
    stack.shards().restart_empty().await?;
    let second = send_until_stored(&alice, &room, "2").await?;
    ensure!(first.epoch != second.epoch, "{first:?}, then {second:?}");
    // This message shows that the gateway is connected to Redis again.
    bob.next("message:new").await?;
    bob.offset = before.clone();
    let mut again = bob.connect_again(&stack, 0, "bob").await?;
    ensure!(again.pid == bob.pid, "{}", again.pid);
    // A client that is cut off here, and that has events which the new epoch does not have, must get a gap.
    again.next("room:joined").await?;
    ensure!(again.offset == before, "{} after {before}", again.offset);
    again.next("message:new").await?;
    let position = format!(";{room}={}@{}", second.seq, second.epoch);
    ensure!(again.offset().ends_with(&position), "{} and not {position}", again.offset);
    Ok(())
}

#[tokio::test]
async fn client_of_a_dialect_is_recovered() -> Result<()> {
    let stack = start_stack("on", Some(DIALECT)).await?;
    let admin = stack.http("ann").with_token(&stack.admin_token("ann"));
    let room = json!({ "id": "room-tea", "kind": "private", "members": [{ "user": "ben" }] });
    admin.post("/rooms", room).await?.expect(201);
    let mut ben = TrackedClient::connect(&stack, 0, &auth(&stack, "ben")).await?;
    ben.next("status").await?;
    ben.client.emit("join", &json!({ "room": "tea" }));
    ben.next("joined").await?;
    // The dialect has no event for `room:caught_up`.
    ben.next("recovery").await?;
    let ann = stack.connect("ann").await?;
    ann.send("room-tea", "1").await?;
    let message = ben.next("message").await?;
    ensure!(message.data[1]["message"] == "1" && ben.offset().contains(";room-tea=1@"), "{message}");
    drop(ben.client);
    ann.send("room-tea", "2").await?;
    let again = json!({ "token": stack.token("ben"), "pid": ben.pid, "offset": ben.offset });
    let mut again = TrackedClient::connect(&stack, 1, &again).await?;
    ensure!(again.pid == ben.pid, "{}", again.pid);
    let missed = again.next("message").await?;
    ensure!(missed.data[1]["message"] == "2" && missed.data[1]["room"] == "tea", "{missed}");
    Ok(())
}
