//! Settings and limits of the transport, with units and the reasons for the values.

use std::{net::TcpListener, num::NonZeroUsize, sync::Arc, thread, time::Duration};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{
    bucket::{FrameLimits, FrameRate},
    counters::Counters,
    decoder::DecoderRules,
    session_id::SessionIdKeys,
    wheel::to_ticks,
};

/// The settings of a server. [`TransportConfig::new`] sets the defaults.
pub struct TransportConfig {
    /// The listener, which is already bound, so that port 0 works.
    pub listener: TcpListener,
    /// Maximum number of connections that the kernel holds until they are accepted. Default: 4096.
    pub backlog: i32,
    /// Number of threads, each with its own connections. Default: the number of cores.
    pub workers: usize,
    /// Maximum number of WebSockets per worker. Further handshakes are refused with 503. Default: 1,000,000.
    pub max_connections_per_worker: usize,
    /// Maximum number of polling sessions of Engine.IO per worker, which also count as connections. The limit is lower
    /// than that of connections, because a client can open any number of them over one socket and without a token.
    /// Further handshakes are refused with 503. Default: 20,000.
    pub max_polling_sessions_per_worker: usize,
    /// The path of the WebSocket. The default `None` accepts every path.
    pub websocket_path: Option<String>,
    /// Subprotocol that the answer names if the peer offers it. Default: `tidings.v1`.
    pub subprotocol: Option<String>,
    /// Maximum size of a message with all its fragments, in bytes. A larger message closes the connection with 1009.
    /// Default: 64 KiB.
    pub max_message_bytes: usize,
    /// Whether binary messages are accepted. If not, a binary message closes the connection with 1003. Default: false.
    pub accept_binary: bool,
    /// Whether permessage-deflate is negotiated when a peer offers it. Default: true.
    pub deflate: bool,
    /// Limit on the frames of a connection, control frames and fragments included; `None` means no limit. Default: 100
    /// a second, 200 at once, close with 4429 after 30 s above the limit.
    pub frame_rate: Option<FrameRate>,
    /// Maximum number of bytes queued for one connection. At more, the connection is closed with 4413. Shared frames
    /// may use only three quarters of this limit, so that space for the connection's own frames remains. Default: 256
    /// KiB.
    pub outbox_bytes: usize,
    /// A connection that refused a shared frame is closed with 4413 when nothing was written to its socket for this
    /// time. Default: 10 s, so that a short loss of a mobile network closes nothing.
    pub stall_timeout: Duration,
    /// When fewer bytes than this are queued, `on_drained` of the session is called. Default: 64 KiB.
    pub low_water_bytes: usize,
    /// Time between pings. A connection without any received bytes for two intervals is closed with 4408. Default: 25
    /// s, because common proxies cut idle connections after 30 to 60 s.
    pub heartbeat: Duration,
    /// Maximum time for a closing connection to write its frames and get the peer's close frame. Default: 5 s.
    pub close_timeout: Duration,
    /// Serves Engine.IO clients, also over HTTP long polling. Default: `None`.
    pub engine: Option<EngineConfig>,
    /// When cancelled, plain HTTP connections close after their next answer, and clients go to another node.
    pub shutting_down: CancellationToken,
    /// The counters of the server. The exporter of metrics keeps a clone of this `Arc`.
    pub counters: Arc<Counters>,
}

impl TransportConfig {
    pub fn new(listener: TcpListener) -> TransportConfig {
        TransportConfig {
            listener,
            backlog: 4096,
            workers: thread::available_parallelism().map_or(1, NonZeroUsize::get),
            max_connections_per_worker: 1_000_000,
            max_polling_sessions_per_worker: 20_000,
            websocket_path: None,
            subprotocol: Some("tidings.v1".to_owned()),
            max_message_bytes: 64 * 1024,
            accept_binary: false,
            deflate: true,
            frame_rate: Some(FrameRate::default()),
            outbox_bytes: 256 * 1024,
            stall_timeout: Duration::from_secs(10),
            low_water_bytes: 64 * 1024,
            heartbeat: Duration::from_secs(25),
            close_timeout: Duration::from_secs(5),
            engine: None,
            shutting_down: CancellationToken::new(),
            counters: Arc::default(),
        }
    }

