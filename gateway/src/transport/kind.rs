//! The transports of connections. Pure.

/// The transport of a connection. Metrics use its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// A WebSocket without Engine.IO.
    WebSocket,
    /// An Engine.IO session over HTTP long polling.
    EnginePolling,
    /// An Engine.IO session over a WebSocket.
    EngineWebSocket,
}

impl TransportKind {
    /// All transports.
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::EnginePolling, Self::EngineWebSocket];

    /// The value of the label `transport` in metrics.
    pub fn label(self) -> &'static str {
        match self {
            TransportKind::WebSocket => "websocket",
            TransportKind::EnginePolling => "engine_polling",
            TransportKind::EngineWebSocket => "engine_websocket",
        }
    }

    /// Whether the connection speaks Engine.IO.
    pub fn is_engine(self) -> bool {
        self != TransportKind::WebSocket
    }
}
