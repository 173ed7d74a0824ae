//! The session of one Engine.IO connection whose client uses Socket.IO. It reads packets and keeps one chat session for
//! each namespace to which the client is connected. An event is a command, and its ack is the answer.

mod connect;
mod event;
mod recovery;

use std::{rc::Rc, time::Duration};

use tidings_shared::protocol::CloseCode;
use tokio::time::Instant;

use super::AUTH_TIMEOUT;
use crate::{
    client::CLOSE_REASON_STOPPING,
    commands::ConnectionHandle,
    socket_io::{
        Namespace, NamespaceSocket, SharedConnection,
        packet::{self, PacketKind, SocketIoPacket},
    },
    transport::{Connection, Session, close_code},
    worker::Worker,
};

/// A connection is closed this long after its last namespace has ended. Until a token was accepted, [`AUTH_TIMEOUT`]
/// from the opening applies instead, and further attempts do not extend it.
const NO_NAMESPACE_TIMEOUT: Duration = Duration::from_secs(45);

/// A namespace to which the client is connected or connecting.
struct ConnectedNamespace {
    socket: Rc<NamespaceSocket>,
    chat: ConnectionHandle,
}

/// The session of one connection.
pub struct SocketIoSession {
    worker: Rc<Worker>,
    /// The namespaces to which clients can connect.
    namespaces: Rc<[Rc<Namespace>]>,
    shared: Rc<SharedConnection>,
    connected: Vec<ConnectedNamespace>,
    /// The token in the header or query of the handshake, for namespaces whose CONNECT packet has none.
    handshake_token: Option<Box<str>>,
    /// Number of binary messages that still belong to the last packet.
    remaining_attachments: usize,
    /// Whether a CONNECT packet has named a namespace that exists.
    has_connected: bool,
    /// Whether a token was accepted.
    has_authenticated: bool,
    /// The connection is closed at this time if it then has no namespace.
    close_at: Instant,
    /// When the client must leave, because the node drains.
    leave_at: Option<Instant>,
}

impl SocketIoSession {
    pub(super) fn open(
        worker: Rc<Worker>,
        namespaces: Rc<[Rc<Namespace>]>,
        handshake_token: Option<Box<str>>,
        connection: Connection,
    ) -> Box<Self> {
        let shared = SharedConnection::new(connection);
        let close_at = Instant::now() + AUTH_TIMEOUT;
        shared.request_deadline(close_at);
        Box::new(Self {
            worker,
            namespaces,
            shared,
            connected: Vec::new(),
            handshake_token,
            remaining_attachments: 0,
            has_connected: false,
            has_authenticated: false,
            close_at,
            leave_at: None,
        })
    }

    /// Closes the connection of a client that breaks the rules of Socket.IO, as the reference implementation does.
    fn close_as_invalid(&self) {
        self.shared.connection.close(close_code::PROTOCOL_ERROR, "invalid Socket.IO packet");
    }

    fn on_packet(&mut self, packet: &SocketIoPacket<'_>) {
        match packet.kind {
            PacketKind::Connect => self.connect(packet),
            PacketKind::Disconnect => self.disconnect(packet.namespace),
            PacketKind::Event | PacketKind::BinaryEvent => self.run_event(packet),
            // The server asks for no acks.
            PacketKind::Ack | PacketKind::BinaryAck => {}
            PacketKind::ConnectError => self.close_as_invalid(),
        }
    }

    fn disconnect(&mut self, name: &str) {
        if let Some(namespace) = self.connected.iter().find(|namespace| namespace.socket.name() == name) {
            namespace.socket.end();
        }
    }

    /// Runs an event as a command. Ignores an event for a namespace that has ended, because the client may have sent it
    /// before it received the end.
    fn run_event(&mut self, packet: &SocketIoPacket<'_>) {
        let mut connected = self.connected.iter_mut();
        let Some(namespace) = connected.find(|namespace| namespace.socket.name() == packet.namespace) else {
            if !self.has_connected {
                self.close_as_invalid();
            }
            return;
        };
        // A client must not send events before the answer to its CONNECT packet.
        if !namespace.socket.is_connected() {
            return;
        }
        namespace.run_event(packet, self.worker.node.limits.max_message_chars);
    }

    /// Ends the chat sessions of the namespaces that have ended.
    fn remove_ended(&mut self) {
        if self.connected.iter().all(|namespace| !namespace.socket.has_ended()) {
            return;
        }
        let gauge = &self.worker.node.metrics.socket_io_namespaces;
        self.connected.retain_mut(|namespace| {
            let has_ended = namespace.socket.has_ended();
            if has_ended {
                self.has_authenticated |= namespace.chat.client.known_user().is_some();
                namespace.chat.on_closed(close_code::NORMAL);
                gauge.dec();
            }
            !has_ended
        });
        if self.has_authenticated {
            self.close_at = Instant::now() + NO_NAMESPACE_TIMEOUT;
        }
        if self.connected.is_empty() {
            self.shared.request_deadline(self.close_at);
        }
    }
}

impl Session for SocketIoSession {
    fn on_text(&mut self, text: &str) {
        match packet::decode(text) {
            // The attachments of a packet must follow it directly.
            Ok(packet) if self.remaining_attachments == 0 => {
                self.remaining_attachments = packet.attachments;
                self.on_packet(&packet);
            }
            _ => self.close_as_invalid(),
        }
        self.remove_ended();
    }

    fn on_binary(&mut self, _: &[u8]) {
        match self.remaining_attachments.checked_sub(1) {
            Some(remaining) => self.remaining_attachments = remaining,
            None => self.close_as_invalid(),
        }
    }

    fn on_drained(&mut self) {
        self.connected.iter_mut().for_each(|namespace| namespace.chat.on_drained());
        self.remove_ended();
    }

    fn on_deadline(&mut self) {
        self.shared.clear_deadline();
        let now = Instant::now();
        for namespace in &mut self.connected {
            if namespace.socket.take_due_deadline(now) {
                namespace.chat.on_deadline();
            }
        }
        self.remove_ended();
        let close_at = self.connected.is_empty().then_some(self.close_at);
        if close_at.is_some_and(|at| at <= now) {
            let reason = "not connected to a namespace in time";
            self.shared.connection.close(CloseCode::TimedOut.code(), reason);
            return;
        }
        let deadlines = self.connected.iter().filter_map(|namespace| namespace.socket.deadline());
        if let Some(earliest) = deadlines.chain(close_at).min() {
            self.shared.request_deadline(earliest);
        }
    }

    fn on_draining(&mut self, leave_after: Duration) {
        self.leave_at = Some(Instant::now() + leave_after);
        self.connected.iter_mut().for_each(|namespace| namespace.chat.on_draining(leave_after));
    }

    fn on_overstayed(&mut self) {
        self.connected.iter_mut().for_each(|namespace| namespace.chat.on_overstayed());
        if self.connected.is_empty() {
            self.shared.connection.close(CloseCode::ServiceRestart.code(), CLOSE_REASON_STOPPING);
        }
    }

    fn on_closed(&mut self, _: u16) {
        self.connected.iter().for_each(|namespace| namespace.socket.end());
        self.remove_ended();
    }
}