    /// The settings for the workers. Times that the timer wheel measures are converted to ticks.
    pub(crate) fn worker_limits(&self) -> WorkerLimits {
        let tick = self.tick();
        let heartbeat_ticks = to_ticks(self.heartbeat, tick);
        let heartbeat = Heartbeat { ping_ticks: heartbeat_ticks, silent_ticks: 2 * heartbeat_ticks };
        let engine_heartbeat = self.engine.as_ref().map_or(heartbeat, |engine| Heartbeat {
            ping_ticks: to_ticks(engine.ping_interval, tick),
            // The current tick is partly over, so one more tick is added and no session is closed early.
            silent_ticks: to_ticks(engine.silence(), tick) + 1,
        });
        WorkerLimits {
            rules: DecoderRules {
                max_message_bytes: self.max_message_bytes,
                accept_binary: self.accept_binary,
                // Each connection sets this field by the result of its handshake.
                deflate: false,
            },
            frames: self.frame_rate.map(|rate| rate.to_limits(tick)),
            max_connections: self.max_connections_per_worker,
            max_polling_sessions: self.max_polling_sessions_per_worker,
            outbox_bytes: self.outbox_bytes,
            shared_bytes: self.outbox_bytes / 4 * 3,
            stall_ticks: to_ticks(self.stall_timeout, tick),
            low_water_bytes: self.low_water_bytes,
            tick,
            heartbeat,
            engine_heartbeat,
            close_ticks: to_ticks(self.close_timeout, tick),
        }
    }

    /// The time between two ticks of the timer wheel.
    fn tick(&self) -> Duration {
        // 50 ticks per heartbeat spread the pings well. A tick is at least 100 ms, so that an idle worker sleeps, and
        // at most 1 s, so that deadlines stay exact with a long heartbeat.
        let tick = (self.heartbeat / 50).clamp(Duration::from_millis(100), Duration::from_secs(1));
        let Some(engine) = &self.engine else { return tick };
        // Only conformance suites set times below 2 s. For those, the tick is shorter.
        let engine_tick = engine.ping_interval.min(engine.ping_timeout) / 20;
        tick.min(engine_tick.clamp(Duration::from_millis(10), Duration::from_secs(1)))
    }
}

/// The settings of Engine.IO, version 4.
#[derive(Clone)]
pub struct EngineConfig {
    /// The path of the handshakes and requests, with a slash at its end. The path without that slash is served too.
    pub path: String,
    /// Time between pings of the server.
    pub ping_interval: Duration,
    /// A session without any packet for `ping_interval` and `ping_timeout` together is closed. An upgrade must also
    /// end within this time.
    pub ping_timeout: Duration,
    /// Maximum size of the body of a POST, in bytes. The answer of a poll is larger only if one packet is larger.
    pub max_payload: usize,
    /// The keys that sign session ids. Without a signature, a client could guess the id of another client's session.
    pub keys: SessionIdKeys,
    /// Finds other nodes. Requests of their sessions are forwarded to them. All nodes must have the same `keys`. With
    /// `None`, sessions of other nodes are unknown.
    pub nodes: Option<Arc<dyn NodeDirectory>>,
}

/// Finds the nodes of an installation.
pub trait NodeDirectory: Send + Sync {
    /// The address of the listener, as `HOST:PORT`, of the process with this
    /// [`engine_instance`](super::Server::engine_instance); `None` if it is unknown.
    fn address(&self, instance: u64) -> BoxFuture<'_, Option<String>>;
}

impl EngineConfig {
    /// The time without a packet after which a session is closed.
    pub(crate) fn silence(&self) -> Duration {
        self.ping_interval + self.ping_timeout
    }
}

/// The settings that a worker needs while it serves. Times in ticks are multiples of `tick`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WorkerLimits {
    pub rules: DecoderRules,
    pub frames: Option<FrameLimits>,
    pub max_connections: usize,
    pub max_polling_sessions: usize,
    pub outbox_bytes: usize,
    /// Maximum number of bytes queued for one connection after a shared frame was added.
    pub shared_bytes: usize,
    pub stall_ticks: u32,
    pub low_water_bytes: usize,
    pub tick: Duration,
    pub heartbeat: Heartbeat,
    /// The heartbeat of Engine.IO connections.
    pub engine_heartbeat: Heartbeat,
    pub close_ticks: u32,
}

/// The times of a connection's heartbeat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heartbeat {
    /// Ticks between two pings.
    pub ping_ticks: u32,
    /// Ticks without received bytes after which the connection is closed.
    pub silent_ticks: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(heartbeat_ms: u64, engine_ms: Option<(u64, u64)>) -> Duration {
        let mut config = TransportConfig::new(TcpListener::bind("127.0.0.1:0").unwrap());
        config.heartbeat = Duration::from_millis(heartbeat_ms);
        config.engine = engine_ms.map(|(interval_ms, timeout_ms)| EngineConfig {
            path: "/socket.io/".to_owned(),
            ping_interval: Duration::from_millis(interval_ms),
            ping_timeout: Duration::from_millis(timeout_ms),
            max_payload: 1_000_000,
            keys: SessionIdKeys::new(&[[0; 32]]),
            nodes: None,
        });
        config.worker_limits().tick
    }

    #[test]
    fn tick_is_shorter_only_for_short_engine_times() {
        for heartbeat_ms in [2_000, 25_000, 60_000] {
            let equal_times = Some((heartbeat_ms, heartbeat_ms));
            assert_eq!(tick(heartbeat_ms, equal_times), tick(heartbeat_ms, None), "{heartbeat_ms}");
        }
        assert_eq!(tick(25_000, Some((300, 200))), Duration::from_millis(10));
    }
}
