//! Tidings itself: gateways and persistence of the release build, with their own Redis and PostgreSQL.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::json;
use tidings_harness::Stack;
use tidings_harness::redis::RedisTopology;
use tidings_harness::stack::StackBuilder;

use super::{RunningServer, ServerRequirements};
use crate::dialect::{Dialect, Overload, Step};
use crate::processes::Process;

/// Settings of the gateways: rate limits per user. They are high because in a benchmark a few connections send as much
/// as thousands of users.
const RAISED_LIMITS: &[(&str, u32)] = &[
    ("TIDINGS_MESSAGES_PER_SECOND", 1_000_000),
    ("TIDINGS_MESSAGES_BURST", 1_000_000),
    ("TIDINGS_TYPING_PER_SECOND", 1_000_000),
    ("TIDINGS_SIGNALS_PER_SECOND", 1_000_000),
    ("TIDINGS_MARKS_PER_SECOND", 1_000_000),
    ("TIDINGS_PRESENCE_PER_SECOND", 1_000_000),
    ("TIDINGS_READS_PER_SECOND", 1_000_000),
    ("TIDINGS_JOINS_PER_SECOND", 1_000_000),
    ("TIDINGS_COMMANDS_PER_SECOND", 1_000_000),
    ("TIDINGS_FRAMES_PER_SECOND", 1_000_000),
    ("TIDINGS_FRAMES_BURST", 1_000_000),
];

/// The name of the gateways in figures.
pub const GATEWAY: &str = "gateway";

/// PostgreSQL settings for every compared chat server that stores messages, so that all bear the same costs of
/// `pg_stat_statements`.
pub const POSTGRES_SETTINGS: &str = "shared_preload_libraries = 'pg_stat_statements'\n";

/// Starts one persistence node and the requested number of gateways, with rate limits that no user reaches.
pub async fn start(
    setting: &ServerRequirements,
    settings: &[(&str, String)],
) -> Result<(RunningServer, Arc<Stack>)> {
    start_with(Stack::builder(), RAISED_LIMITS, setting, settings).await
}

/// Like [`start`], but the gateways also serve Socket.IO, and the clients speak Socket.IO.
pub async fn start_with_socket_io(
    setting: &ServerRequirements,
    settings: &[(&str, String)],
) -> Result<(RunningServer, Arc<Stack>)> {
    let builder = Stack::builder().gateway_env("TIDINGS_SOCKET_IO", "on");
    let (running, stack) = start_with(builder, RAISED_LIMITS, setting, settings).await?;
    Ok((RunningServer { dialect: socket_io_dialect()?, ..running }, stack))
}

/// Like [`start`], but with this Redis or cluster.
pub async fn start_on(
    layout: RedisTopology,
    setting: &ServerRequirements,
    settings: &[(&str, String)],
) -> Result<(RunningServer, Arc<Stack>)> {
    start_with(Stack::builder().redis(layout), RAISED_LIMITS, setting, settings).await
}

/// Like [`start`], but also counts the requests of gateways to persistence.
pub async fn start_with_request_counts(setting: &ServerRequirements) -> Result<(RunningServer, Arc<Stack>)> {
    start_with(Stack::builder().count_internal_requests(), RAISED_LIMITS, setting, &[]).await
}

/// Like [`start`], but with the gateways' default rate limits.
pub async fn start_with_default_limits(setting: &ServerRequirements) -> Result<(RunningServer, Arc<Stack>)> {
    start_with(Stack::builder(), &[], setting, &[]).await
}

async fn start_with(
    builder: StackBuilder,
    limits: &[(&str, u32)],
    setting: &ServerRequirements,
    settings: &[(&str, String)],
) -> Result<(RunningServer, Arc<Stack>)> {
    let mut builder = builder
        .gateways(setting.nodes.max(1))
        .durable_postgres(POSTGRES_SETTINGS)
        .gateway_env("TIDINGS_WORKERS", 1)
        .env("TIDINGS_MAX_BACKLOG_RECORDS", 100_000)
        .env("TIDINGS_LOG", "warn");
    for (name, value) in limits {
        builder = builder.gateway_env(name, value);
    }
    for (name, value) in settings {
        builder = builder.env(name, value);
    }
    let stack = Arc::new(builder.start().await?);
    let mut processes = Vec::new();
    let mut add = |name: &str, pid: Option<u32>| -> Result<()> {
        processes
            .push(Process { name: name.to_owned(), pid: pid.with_context(|| format!("{name} is gone"))? });
        Ok(())
    };
    for gateway in stack.gateways() {
        add(GATEWAY, gateway.pid())?;
    }
    for node in stack.persistence_nodes() {
        add("persistence", node.pid())?;
    }
    for redis in stack.shards().nodes() {
        add("redis", redis.pid())?;
    }
    add("postgres", stack.database().server().pid())?;
    let nodes = stack.gateways().iter().map(|node| SocketAddr::from(([127, 0, 0, 1], node.ports().public)));
    let running = RunningServer {
        nodes: nodes.collect(),
        dialect: dialect(),
        processes,
        jwt_secret: stack.jwt_secret().to_owned(),
        guards: vec![Box::new(stack.clone())],
    };
    Ok((running, stack))
}

/// The dialect of docs/clients/SOCKET_IO.md over WebSocket.
pub fn socket_io_dialect() -> Result<Dialect> {
    Dialect::parse(include_str!("../../peers/tidings-socketio.json"))
}

/// The protocol of docs/PROTOCOL.md as a dialect.
#[must_use]
pub fn dialect() -> Dialect {
    let frame = |value: serde_json::Value| value.to_string();
    Dialect {
        name: "Tidings".into(),
        path: "/v1/ws".into(),
        headers: vec![("Authorization".into(), "Bearer {token}".into())],
        lines: false,
        hello: vec![Step { send: None, until: r#"{"type":"connected""#.into() }],
        join: Some(Step {
            send: Some(frame(json!({ "type": "room:join", "room": "{room}", "ref": "join" }))),
            until: r#"{"type":"room:caught_up""#.into(),
        }),
        // Written by hand, because `json!` does not keep the order in which clients send the fields.
        send: r#"{"type":"message:send","ref":"{ref}","room":"{room}","client_id":"{client_id}","attempt":1,"content":"{text}"}"#
            .into(),
        delivery: r#"{"type":"message:new""#.into(),
        ack: Some(r#"{"type":"ack","ref":""#.into()),
        errors: vec![r#"{"type":"error""#.into()],
        overload: Some(Overload { sign: r#""overloaded""#.into(), before_ref: r#""ref":""#.into() }),
        ping: None,
        typing: Some(frame(json!({ "type": "typing:start", "room": "{room}" }))),
        read: Some(r#"{"type":"message:read","room":"{room}","seq":{seq}}"#.into()),
        presence: Some(frame(json!({ "type": "presence:set", "status": "{status}" }))),
        seq: Some(r#""seq":"#.into()),
    }
}
