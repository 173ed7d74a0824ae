//! Settings and limits of the transport, with units and the reasons for the values.

use std::{net::TcpListener, num::NonZeroUsize, sync::Arc, thread, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    bucket::{FrameLimits, FrameRate},
    counters::Counters,
    decoder::DecoderRules,
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
            shutting_down: CancellationToken::new(),
            counters: Arc::default(),
        }
    }

    /// The settings for the workers. Times that the timer wheel measures are converted to ticks.
    pub(crate) fn worker_limits(&self) -> WorkerLimits {
        // 50 ticks per heartbeat spread the pings well. A tick is at least 100 ms, so that an idle worker sleeps, and
        // at most 1 s, so that deadlines stay exact with a long heartbeat.
        let tick = (self.heartbeat / 50).clamp(Duration::from_millis(100), Duration::from_secs(1));
        WorkerLimits {
            rules: DecoderRules {
                max_message_bytes: self.max_message_bytes,
                accept_binary: self.accept_binary,
                // Each connection sets this field by the result of its handshake.
                deflate: false,
            },
            frames: self.frame_rate.map(|rate| rate.to_limits(tick)),
            max_connections: self.max_connections_per_worker,
            outbox_bytes: self.outbox_bytes,
            shared_bytes: self.outbox_bytes / 4 * 3,
            stall_ticks: to_ticks(self.stall_timeout, tick),
            low_water_bytes: self.low_water_bytes,
            tick,
            heartbeat_ticks: to_ticks(self.heartbeat, tick),
            close_ticks: to_ticks(self.close_timeout, tick),
        }
    }
}

/// The settings that a worker needs while it serves. Times in ticks are multiples of `tick`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WorkerLimits {
    pub rules: DecoderRules,
    pub frames: Option<FrameLimits>,
    pub max_connections: usize,
    pub outbox_bytes: usize,
    /// Maximum number of bytes queued for one connection after a shared frame was added.
    pub shared_bytes: usize,
    pub stall_ticks: u32,
    pub low_water_bytes: usize,
    pub tick: Duration,
    pub heartbeat_ticks: u32,
    pub close_ticks: u32,
}
