//! WebSocket transport: takes sockets over at the HTTP upgrade and frames by itself (RFC 6455).
//! It may touch sockets, timers and bytes; it knows nothing of rooms, users or JSON.
//! It promises: strict framing, bounded memory per connection, no buffer while a connection is idle,
//! and exactly one `on_closed` for every opened session.
//!
//! The way of a byte: `server` (accept, HTTP) → `handshake` (may it become a WebSocket?) → `task` (the
//! connection's future: reads, calls the session, writes) → `decoder` (bytes to messages) → `inflate`, where it is
//! compressed. Back out: `Connection::send` → `link` → `deflate`, where that was agreed on → `outbox` → `task`.
//! `worker` holds what the connections of a thread share: the read buffer, the compressor, the timer wheel, the
//! registry. `drain` spreads the end of all connections over a time.

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
mod link;
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
pub use frame::{Frame, FrameBuffer, close_code};
pub use handshake::{HandshakeRequest, Refusal};
pub use server::{Server, serve};

/// What one connection talks to. All calls come from the connection's own task on its worker's thread, never
/// nested: nothing a session does through a [`Connection`] calls back into a session.
pub trait Session: 'static {
    /// A whole text message, valid UTF-8, at most `max_message_bytes` long.
    fn on_text(&mut self, text: &str);

    /// A whole binary message. Only with `accept_binary`; otherwise the transport closes with 1003.
    fn on_binary(&mut self, bytes: &[u8]);

    /// The outbox is below `low_water_bytes` again after having been above it, or after
    /// [`Connection::notify_drained`] was asked for.
    fn on_drained(&mut self);

    /// The deadline set by [`Connection::set_deadline`] has passed (never early, late by up to a tick).
    fn on_deadline(&mut self);

    /// The server drains: the peer is to be told to leave after this time. Comes once at most.
    fn on_draining(&mut self, leave_after: Duration);

    /// The peer should have left by now: the connection is to be closed as soon as nothing is owed to it. At the end
    /// of the drain time it is closed in any case.
    fn on_overstayed(&mut self);

    /// The connection takes no more frames; no other call follows. Comes exactly once. `code` is the one
    /// given by whoever closed first: ours, the peer's (1005 without one), or 1006 when the socket broke.
    fn on_closed(&mut self, code: u16);
}

/// Decides who may open a WebSocket. One per worker, used only on that worker's thread.
pub trait Acceptor: 'static {
    /// What a session is made of.
    type Session: Session;
    /// What [`accept`](Self::accept) found out about the peer, carried to [`open`](Self::open).
    type Ticket: 'static;

    /// Looks at the request before the upgrade is answered. The handshake itself is known to be valid. Drop the
    /// request before waiting: its head is several KB, and a storm brings many.
    ///
    /// # Errors
    /// A [`Refusal`] is sent as the HTTP answer, and the connection closed.
    fn accept(&self, request: HandshakeRequest) -> impl Future<Output = Result<Self::Ticket, Refusal>>;

    /// Makes the session of an accepted peer. Frames sent here follow the handshake's answer.
    fn open(&self, ticket: Self::Ticket, connection: Connection) -> Self::Session;
}
