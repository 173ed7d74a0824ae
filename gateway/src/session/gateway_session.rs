//! The session of one connection of any kind: of a client of `/v1/ws`, or of a Socket.IO client.

use std::time::Duration;

use super::SocketIoSession;
use crate::{commands::ConnectionHandle, transport::Session};

/// A session as the transport holds it, two pointers long.
pub enum GatewaySession {
    Chat(ConnectionHandle),
    SocketIo(Box<SocketIoSession>),
}

impl Session for GatewaySession {
    fn on_text(&mut self, text: &str) {
        match self {
            Self::Chat(session) => session.on_text(text),
            Self::SocketIo(session) => session.on_text(text),
        }
    }

    fn on_binary(&mut self, bytes: &[u8]) {
        match self {
            Self::Chat(session) => session.on_binary(bytes),
            Self::SocketIo(session) => session.on_binary(bytes),
        }
    }

    fn on_drained(&mut self) {
        match self {
            Self::Chat(session) => session.on_drained(),
            Self::SocketIo(session) => session.on_drained(),
        }
    }

    fn on_deadline(&mut self) {
        match self {
            Self::Chat(session) => session.on_deadline(),
            Self::SocketIo(session) => session.on_deadline(),
        }
    }

    fn on_draining(&mut self, leave_after: Duration) {
        match self {
            Self::Chat(session) => session.on_draining(leave_after),
            Self::SocketIo(session) => session.on_draining(leave_after),
        }
    }

    fn on_overstayed(&mut self) {
        match self {
            Self::Chat(session) => session.on_overstayed(),
            Self::SocketIo(session) => session.on_overstayed(),
        }
    }

    fn on_closed(&mut self, code: u16) {
        match self {
            Self::Chat(session) => session.on_closed(code),
            Self::SocketIo(session) => session.on_closed(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_of_any_kind_is_two_pointers() {
        assert_eq!(size_of::<GatewaySession>(), 2 * size_of::<usize>());
    }
}
