//! One namespace of one connection: the transport of a client that uses Socket.IO. It answers the CONNECT packet,
//! turns frames into packets, and ends when the server closes the client. Several namespaces share one connection, so
//! each keeps its own deadline and its own pause of reading.

mod sending;

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tidings_shared::protocol::CloseCode;
use tokio::time::Instant;

use super::{
    Namespace, dialect::Dialect, namespace::split_type, packet::PacketKind, recovery::RoomPositions,
};
use crate::transport::{Connection, Frame};

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
    /// The token was accepted. The CONNECT packet is answered when the rooms that it names are joined, because the
    /// answer contains their heads.
    Joining,
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
    /// The client's positions, if the namespace recovers connections and the token was accepted.
    positions: RefCell<Option<Box<RoomPositions>>>,
    /// Whether the CONNECT packet is answered only after a join.
    awaits_join: Cell<bool>,
    /// The frames that follow the answer to the CONNECT packet.
    held: RefCell<Vec<Frame>>,
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
            positions: RefCell::default(),
            awaits_join: Cell::new(false),
            held: RefCell::default(),
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

    /// Whether connections are recovered.
    pub fn recovers(&self) -> bool {
        self.namespace.recovers()
    }

    /// Sets the positions with which the client begins. Must be called before the first frame. `awaits_join` says that
    /// the answer to a join follows the first frame, and that the `pid` names the rooms of this join.
    pub fn track_positions(&self, positions: RoomPositions, awaits_join: bool) {
        self.positions.replace(Some(Box::new(positions)));
        self.awaits_join.set(awaits_join);
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

    /// Answers the CONNECT packet with the frame `connected` or `error`.
    fn answer_connect(&self, frame: &Frame) {
        #[derive(Deserialize)]
        struct Answer<'a> {
            connection: Option<String>,
            user: Option<Box<str>>,
            #[serde(borrow)]
            message: Option<&'a RawValue>,
        }
        let (connection, payload) = (&self.shared.connection, frame.payload());
        match serde_json::from_slice(payload) {
            Ok(Answer { connection: Some(_), .. }) if self.awaits_join.get() => {
                self.phase.set(SocketPhase::Joining);
                self.held.borrow_mut().push(frame.clone());
            }
            Ok(Answer { connection: Some(id), user, .. }) => {
                if let Some(user) = user.filter(|_| self.dialect().is_some()) {
                    // The CONNECT packet is answered once.
                    let _ = self.user.set(user);
                }
                let mut answer = json!({ "sid": id });
                if let Some(positions) = self.positions.borrow_mut().as_mut() {
                    answer["pid"] = positions.take_pid().into();
                }
                let answer = answer.to_string();
                connection.send(self.namespace.packet(PacketKind::Connect, &[answer.as_bytes()]));
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

    /// Keeps a frame back until the answer to the join, then answers the CONNECT packet and sends all frames.
    fn hold_until_joined(&self, frame: &Frame) {
        self.held.borrow_mut().push(frame.clone());
        if !matches!(split_type(frame.payload()).0, b"room:joined" | b"error") {
            return;
        }
        if let Some(positions) = self.positions.borrow_mut().as_mut() {
            positions.name_rooms(frame.payload());
        }
        self.awaits_join.set(false);
        self.phase.set(SocketPhase::Connecting);
        self.held.take().iter().for_each(|frame| self.send(frame));
    }

    /// Ends the namespace with a close code of the protocol. If clients should reconnect after the code, the last
    /// namespace also closes the connection, because libraries reconnect only after a closed connection.
    pub fn close(&self, code: u16, reason: &str) {
        let connection = &self.shared.connection;
        let value = json!({ "code": code, "reason": reason });
        match self.phase.get() {
            SocketPhase::Ended => return,
            SocketPhase::Connecting | SocketPhase::Joining => {
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

    pub fn silence(&self) -> Duration {
        self.shared.connection.silence()
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
