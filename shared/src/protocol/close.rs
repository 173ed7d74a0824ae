//! WebSocket close codes (RFC 6455, 7.4, and ours from 4400 on) and what a client does on each.

/// See docs/PROTOCOL.md, "Close codes".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// The peer is done.
    Normal = 1000,
    /// The node restarts: reconnect after the told delay.
    ServiceRestart = 1012,
    /// The node cannot take more: back off.
    Overloaded = 1013,
    /// Token missing, bad or expired: get a new one, then reconnect.
    Unauthorized = 4401,
    /// The user is blocked or gone: stop.
    Forbidden = 4403,
    /// No `auth` in time, or silent: reconnect.
    TimedOut = 4408,
    /// Too many connections of this user on this node; the oldest is closed: stop.
    TooManyConnections = 4409,
    /// Limits were abused: reconnect after 30 s or more.
    Abuse = 4429,
}

impl CloseCode {
    #[must_use]
    pub fn code(self) -> u16 {
        self as u16
    }
}
