//! The WebSocket close codes of this server: standard ones (RFC 6455, 7.4), and its own from 4400 on.

/// The reason why a connection is closed, and what the client should then do. See docs/PROTOCOL.md, "Close codes".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// The client has closed the connection normally.
    Normal = 1000,
    /// The node restarts. The client should reconnect after the announced delay.
    ServiceRestart = 1012,
    /// The node is overloaded. The client should reconnect with increasing delays.
    Overloaded = 1013,
    /// The token is missing, invalid or expired. The client should get a new token and reconnect.
    Unauthorized = 4401,
    /// The user is blocked or deleted. The client should not reconnect.
    Forbidden = 4403,
    /// `auth` was not received in time, or heartbeats are missing. The client should reconnect.
    TimedOut = 4408,
    /// The user has too many connections on this node, and this is the oldest one. The client should not reconnect.
    TooManyConnections = 4409,
    /// The client exceeded limits too often. The client should reconnect after 30 s or more.
    Abuse = 4429,
}

impl CloseCode {
    /// All codes with which a session closes a connection. The transport of the gateway has codes of its own too.
    pub const ALL: [Self; 8] = [
        Self::Normal,
        Self::ServiceRestart,
        Self::Overloaded,
        Self::Unauthorized,
        Self::Forbidden,
        Self::TimedOut,
        Self::TooManyConnections,
        Self::Abuse,
    ];

    /// The number that is sent in the close frame.
    pub fn code(self) -> u16 {
        self as u16
    }
}
