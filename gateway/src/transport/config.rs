//! Settings and limits of the transport, each with its unit and why it has its value.

use std::{net::TcpListener, num::NonZeroUsize, sync::Arc, thread, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    bucket::{FrameLimits, FrameRate},
    counters::Counters,
    decoder::Rules,
};

/// How to serve. [`TransportConfig::new`] gives the defaults named at each field.
pub struct TransportConfig {
    /// Where to listen; already bound, so that port 0 works.
    pub listener: TcpListener,
    /// Connections the kernel may hold for us before they are accepted (4096): a reconnect storm fits.
    pub backlog: i32,
    /// Threads, each with its own connections (the number of cores).
    pub workers: usize,
    /// WebSockets per worker above which the handshake is refused with 503 (1,000,000).
    pub max_connections_per_worker: usize,
    /// The only path that may be upgraded (`None`: every path).
    pub websocket_path: Option<String>,
    /// Subprotocol named in the answer when the peer offers it (`tidings.v1`).
    pub subprotocol: Option<String>,
    /// Bound on one message over all its fragments, in bytes (64 KiB): over it, close 1009.
    pub max_message_bytes: usize,
    /// Whether binary messages are taken (no: close 1003).
    pub accept_binary: bool,
    /// Whether compressed messages are agreed to when a peer offers them (yes; permessage-deflate).
    pub deflate: bool,
    /// Bound on the frames that a connection may send, control frames and fragments included (100 a second, 200 at
    /// once, close 4429 after 30 s over it); `None`: no bound.
    pub frame_rate: Option<FrameRate>,
    /// Bound on what may be queued for one connection, in bytes (256 KiB): over it, close 4413.
    pub outbox_bytes: usize,
    /// Below this many queued bytes a session hears `on_drained` (64 KiB).
    pub low_water_bytes: usize,
    /// Time between pings (25 s: under the 30 to 60 s after which common proxies cut idle connections).
    /// Nothing heard for two of them: close 4408.
    pub heartbeat: Duration,
    /// How long a closing connection may take to flush and to answer our close frame (5 s).
    pub close_timeout: Duration,
    /// From then on answers to plain requests end their connections, so that the next goes to another node (never).
    pub leaving: CancellationToken,
    /// What is counted; keep a clone to export it.
    pub counters: Arc<Counters>,
}

impl TransportConfig {
    /// The defaults, on this listener.
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
            leaving: CancellationToken::new(),
            counters: Arc::default(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        // A fiftieth of the heartbeat spreads the pings well; the bounds keep an idle worker asleep and a
        // test's short heartbeat meaningful.
        let tick = (self.heartbeat / 50).clamp(Duration::from_millis(100), Duration::from_secs(1));
        Limits {
            rules: Rules {
                max_message_bytes: self.max_message_bytes,
                accept_binary: self.accept_binary,
                // As agreed with each peer.
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

/// What a worker needs of the settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub rules: Rules,
    pub frames: Option<FrameLimits>,
    pub max_connections: usize,
    pub outbox_bytes: usize,
    pub low_water_bytes: usize,
    pub tick: Duration,
    pub heartbeat_ticks: u32,
    pub close_ticks: u32,
}

/// `time` in ticks, rounded up, at least one; further ahead than any connection lives counts as that.
pub(crate) fn ticks(time: Duration, tick: Duration) -> u32 {
    let ticks = time.as_nanos().div_ceil(tick.as_nanos().max(1)).max(1);
    u32::try_from(ticks).unwrap_or(u32::MAX).min(u32::MAX / 4)
}
