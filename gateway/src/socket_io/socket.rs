//! One namespace of one connection: the transport of a client that uses Socket.IO. It answers the CONNECT packet,
//! turns frames into packets, and ends when the server closes the client. Several namespaces share one connection, so
//! each keeps its own deadline and its own pause of reading.

use std::{
    cell::{Cell, OnceCell},
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tidings_shared::protocol::CloseCode;
use tokio::time::Instant;

use super::{
    Namespace,
    dialect::{Dialect, DialectPacket, PacketReceivers},
    packet::PacketKind,
};
use crate::transport::{Connection, Frame, FrameRun};

/// The first id of a namespace. Namespace ids are above all connection ids, so the two never collide.
const FIRST_NAMESPACE_ID: u64 = 1 << 56;
static NEXT_ID: AtomicU64 = AtomicU64::new(FIRST_NAMESPACE_ID);

/// What the namespaces of one connection share.
pub(crate) struct SharedConnection {
    pub connection: Connection,
    /// Number of namespaces that have not ended.
    open: Cell<u16>,
    /// Number of namespaces that have paused reading.
    paused: Cell<u16>,
    /// The earliest requested deadline.
    deadline: Cell<Option<Instant>>,
}

impl SharedConnection {
    pub fn new(connection: Connection) -> Rc<Self> {
        let (open, paused) = (Cell::new(0), Cell::new(0));
        Rc::new(Self { connection, open, paused, deadline: Cell::new(None) })
    }

    /// Requests a call of the session's `on_deadline` at this time, unless an earlier call is requested already.
    pub fn request_deadline(&self, at: Instant) {
        if self.deadline.get().is_none_or(|earliest| at < earliest) {
            self.deadline.set(Some(at));
            self.connection.set_deadline(Some(at.saturating_duration_since(Instant::now())));
        }
    }

    /// Clears the requested deadline. `on_deadline` must call this first, and then request the remaining deadlines
    /// again.
    pub fn clear_deadline(&self) {
        self.deadline.set(None);
    }
}

/// Whether clients should reconnect by themselves after this close code.
fn should_reconnect(code: u16) -> bool {
    code == CloseCode::ServiceRestart.code() || code == CloseCode::Overloaded.code()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SocketPhase {
    /// The CONNECT packet is not answered yet.
    Connecting,
    Connected,
    Ended,
}

/// A namespace to which a connection is connected, or is about to be.
pub(crate) struct NamespaceSocket {
    id: u64,
    namespace: Rc<Namespace>,
    shared: Rc<SharedConnection>,
    phase: Cell<SocketPhase>,
    has_paused: Cell<bool>,
    deadline: Cell<Option<Instant>>,
    /// The user, once the CONNECT packet was answered, if the namespace has a dialect.
    user: OnceCell<Box<str>>,
}

impl NamespaceSocket {
    pub fn new(namespace: Rc<Namespace>, shared: Rc<SharedConnection>) -> Rc<Self> {
        shared.open.set(shared.open.get() + 1);
        Rc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            namespace,
            shared,
            phase: Cell::new(SocketPhase::Connecting),
            has_paused: Cell::new(false),
            deadline: Cell::new(None),
            user: OnceCell::new(),
        })
    }

    /// The name of the namespace.
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// The dialect of the application whose clients connect here.
    pub fn dialect(&self) -> Option<&Dialect> {
        self.namespace.dialect()
    }

    /// The user, if the namespace has a dialect and the CONNECT packet was answered.
    pub fn user(&self) -> Option<&str> {
        self.user.get().map(|user| &**user)
    }

    /// Differs from the ids of all connections and of all other namespaces of this node.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether the CONNECT packet was answered, and the namespace has not ended.
    pub fn is_connected(&self) -> bool {
        self.phase.get() == SocketPhase::Connected
    }

    /// Whether the namespace has ended. The connection may be open.
    pub fn has_ended(&self) -> bool {
        self.phase.get() == SocketPhase::Ended
    }

    pub fn is_closed(&self) -> bool {
        self.has_ended() || self.shared.connection.is_closed()
    }

    /// Sends a frame as an event or ack. The first frame answers the CONNECT packet: it is `connected` or `error`.
    pub fn send(&self, frame: &Frame) {
        match self.phase.get() {
            SocketPhase::Connecting => self.answer_connect(frame.payload()),
            SocketPhase::Connected => self.send_payload(frame.payload()),
            SocketPhase::Ended => {}
        }
    }

    /// Sends the payload of a frame as events or acks.
    fn send_payload(&self, payload: &[u8]) {
        match self.namespace.dialect() {
            None => self.shared.connection.send(self.namespace.translate(payload)),
            Some(dialect) => self.send_packets(&dialect.packets(payload, self.user())),
        }
    }

    /// Sends packets of a dialect, as far as they are for this user.
    pub fn send_packets(&self, packets: &[DialectPacket]) {
        for packet in packets.iter().filter(|packet| packet.receivers.include(self.user())) {
            self.shared.connection.send(Frame::text_for_one(self.namespace.encode(packet)));
        }
    }

    /// Sends a frame that other connections also get: see [`Connection::send_shared`].
    pub fn send_shared(&self, frame: &Frame) -> bool {
        if !self.is_connected() {
            return true;
        }
        match &self.namespace.dialect {
            None => self.shared.connection.send_shared(&self.namespace.translate_shared(frame)),
            Some(dialect) => {
                self.send_translated(&dialect.translate_shared(frame, |packet| self.namespace.encode(packet)))
            }
        }
    }

    /// Sends the frames of a run, which other connections also get: see [`Connection::send_run`].
    pub fn send_run(&self, run: &FrameRun) -> usize {
        if !self.is_connected() {
            return run.frames().len();
        }
        match &self.namespace.dialect {
            None => self.shared.connection.send_run(&self.namespace.translate_run(run)),
            Some(dialect) => {
                let translated = dialect.translate_run(run, |packet| self.namespace.encode(packet));
                translated.iter().take_while(|frames| self.send_translated(frames)).count()
            }
        }
    }

    /// Sends what one shared frame became for this user. Returns false, and sends nothing, if the connection does not
    /// take the first of these frames. The others follow it in any case.
    fn send_translated(&self, frames: &[(PacketReceivers, Frame)]) -> bool {
        let mut of_user = frames.iter().filter(|(receivers, _)| receivers.include(self.user()));
        let Some((_, first)) = of_user.next() else { return true };
        let connection = &self.shared.connection;
        let is_sent = connection.send_shared(first);
        if is_sent {
            of_user.for_each(|(_, frame)| connection.send(frame.clone()));
        }
        is_sent
    }

    /// Answers the CONNECT packet with the frame `connected` or `error`.
    fn answer_connect(&self, payload: &[u8]) {
        #[derive(Deserialize)]
        struct Answer<'a> {
            connection: Option<String>,
            user: Option<Box<str>>,
            #[serde(borrow)]
            message: Option<&'a RawValue>,
        }
        let connection = &self.shared.connection;
        match serde_json::from_slice(payload) {
            Ok(Answer { connection: Some(id), user, .. }) => {
                if let Some(user) = user.filter(|_| self.dialect().is_some()) {
                    // The CONNECT packet is answered once.
                    let _ = self.user.set(user);
                }
                let sid = json!({ "sid": id }).to_string();
                connection.send(self.namespace.packet(PacketKind::Connect, &[sid.as_bytes()]));
                self.send_payload(payload);
                self.phase.set(SocketPhase::Connected);
            }
            Ok(Answer { message: Some(message), .. }) => {
                let parts =
                    [b"{\"message\":".as_slice(), message.get().as_bytes(), b",\"data\":", payload, b"}"];
                connection.send(self.namespace.packet(PacketKind::ConnectError, &parts));
                self.end();
            }
            _ => {}
        }
    }

    /// Ends the namespace with a close code of the protocol. If clients should reconnect after the code, the last
    /// namespace also closes the connection, because libraries reconnect only after a closed connection.
    pub fn close(&self, code: u16, reason: &str) {
        let connection = &self.shared.connection;
        let value = json!({ "code": code, "reason": reason });
        match self.phase.get() {
            SocketPhase::Ended => return,
            SocketPhase::Connecting => {
                let data = json!({ "message": reason, "data": value }).to_string();
                connection.send(self.namespace.packet(PacketKind::ConnectError, &[data.as_bytes()]));
            }
            SocketPhase::Connected => {
                self.send_close(value);
                if !should_reconnect(code) {
                    connection.send(self.namespace.packet(PacketKind::Disconnect, &[]));
                }
            }
        }
        self.end();
        if should_reconnect(code) && self.shared.open.get() == 0 {
            connection.close(code, reason);
        }
    }

    /// Sends the event `close`, or what a dialect makes of it.
    fn send_close(&self, mut value: Value) {
        if self.dialect().is_none() {
            self.shared.connection.send(self.namespace.named_event("close", &value));
            return;
        }
        value["type"] = "close".into();
        self.send_payload(value.to_string().as_bytes());
    }

    /// Ends the namespace without a packet. Requests a call of `on_drained`, in which the session removes the
    /// namespace.
    pub fn end(&self) {
        if self.phase.replace(SocketPhase::Ended) != SocketPhase::Ended {
            self.shared.open.set(self.shared.open.get() - 1);
            self.resume_reading();
            self.shared.connection.notify_drained();
        }
    }

    pub fn queued_bytes(&self) -> usize {
        self.shared.connection.queued_bytes()
    }

    pub fn notify_drained(&self) {
        self.shared.connection.notify_drained();
    }

    /// Pauses reading from the connection. Reading resumes when no namespace pauses it.
    pub fn pause_reading(&self) {
        if !self.has_ended() && !self.has_paused.replace(true) {
            self.shared.paused.set(self.shared.paused.get() + 1);
            self.shared.connection.pause_reading();
        }
    }

    /// Ends this namespace's pause of reading.
    pub fn resume_reading(&self) {
        if self.has_paused.replace(false) {
            self.shared.paused.set(self.shared.paused.get() - 1);
            if self.shared.paused.get() == 0 {
                self.shared.connection.resume_reading();
            }
        }
    }

    /// Requests one call of [`Session::on_deadline`](crate::transport::Session::on_deadline) for this namespace.
    pub fn set_deadline(&self, after: Option<Duration>) {
        let at = after.map(|after| Instant::now() + after);
        self.deadline.set(at);
        if let Some(at) = at {
            self.shared.request_deadline(at);
        }
    }

    /// The requested deadline.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get()
    }

    /// Takes the deadline if it has passed.
    pub fn take_due_deadline(&self, now: Instant) -> bool {
        let is_due = self.deadline.get().is_some_and(|at| at <= now);
        if is_due {
            self.deadline.set(None);
        }
        is_due
    }
}
