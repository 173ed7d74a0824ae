//! A system with one counted node, its clients, and the settings that all counts share.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tidings_harness::sink::Sink;
use tidings_harness::{Client, Service, Stack, clock};

use super::CountOptions;
use super::callgrind::CallgrindControl;

/// The settings of gateways: high rate limits, so that no send is refused, and long heartbeat intervals, because a node
/// under callgrind is too slow for the default.
const GATEWAY_SETTINGS: &[(&str, &str)] = &[
    ("TIDINGS_WORKERS", "1"),
    ("TIDINGS_HEARTBEAT_MS", "600000"),
    ("TIDINGS_MESSAGES_PER_SECOND", "1000000"),
    ("TIDINGS_MESSAGES_BURST", "1000000"),
    ("TIDINGS_DEFLATE", "false"),
];
/// The content of every message.
const CONTENT: &str = "Is the tea still warm, or shall I put the kettle on again before you come?";
/// Wait before counting begins. Background work such as presence ends in this time.
const SETTLE_TIME: Duration = Duration::from_millis(1500);
/// Timeout for an answer of a service that runs tens of times slower than usual.
pub(super) const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// A system with one node under callgrind.
pub struct System {
    /// The whole system. If a gateway is counted, it is the first one.
    pub stack: Stack,
    counts: CallgrindControl,
    counted: Service,
    _collector: Option<Sink>,
}

impl System {
    /// Starts a system with this many gateways; the first gateway or the persistence node is counted.
    pub async fn start(counted: Service, gateways: usize, options: &CountOptions) -> Result<Self> {
        let counts = CallgrindControl::new(&options.folder);
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

    /// Waits until background work has ended, then resets the counts.
    ///
    /// # Errors
    /// When the node does not handle the command.
    pub async fn begin_counting(&self) -> Result<()> {
        tokio::time::sleep(SETTLE_TIME).await;
        self.counts.reset(self.pid()?).await
    }

    /// Instructions per operation since [`System::begin_counting`]. `operations` is the number of operations.
    pub async fn end_counting(&self, operations: usize) -> Result<u64> {
        Ok(self.counts.read_and_reset(self.pid()?).await? / operations as u64)
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
    pub async fn create_room(&self, owner: &str, members: &[String]) -> Result<String> {
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        self.stack.http(owner).new_room(&members).await
    }

    /// Connects a user to a gateway, joins a room and waits until it has caught up.
    ///
    /// # Errors
    /// When the gateway refuses.
    pub async fn connect_and_join(&self, gateway: usize, user: &str, room: &str) -> Result<Client> {
        let client = self.stack.connect_at(gateway, user).await?;
        client.join_and_catch_up(room).await?;
        Ok(client)
    }
}

/// A `message:send` frame with a new client id, without `type` and `ref`.
#[must_use]
pub fn new_message_frame(room: &str) -> Value {
    json!({ "room": room, "client_id": clock::client_id(), "attempt": 1, "content": CONTENT })
}

/// Waits until a message is delivered to this client.
///
/// # Errors
/// When none is delivered.
pub async fn wait_for_delivery(client: &Client) -> Result<()> {
    client.wait_for("message:new", WAIT_TIMEOUT).await?;
    Ok(())
}
