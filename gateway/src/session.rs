//! What the transport calls for a connection: when a frame arrives, when a deadline passes, and when the connection ends.
//! Frames go to [`commands`].

mod accept;
mod gateway_session;
pub mod poll;
mod socket_io;

use std::{rc::Rc, time::Duration};

use tidings_shared::{
    clock::unix_ms,
    protocol::{self, CloseCode},
};

pub use accept::{AdmissionControl, ChatAcceptor};
pub use gateway_session::GatewaySession;
pub use socket_io::SocketIoSession;

use crate::{
    client::{AuthState, Client, ClientTransport},
    commands::{self, ConnectionHandle, presence},
    transport::{Connection, Session},
    worker::Worker,
};

/// A connection that sends no token is closed after this time.
const AUTH_TIMEOUT: Duration = Duration::from_secs(5);

fn open(worker: Rc<Worker>, connection: Connection) -> ConnectionHandle {
    connection.set_deadline(Some(AUTH_TIMEOUT));
    ConnectionHandle { worker, client: Rc::new(Client::new(ClientTransport::Socket(connection))) }
}

impl Session for ConnectionHandle {
    fn on_text(&mut self, text: &str) {
        let parsed = protocol::client::parse(text, self.worker.node.limits.max_message_chars);
        commands::receive(self, parsed);
    }

    fn on_drained(&mut self) {
        self.client.drained.notify_one();
    }

    fn on_deadline(&mut self) {
        let (code, reason) = match &*self.client.state.borrow() {
            AuthState::Ready(identity) if identity.expires_at_s.saturating_mul(1000) > unix_ms() => {
                // The token is still valid: it was renewed, or it expires later than the maximum deadline of one day.
                self.client.set_expiry_deadline(unix_ms());
                return;
            }
            AuthState::Ready(_) => (CloseCode::Unauthorized, "the token has expired"),
            AuthState::AwaitingAuth | AuthState::Authenticating => {
                (CloseCode::TimedOut, "no token was sent in time")
            }
        };
        self.client.close(code, reason);
    }

    fn on_draining(&mut self, leave_after: Duration) {
        self.client.begin_drain(leave_after);
    }

    fn on_overstayed(&mut self) {
        self.client.close_when_answered();
    }

    fn on_closed(&mut self, _code: u16) {
        self.client.drained.notify_one();
        for (room, subscription) in self.client.take_subscriptions() {
            self.worker.unsubscribe(&room, subscription);
        }
        self.worker.unregister(&self.client);
        presence::report_closed(self);
    }
}
