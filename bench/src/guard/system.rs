//! A system with one counted node: its clients, and the settings that all counts share.
//! Touches its own processes only.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tidings_harness::sink::Sink;
use tidings_harness::{Client, Service, Stack, clock};

use super::CountOptions;
use super::callgrind::CallgrindOutput;

/// Rate limits must not delay a user, and slow counting must not end connections by missing heartbeats.
const GATEWAY_SETTINGS: &[(&str, &str)] = &[
    ("TIDINGS_WORKERS", "1"),
    ("TIDINGS_HEARTBEAT_MS", "600000"),
    ("TIDINGS_MESSAGES_PER_SECOND", "1000000"),
    ("TIDINGS_MESSAGES_BURST", "1000000"),
    ("TIDINGS_DEFLATE", "false"),
];
/// The text of messages.
const CONTENT: &str = "Is the tea still warm, or shall I put the kettle on again before you come?";
/// How long to wait before counting, so that background work such as presence has ended.
const SETTLED_AFTER: Duration = Duration::from_millis(1500);
/// Timeout for an answer of a service that runs tens of times slower than usual.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A system with one node under callgrind.
pub struct System {
    /// The whole system. If a gateway is counted, it is the first one.
    pub stack: Stack,
    counts: CallgrindOutput,
    counted: Service,
    _collector: Option<Sink>,
}

impl System {
    /// Starts a system with this many gateways; the first gateway or the persistence node is counted.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(counted: Service, gateways: usize, options: &CountOptions) -> Result<Self> {
        let counts = CallgrindOutput::new(&options.folder);
        let mut builder = Stack::builder()
            .gateways(gateways)
            .under(counted, 0, counts.launcher())
            .env("TIDINGS_LOG", "warn")
            .env("TIDINGS_MAX_BACKLOG_RECORDS", 100_000);
        for (name, value) in GATEWAY_SETTINGS {
            builder = builder.gateway_env(name, value);
        }
        let mut collector = None;
        if let Some(ratio) = options.trace_ratio {
            let sink = Sink::start().await?;
            builder = builder.env("TIDINGS_OTLP_ENDPOINT", sink.endpoint()).env("TIDINGS_TRACE_RATIO", ratio);
            collector = Some(sink);
        }
        Ok(System { stack: builder.start().await?, counts, counted, _collector: collector })
    }

    /// Waits until background work has ended, and begins to count.
    ///
    /// # Errors
    /// When the node does not handle the command.
    pub async fn begin(&self) -> Result<()> {
        tokio::time::sleep(SETTLED_AFTER).await;
        self.counts.zero(self.pid()?).await
    }

    /// Instructions since [`System::begin`] per operation; `times` is the number of operations.
    ///
    /// # Errors
    /// When the counts cannot be read.
    pub async fn end(&self, times: usize) -> Result<u64> {
        Ok(self.counts.read(self.pid()?).await? / times as u64)
    }

    fn pid(&self) -> Result<u32> {
        let node = match self.counted {
            Service::Gateway => self.stack.gateway(0),
            Service::Persistence => self.stack.persistence(0),
        };
        node.pid().context("the node that is counted has ended")
    }

    /// Creates a room with this owner and these members.
    ///
    /// # Errors
    /// When it was not created.
    pub async fn room(&self, owner: &str, members: &[String]) -> Result<String> {
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        self.stack.http(owner).new_room(&members).await
    }

    /// Connects a user to a gateway, joins a room and waits until it has caught up.
    ///
    /// # Errors
    /// When the gateway refuses.
    pub async fn join(&self, gateway: usize, user: &str, room: &str) -> Result<Client> {
        let client = self.stack.connect_at(gateway, user).await?;
        client.join_and_catch_up(room).await?;
        Ok(client)
    }
}

/// A new message.
#[must_use]
pub fn message(room: &str) -> Value {
    json!({ "room": room, "client_id": clock::client_id(), "attempt": 1, "content": CONTENT })
}

/// Waits until a message was delivered to this client.
///
/// # Errors
/// When none is delivered.
pub async fn delivered(client: &Client) -> Result<()> {
    client.wait_for("message:new", PATIENCE).await?;
    Ok(())
}
