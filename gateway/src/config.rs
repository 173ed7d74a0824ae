//! The gateway's settings, by flag and environment.

use std::{net::SocketAddr, num::NonZeroU32};

use clap::Parser;
use tidings_shared::config::CommonArgs;

/// Stateless node that holds WebSockets and appends to the room logs.
#[derive(Debug, Clone, Parser)]
#[command(name = "tidings-gateway", version)]
pub struct GatewayConfig {
    /// Where clients connect.
    #[arg(long, env = "TIDINGS_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Base URLs of persistence's internal listeners, comma separated; tried in order.
    #[arg(long, env = "TIDINGS_PERSISTENCE_URLS", value_delimiter = ',', required = true)]
    pub persistence_url: Vec<String>,
    /// Name of this node, told to clients; default: the listening address.
    #[arg(long, env = "TIDINGS_NODE")]
    pub node: Option<String>,
    /// Threads that hold connections; default: the number of cores.
    #[arg(long, env = "TIDINGS_WORKERS")]
    pub workers: Option<usize>,
    /// Time between WebSocket pings, milliseconds; a peer silent for two of them is closed.
    #[arg(long, env = "TIDINGS_HEARTBEAT_MS", default_value_t = 25_000, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub heartbeat_ms: u64,
    /// Messages that a user may send through this node, per second in the long run.
    #[arg(long, env = "TIDINGS_MESSAGES_PER_SECOND", default_value = "10")]
    pub messages_per_second: NonZeroU32,
    /// Messages that a user may send at once.
    #[arg(long, env = "TIDINGS_MESSAGES_BURST", default_value = "20")]
    pub messages_burst: NonZeroU32,
    /// Whether WebSockets are served at all; off, clients are told to poll.
    #[arg(long, env = "TIDINGS_WEBSOCKET", default_value_t = true, action = clap::ArgAction::Set)]
    pub websocket: bool,
    /// How long a stopping node waits for its connections to end, milliseconds.
    #[arg(long, env = "TIDINGS_DRAIN_MS", default_value_t = 10_000)]
    pub drain_ms: u64,
    #[command(flatten)]
    pub common: CommonArgs,
}
