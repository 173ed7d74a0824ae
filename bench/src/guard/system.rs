//! A system of which one node is counted: who uses it, and what is the same for all counts.
//! Touches its own processes only.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tidings_harness::sink::Sink;
use tidings_harness::{Client, Service, Stack, clock};

use super::Manner;
use super::callgrind::Counts;

/// What a person does at once must not be held back, and nobody may be taken for dead because counting is slow.
const GATEWAY_SETTINGS: &[(&str, &str)] = &[
    ("TIDINGS_WORKERS", "1"),
    ("TIDINGS_HEARTBEAT_MS", "600000"),
    ("TIDINGS_MESSAGES_PER_SECOND", "1000000"),
    ("TIDINGS_MESSAGES_BURST", "1000000"),
    ("TIDINGS_DEFLATE", "false"),
];
/// Long enough for the words of one message, whatever its number.
const CONTENT: &str = "Is the tea still warm, or shall I put the kettle on again before you come?";
/// What was begun before counting, such as telling who came, has ended by then.
const SETTLED_AFTER: Duration = Duration::from_millis(1500);
/// An answer of a service that runs tens of times slower than it would.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A system, one node of it under callgrind.
pub struct System {
    /// All of it. Of gateways the first is counted, if any is.
    pub stack: Stack,
    counts: Counts,
    counted: Service,
    _collector: Option<Sink>,
}

impl System {
    /// Starts one with so many gateways, of which the first, or the persistence node, is counted.
    ///
    /// # Errors
    /// When something does not come up.
    pub async fn start(counted: Service, gateways: usize, manner: &Manner) -> Result<Self> {
        let counts = Counts::new(&manner.folder);
        let mut builder = Stack::builder()
            .gateways(gateways)
            .under(counted, 0, counts.launcher())
            .env("TIDINGS_LOG", "warn")
            .env("TIDINGS_MAX_BACKLOG_RECORDS", 100_000);
        for (name, value) in GATEWAY_SETTINGS {
            builder = builder.gateway_env(name, value);
        }
        let mut collector = None;
        if let Some(ratio) = manner.trace_ratio {
            let sink = Sink::start().await?;
            builder = builder.env("TIDINGS_OTLP_ENDPOINT", sink.endpoint()).env("TIDINGS_TRACE_RATIO", ratio);
            collector = Some(sink);
        }
        Ok(System { stack: builder.start().await?, counts, counted, _collector: collector })
    }

    /// Begins to count, once nothing is under way any more.
    ///
    /// # Errors
    /// When the node does not take the order.
    pub async fn begin(&self) -> Result<()> {
        tokio::time::sleep(SETTLED_AFTER).await;
        self.counts.zero(self.pid()?).await
    }

    /// Instructions since [`System::begin`], by how often something was done.
    ///
    /// # Errors
    /// When the node does not tell.
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

    /// A new room of these members and of whoever is named first.
    ///
    /// # Errors
    /// When it was not made.
    pub async fn room(&self, owner: &str, members: &[String]) -> Result<String> {
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        self.stack.http(owner).new_room(&members).await
    }

    /// Somebody on a gateway, joined to a room and caught up.
    ///
    /// # Errors
    /// When the gateway refuses.
    pub async fn join(&self, gateway: usize, user: &str, room: &str) -> Result<Client> {
        let client = self.stack.connect_at(gateway, user).await?;
        client.join_and_catch_up(room).await?;
        Ok(client)
    }
}

/// A message nobody has sent before.
#[must_use]
pub fn message(room: &str) -> Value {
    json!({ "room": room, "client_id": clock::client_id(), "attempt": 1, "content": CONTENT })
}

/// Waits until a message was delivered to this client.
///
/// # Errors
/// When none is.
pub async fn delivered(client: &Client) -> Result<()> {
    client.wait_for("message:new", PATIENCE).await?;
    Ok(())
}
