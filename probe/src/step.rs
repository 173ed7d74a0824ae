//! The steps of a round, and why a step fails. Both are labels of metrics, so their values are known in advance.

use std::io;

use tidings_shared::error::ErrorCode;

/// One step of a round, in the order of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Reads or signs the token.
    Token,
    /// Looks up the host of the WebSocket.
    Dns,
    /// Connects.
    Tcp,
    /// The handshake of TLS. Left out without TLS.
    Tls,
    /// The handshake of the WebSocket, until `connected`.
    WebSocket,
    /// Opens the second WebSocket, from the look-up to `connected`.
    Receiver,
    /// Creates the room over HTTP, or finds it. Left out when the room is known.
    Room,
    /// Joins the room on both WebSockets.
    Join,
    /// From the send to its first proof: the `ack`, or the message itself on the connection of the sender.
    Send,
    /// From the send to the message on the second WebSocket.
    Deliver,
    /// From the send to the `ack` of the stage `stored`.
    Stored,
    /// Reads the message by history over HTTP.
    History,
}

impl Step {
    /// All steps with their names.
    pub const ALL: [(Self, &str); 12] = [
        (Self::Token, "token"),
        (Self::Dns, "dns"),
        (Self::Tcp, "tcp"),
        (Self::Tls, "tls"),
        (Self::WebSocket, "websocket"),
        (Self::Receiver, "receiver"),
        (Self::Room, "room"),
        (Self::Join, "join"),
        (Self::Send, "send"),
        (Self::Deliver, "deliver"),
        (Self::Stored, "stored"),
        (Self::History, "history"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// The token or the key cannot be read, or the key cannot sign.
pub const CREDENTIALS: &str = "credentials";
/// The step took too long.
pub const TIMEOUT: &str = "timeout";
/// The host has no address.
pub const UNRESOLVED: &str = "unresolved";
/// Nobody listens at the address.
pub const REFUSED: &str = "refused";
/// The certificate is not valid: it has expired, has another name, or is not signed by a trusted authority.
pub const CERTIFICATE: &str = "certificate";
/// The handshake of TLS failed for another reason.
pub const TLS: &str = "tls";
/// The connection broke, or was closed.
pub const BROKEN: &str = "broken";
/// The answer is not what the protocol says.
pub const PROTOCOL: &str = "protocol";

const OWN_CODES: [&str; 8] = [CREDENTIALS, TIMEOUT, UNRESOLVED, REFUSED, CERTIFICATE, TLS, BROKEN, PROTOCOL];

/// Why a step failed: a code for metrics, and a text for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFailure {
    pub code: &'static str,
    pub message: String,
}

impl StepFailure {
    pub fn new(code: &'static str, message: impl ToString) -> Self {
        Self { code, message: message.to_string() }
    }

    /// Creates the failure for an error answer. A code that the protocol does not define becomes [`PROTOCOL`].
    pub fn answered(code: &str, message: impl ToString) -> Self {
        let known = ErrorCode::ALL.into_iter().find(|known| known.as_str() == code);
        Self::new(known.map_or(PROTOCOL, ErrorCode::as_str), message)
    }

    /// The failure of a connection.
    pub fn io(error: &io::Error) -> Self {
        let code = if error.kind() == io::ErrorKind::ConnectionRefused { REFUSED } else { BROKEN };
        Self::new(code, error)
    }
}

/// All codes that a failure may have.
pub fn failure_codes() -> impl Iterator<Item = &'static str> {
    OWN_CODES.into_iter().chain(ErrorCode::ALL.map(ErrorCode::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_order_of_the_steps() {
        for (index, (step, name)) in Step::ALL.into_iter().enumerate() {
            assert_eq!((step as usize, step.name()), (index, name));
        }
    }

    #[test]
    fn answer_with_unknown_code_breaks_the_protocol() {
        assert_eq!(StepFailure::answered("unavailable", "").code, "unavailable");
        assert_eq!(StepFailure::answered("any word", "").code, PROTOCOL);
        assert!(failure_codes().any(|code| code == "unavailable"));
    }
}
