//! The errors of Engine.IO requests, with the codes and messages of the protocol. Pure. A refusal of the acceptor
//! needs no code, because it is sent unchanged.

use actix_http::StatusCode;

use crate::transport::handshake::Refusal;

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EngineError {
    UnknownTransport,
    UnknownSession,
    BadMethod,
    BadRequest,
    UnsupportedVersion,
}

impl EngineError {
    fn code(self) -> u8 {
        match self {
            EngineError::UnknownTransport => 0,
            EngineError::UnknownSession => 1,
            EngineError::BadMethod => 2,
            EngineError::BadRequest => 3,
            EngineError::UnsupportedVersion => 5,
        }
    }

    fn message(self) -> &'static str {
        match self {
            EngineError::UnknownTransport => "Transport unknown",
            EngineError::UnknownSession => "Session ID unknown",
            EngineError::BadMethod => "Bad handshake method",
            EngineError::BadRequest => "Bad request",
            EngineError::UnsupportedVersion => "Unsupported protocol version",
        }
    }

    /// The HTTP answer, also to a WebSocket handshake.
    pub(crate) fn refusal(self) -> Refusal {
        let body = format!(r#"{{"code":{},"message":"{}"}}"#, self.code(), self.message());
        Refusal::new(StatusCode::BAD_REQUEST, "application/json", body)
    }
}
