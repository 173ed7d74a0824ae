//! Settings and limits of the transport, with units and the reasons for the values.

use std::{net::TcpListener, num::NonZeroUsize, sync::Arc, thread, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    bucket::{FrameLimits, FrameRate},
    counters::Counters,
    decoder::Rules,
    wheel::ticks,
};

/// The settings of a server. [`TransportConfig::new`] sets the defaults, which are named at each field.
pub struct TransportConfig {
    /// The listener; already bound, so that port 0 works.
    pub listener: TcpListener,
    /// Connections that the kernel may hold before they are accepted (4096): enough for a reconnect storm.
    pub backlog: i32,
    /// Threads, each with its own connections (the number of cores).
    pub workers: usize,
    /// WebSockets per worker above which the handshake is refused with 503 (1,000,000).
    pub max_connections_per_worker: usize,
    /// The path of the WebSocket (`None`: every path).
    pub websocket_path: Option<String>,
    /// Subprotocol that the answer names if the peer offers it (`tidings.v1`).
    pub subprotocol: Option<String>,
    /// Maximum size of a message with all its fragments, in bytes (64 KiB): above it, close 1009.
    pub max_message_bytes: usize,
    /// Whether binary messages are accepted (no: close 1003).
    pub accept_binary: bool,
    /// Whether permessage-deflate is negotiated when a peer offers it (yes).
    pub deflate: bool,
    /// Limit on the frames of a connection, control frames and fragments included (100 a second, 200 at once, close
    /// 4429 after 30 s above it); `None`: no limit.
    pub frame_rate: Option<FrameRate>,
    /// Maximum of bytes that are queued for one connection (256 KiB): above it, close 4413.
    pub outbox_bytes: usize,
    /// Below this many queued bytes, `on_drained` of the session is called (64 KiB).
    pub low_water_bytes: usize,
    /// Time between pings (25 s: less than the 30 to 60 s after which common proxies cut idle connections). Without
    /// any bytes for two intervals: close 4408.
    pub heartbeat: Duration,
    /// How long a closing connection may take to flush and to answer the close frame (5 s).
    pub close_timeout: Duration,
    /// When cancelled, plain HTTP connections close after their next answer, so that clients go to another node
    /// (never).
    pub shutting_down: CancellationToken,
    /// The counters; keep a clone to export them.
    pub counters: Arc<Counters>,
}

impl TransportConfig {
    /// The defaults for this listener.
    pub fn new(listener: TcpListener) -> TransportConfig {
        TransportConfig {
            listener,
            backlog: 4096,
            workers: thread::available_parallelism().map_or(1, NonZeroUsize::get),
            max_connections_per_worker: 1_000_000,
            websocket_path: None,
            subprotocol: Some("tidings.v1".to_owned()),
            max_message_bytes: 64 * 1024,
            accept_binary: false,
            deflate: true,
            frame_rate: Some(FrameRate::default()),
            outbox_bytes: 256 * 1024,
            low_water_bytes: 64 * 1024,
            heartbeat: Duration::from_secs(25),
            close_timeout: Duration::from_secs(5),
            shutting_down: CancellationToken::new(),
            counters: Arc::default(),
        }
    }

    pub(crate) fn limits(&self) -> WorkerLimits {
        // 50 ticks per heartbeat spread the pings well. A tick is at least 100 ms, so that an idle worker sleeps, and
        // at most 1 s, so that deadlines stay exact with a long heartbeat.
        let tick = (self.heartbeat / 50).clamp(Duration::from_millis(100), Duration::from_secs(1));
        WorkerLimits {
            rules: Rules {
                max_message_bytes: self.max_message_bytes,
                accept_binary: self.accept_binary,
                // Set for each connection by its handshake.
                deflate: false,
            },
            frames: self.frame_rate.map(|rate| rate.in_ticks(tick)),
            max_connections: self.max_connections_per_worker,
            outbox_bytes: self.outbox_bytes,
            low_water_bytes: self.low_water_bytes,
            tick,
            heartbeat_ticks: ticks(self.heartbeat, tick),
            close_ticks: ticks(self.close_timeout, tick),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct WorkerLimits {
    pub rules: Rules,
    pub frames: Option<FrameLimits>,
    pub max_connections: usize,
    pub outbox_bytes: usize,
    pub low_water_bytes: usize,
    pub tick: Duration,
    pub heartbeat_ticks: u32,
    pub close_ticks: u32,
}
