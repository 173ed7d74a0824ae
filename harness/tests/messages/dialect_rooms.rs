//! Rooms on demand: with `create` in a dialect, the first join of a missing room creates it, and each later join makes
//! the user a member.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tidings_harness::Stack;
use tidings_harness::socket_io::{SocketIo, SocketIoKind, SocketIoPacket, SocketIoTransport};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
const DIALECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/dialects/rooms.toml");
/// The same events for clients that may not create rooms.
const CLOSED_DIALECT: &str = "ack_error = [{ success = false, code = \"$code\" }]\n[rooms]\nprefix = \"room-\"\n\
    [[client]]\nevent = \"join\"\ncommand = { type = \"room:join\", room = \"$1.room\" }\nack = [{ success = true }]\n";

async fn start_stack(dialect: &str, max_rooms: usize) -> Result<Stack> {
    let stack = Stack::builder().gateways(2).persistence(2).gateway_env("TIDINGS_SOCKET_IO", "on");
    let stack = stack.gateway_env("TIDINGS_SOCKET_IO_DIALECT", dialect);
    stack.persistence_env("TIDINGS_MAX_ROOMS_PER_USER", max_rooms).start().await
}

async fn connect(stack: &Stack, gateway: usize, user: &str) -> Result<SocketIo> {
    connect_with_token(stack, gateway, &stack.token(user)).await
}

async fn connect_with_token(stack: &Stack, gateway: usize, token: &str) -> Result<SocketIo> {
    let mut client = SocketIo::open(&stack.gateway(gateway).url(), SocketIoTransport::WebSocket).await?;
    client.connect("/", &json!({ "token": token })).await?;
    Ok(client)
}

/// Joins a room by its name. Returns the argument of the callback.
async fn join(client: &mut SocketIo, room: &str) -> Result<Value> {
    let arguments = json!(["join", { "room": room }]);
    client.send_packet(&SocketIoPacket::new(SocketIoKind::Event, "/", Some(1), arguments));
    Ok(client.next_packet_of(SocketIoKind::Ack, "/", WAIT_TIMEOUT).await?.take_argument(0))
}

#[tokio::test]
async fn simultaneous_first_joins_create_one_room_with_all_as_members() -> Result<()> {
    let stack = start_stack(DIALECT, 100).await?;
    let users: Vec<String> = (0..8).map(|number| format!("user{number}")).collect();
    let joins = users.iter().enumerate().map(async |(number, user)| {
        let mut client = connect(&stack, number % 2, user).await?;
        let joined = join(&mut client, "tea time").await?;
        ensure!(joined == json!({ "success": true, "room": "tea time" }), "{user}: {joined}");
        Ok(client)
    });
    let mut clients = try_join_all(joins).await?;
    let room = stack.http("user0").get("/rooms/room-tea:20time").await?.expect(200).body;
    ensure!(room["kind"] == "public" && room["name"] == "tea time", "{room}");
    let members = stack.http("user0").get("/rooms/room-tea:20time/members").await?.expect(200).body;
    let members = members["members"].as_array().cloned().unwrap_or_default();
    let owners = members.iter().filter(|member| member["role"] == "owner").count();
    ensure!(members.len() == users.len() && owners == 1, "{members:?}");
    // Everybody receives what one of them sends.
    stack.http("user3").send("room-tea:20time", "1", "hello").await?.expect(201);
    for client in &mut clients {
        let message = client.wait_for("message", WAIT_TIMEOUT).await?;
        ensure!(message["message"] == "hello", "{message}");
    }
    Ok(())
}

#[tokio::test]
async fn room_of_long_name_is_the_same_on_all_gateways() -> Result<()> {
    let stack = start_stack(DIALECT, 100).await?;
    let (mut ann, mut bob) = (connect(&stack, 0, "ann").await?, connect(&stack, 1, "bob").await?);
    let pair = "0190a5c0-0000-7000-8000-000000000000_0190a5c0-0000-7000-8000-000000000001";
    for name in [pair, "двенадцатьбу"] {
        for client in [&mut ann, &mut bob] {
            let joined = join(client, name).await?;
            ensure!(joined == json!({ "success": true, "room": name }), "{joined}");
        }
        let rooms = stack.http("bob").my_rooms("").await?.expect(200).body;
        let rooms = rooms["rooms"].as_array().cloned().unwrap_or_default();
        let room = rooms.iter().find(|room| room["name"] == name).cloned().unwrap_or_default();
        ensure!(room["members"] == 2, "{rooms:?}");
        stack.http("ann").send(room["room"].as_str().unwrap_or_default(), "1", name).await?.expect(201);
        let message = bob.wait_for("message", WAIT_TIMEOUT).await?;
        ensure!(message["message"] == name, "{message}");
    }
    Ok(())
}

