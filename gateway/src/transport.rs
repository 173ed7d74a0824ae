//! WebSocket transport: takes sockets over at the HTTP upgrade and frames messages itself (RFC 6455). It may use
//! sockets, timers and bytes; it knows nothing of rooms, users or JSON. It guarantees: strict framing, bounded memory
//! per connection, no buffer while a connection is idle, and exactly one `on_closed` for every opened session.
//!
//! The path of a byte: `server` (accept, HTTP) → `handshake` (checks the upgrade) → `task` (the connection's future:
//! reads, calls the session, writes) → `decoder` (bytes to messages) → `inflate`, if the message is compressed. The way
//! back: `Connection::send` → `link` → `deflate`, if it was negotiated → `outbox` → `task`. `worker` holds what the
//! connections of a thread share: the read buffer, the compressor, the timer wheel, the connections themselves.
//! `drain` spreads the end of all connections over a time.

mod bucket;
mod config;
mod connection;
mod counters;
mod decoder;
mod deflate;
mod drain;
mod extension;
mod frame;
mod handshake;
mod header;
mod inflate;
mod outbox;
#[doc(hidden)]
pub mod probe;
mod server;
mod task;
mod wheel;
mod worker;

use std::{future::Future, time::Duration};

pub use bucket::FrameRate;
pub use config::TransportConfig;
pub use connection::Connection;
pub use counters::{Counters, Totals};
pub use frame::{Frame, close_code};
pub use handshake::{HandshakeRequest, Refusal};
pub use server::{Server, serve};

/// The application's side of one connection. All calls come from the connection's own task on its worker's thread,
/// and they never nest: no call of a session to a [`Connection`] calls a session.
pub trait Session: 'static {
    /// A whole text message, valid UTF-8, at most `max_message_bytes` long.
    fn on_text(&mut self, text: &str);

    /// A whole binary message. Called only with `accept_binary`; without it, the transport closes the connection with
    /// 1003.
    fn on_binary(&mut self, bytes: &[u8]);

    /// The outbox has fewer than `low_water_bytes`. Called after the outbox had more, and after a call of
    /// [`Connection::notify_drained`].
    fn on_drained(&mut self);

    /// The deadline set by [`Connection::set_deadline`] has passed (never early, late by up to a tick).
    fn on_deadline(&mut self);

    /// The server drains: the session must tell the peer to leave after this time. Called at most once.
    fn on_draining(&mut self, leave_after: Duration);

    /// The peer did not leave in time: the session must close the connection when all its commands are answered. At
    /// the end of the drain time the connection is closed in any case.
    fn on_overstayed(&mut self);

    /// The connection sends no more frames; no other call follows. Called exactly once. `code` is the code of the
    /// side that closed first: the server's, the peer's (1005 without one), or 1006 if the socket broke.
    fn on_closed(&mut self, code: u16);
}

/// Decides who may open a WebSocket. One per worker, used only on that worker's thread.
pub trait Acceptor: 'static {
    /// The type of its sessions.
    type Session: Session;
    /// The result of [`accept`](Self::accept), which is passed to [`open`](Self::open).
    type Ticket: 'static;

    /// Checks the request before the upgrade is answered. The handshake itself is known to be valid. Drop the request
    /// before waiting: its head has several KB, and a reconnect storm brings many. A [`Refusal`] is sent as the HTTP
    /// answer, and the connection is closed.
    fn accept(&self, request: HandshakeRequest) -> impl Future<Output = Result<Self::Ticket, Refusal>>;

    /// Creates the session of an accepted peer. Frames sent here follow the handshake's answer.
    fn open(&self, ticket: Self::Ticket, connection: Connection) -> Self::Session;
}
