//! WebSocket and Engine.IO transport: takes sockets over at the HTTP upgrade and frames messages itself (RFC 6455). The
//! transport may use sockets, timers and bytes, but not rooms, users or JSON. The guarantees are strict framing,
//! bounded memory per connection, no buffer while a connection is idle, and exactly one `on_closed` for every opened
//! session.
//!
//! The path of received bytes: `server` (accept, HTTP) → `upgrade` (takes the socket) → `handshake` (checks the upgrade)
//! → `task` (the connection's future: reads, calls the session, writes) → `decoder` (bytes to messages) → `inflate`, if
//! the message is compressed → `packet`, if the peer speaks Engine.IO.
//! The path of a sent frame: `Connection::send` → `deflate`, if it was negotiated → `link` → `outbox` → `task`.
//! `engine` serves Engine.IO sessions over HTTP long polling, and moves them to WebSockets: a session is an ordinary
//! connection, and while it has no socket, the answers to polls empty its outbox. Requests of a session on another node
//! are forwarded to that node; `tunnels` counts and ends the forwarded WebSockets.
//! `worker` holds the state that the connections of a thread share: the read buffer, the compressor, the timer wheel,
//! the table of connections. `drain` spreads the closing of all connections over the drain time.

mod bucket;
mod config;
mod connection;
mod counters;
mod decoder;
mod deflate;
mod drain;
mod engine;
mod extension;
mod frame;
mod handshake;
mod header;
mod inflate;
mod kind;
mod outbox;
mod packet;
#[doc(hidden)]
pub mod probe;
mod refuse;
mod server;
mod session_calls;
mod session_id;
mod task;
mod tunnels;
mod upgrade;
mod wheel;
mod worker;

use std::{future::Future, time::Duration};

pub use bucket::FrameRate;
pub use config::{EngineConfig, NodeDirectory, TransportConfig};
pub use connection::Connection;
pub use counters::{Counters, Totals};
pub use frame::{Frame, FrameRun, close_code};
pub use handshake::{HandshakeRequest, Refusal};
pub use kind::TransportKind;
pub use server::{Server, serve};
pub use session_id::SessionIdKeys;

/// The application's side of one connection. The connection's own task makes all calls, on its worker's thread. Calls
/// never nest, because no method of [`Connection`] calls a session.
pub trait Session: 'static {
    /// Called with each complete text message, which is valid UTF-8 and at most `max_message_bytes` long. In an
    /// Engine.IO session, the text is the content of a message packet, without the packet type.
    fn on_text(&mut self, text: &str);

    /// Called with each complete binary message, if `accept_binary` is set or the peer speaks Engine.IO. Otherwise a
    /// binary message closes the connection with 1003.
    fn on_binary(&mut self, _bytes: &[u8]) {}

    /// Called when the outbox has fewer than `low_water_bytes`, after it had more or after a call of
    /// [`Connection::notify_drained`].
    fn on_drained(&mut self);

    /// Called when the deadline of [`Connection::set_deadline`] has passed: never early, and late by at most two ticks
    /// of the timer wheel (a tick is 0.1 to 1 s).
    fn on_deadline(&mut self);

    /// Called at most once, when the server drains. The session must tell the peer to leave after `leave_after`.
    fn on_draining(&mut self, leave_after: Duration);

    /// Called when the peer did not leave in time. The session must close the connection when all its commands are
    /// answered. At the end of the drain time the connection is closed in any case.
    fn on_overstayed(&mut self);

    /// Called exactly once, as the last call, when the connection sends no more frames. `code` is the close code of the
    /// side that closed first: the server's, the peer's (1005 if the peer sent none), or 1006 if the socket broke or a
    /// poll was cancelled.
    fn on_closed(&mut self, code: u16);
}

/// Decides which peers may open a connection. Each worker has one acceptor, which is used only on the worker's thread.
pub trait Acceptor: 'static {
    /// The type of the sessions that the acceptor opens.
    type Session: Session;
    /// The result of [`accept`](Self::accept), which is passed to [`open`](Self::open).
    type Ticket: 'static;

    /// Checks a request, whose handshake is already known to be valid, before the upgrade is answered. The method
    /// should drop the request before it waits: the request's head has several KB, and a reconnect storm brings many
    /// requests. A [`Refusal`] is sent as the HTTP answer, and a socket is then closed. Only the
    /// first request of an Engine.IO session is checked.
    fn accept(&self, request: HandshakeRequest) -> impl Future<Output = Result<Self::Ticket, Refusal>>;

    /// Creates the session of an accepted peer. Frames that this method sends follow the answer to the handshake.
    fn open(&self, ticket: Self::Ticket, connection: Connection) -> Self::Session;
}