#[tokio::test]
async fn private_room_stays_hidden_from_joins_that_create_rooms() -> Result<()> {
    let stack = start_stack(DIALECT, 100).await?;
    let admin = stack.http("eve").with_token(&stack.admin_token("eve"));
    admin.post("/rooms", json!({ "id": "room-secret", "kind": "private" })).await?.expect(201);
    let mut mallory = connect(&stack, 0, "mallory").await?;
    let refused = join(&mut mallory, "secret").await?;
    ensure!(refused["code"] == "not_found", "{refused}");
    let members = admin.get("/rooms/room-secret/members").await?.expect(200).body;
    ensure!(members["members"].as_array().is_some_and(|members| members.len() == 1), "{members}");
    Ok(())
}

#[tokio::test]
async fn removed_user_cannot_come_back_by_joins_that_create_rooms() -> Result<()> {
    let stack = start_stack(DIALECT, 100).await?;
    let (mut ann, mut bob) = (connect(&stack, 0, "ann").await?, connect(&stack, 1, "bob").await?);
    for client in [&mut ann, &mut bob] {
        ensure!(join(client, "tea").await?["success"] == true);
    }
    stack.http("ann").remove_member("room-tea", "bob").await?.expect(200);
    let refused = join(&mut bob, "tea").await?;
    ensure!(refused["code"] == "forbidden", "{refused}");
    stack.http("ann").put_member("room-tea", "bob", "member").await?.expect(200);
    ensure!(join(&mut bob, "tea").await?["success"] == true);
    Ok(())
}

#[tokio::test]
async fn joins_that_create_rooms_keep_the_limit_of_rooms() -> Result<()> {
    let stack = start_stack(DIALECT, 2).await?;
    let mut ann = connect(&stack, 0, "ann").await?;
    for room in ["a", "b"] {
        ensure!(join(&mut ann, room).await?["success"] == true, "{room}");
    }
    let refused = join(&mut ann, "c").await?;
    ensure!(refused["code"] == "too_large", "{refused}");
    // The rooms of which the user is a member can be joined again.
    ensure!(join(&mut ann, "a").await?["success"] == true, "the join of a known room");
    Ok(())
}

#[tokio::test]
async fn joins_that_create_rooms_keep_the_daily_limit() -> Result<()> {
    let stack = Stack::builder().persistence(2).gateway_env("TIDINGS_SOCKET_IO", "on");
    let stack = stack.gateway_env("TIDINGS_SOCKET_IO_DIALECT", DIALECT);
    let stack = stack.persistence_env("TIDINGS_ROOMS_PER_DAY", 1).start().await?;
    let mut ann = connect(&stack, 0, "ann").await?;
    ensure!(join(&mut ann, "a").await?["success"] == true);
    let refused = join(&mut ann, "b").await?;
    ensure!(refused["code"] == "rate_limited", "{refused}");
    // Somebody else may create the room, and then ann may join it.
    let mut bob = connect(&stack, 0, "bob").await?;
    for client in [&mut bob, &mut ann] {
        let joined = join(client, "b").await?;
        ensure!(joined["success"] == true, "{joined}");
    }
    // Back ends have no daily limits.
    let mut root = connect_with_token(&stack, 0, &stack.admin_token("root")).await?;
    for room in ["c", "d"] {
        let joined = join(&mut root, room).await?;
        ensure!(joined["success"] == true, "{joined}");
    }
    Ok(())
}

#[tokio::test]
async fn joins_create_no_room_unless_the_dialect_says_so() -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), CLOSED_DIALECT)?;
    let stack = start_stack(&file.path().display().to_string(), 100).await?;
    let mut ann = connect(&stack, 0, "ann").await?;
    let refused = join(&mut ann, "tea").await?;
    ensure!(refused["code"] == "not_found", "{refused}");
    stack.http("ann").get("/rooms/room-tea").await?.expect(404);
    // Nor does a client of `/v1/ws`, which has no dialect.
    let stack = start_stack(DIALECT, 100).await?;
    let refused = stack.connect("ann").await?.join("room-tea").await;
    ensure!(refused.is_err(), "{refused:?}");
    stack.http("ann").get("/rooms/room-tea").await?.expect(404);
    Ok(())
}
