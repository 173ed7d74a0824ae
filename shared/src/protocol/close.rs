//! WebSocket close codes (RFC 6455, 7.4, and our own from 4400 on), and what a client does for each.

/// See docs/PROTOCOL.md, "Close codes".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// The peer closes the connection normally.
    Normal = 1000,
    /// The node restarts: reconnect after the announced delay.
    ServiceRestart = 1012,
    /// The node is overloaded: back off.
    Overloaded = 1013,
    /// The token is missing, invalid or expired: get a new one, then reconnect.
    Unauthorized = 4401,
    /// The user is blocked or deleted: stop.
    Forbidden = 4403,
    /// `auth` did not come in time, or heartbeats are missing: reconnect.
    TimedOut = 4408,
    /// Too many connections of this user on this node; the oldest is closed: stop.
    TooManyConnections = 4409,
    /// The client exceeded limits too often: reconnect after 30 s or more.
    Abuse = 4429,
}

impl CloseCode {
    pub fn code(self) -> u16 {
        self as u16
    }
}
