//! A long-lived client: it always reconnects, keeps a cursor per room, and follows all rules of PROTOCOL.md for gaps,
//! loading, sending and reconnecting. It uses gateways over WebSocket and persistence over HTTP, and records everything
//! that the server sent, including violations of the protocol.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::frames::Cursor;
use crate::history::History;
use crate::recorder::{Interner, Recorder};
use crate::socket_io::{SOCKET_IO_PATH, SocketIoTransport};

mod backoff;
mod engine;
mod fetch;
mod frame_socket;
mod outbox;
mod outboxes;

/// A day, because the tokens must also be valid for nodes whose clocks are an hour ahead.
pub(crate) const TOKEN_TTL_S: i64 = 24 * 3600;

/// The addresses of the nodes, and the secret for tokens.
#[derive(Debug, Clone)]
pub struct Nodes {
    /// WebSocket URLs of the gateways.
    pub gateways: Vec<String>,
    /// The transport of listeners that speak Socket.IO. With `None` they use the WebSocket URLs.
    pub socket_io: Option<SocketIoTransport>,
    /// URLs of the persistence nodes.
    pub persistence: Vec<String>,
    /// The secret that signs tokens.
    pub jwt_secret: String,
    /// The connection pool for persistence, which all listeners share.
    pub http: reqwest::Client,
}

impl Nodes {
    /// The nodes of a test's stack.
    pub fn of(stack: &crate::Stack) -> Nodes {
        Nodes {
            gateways: stack.gateways().iter().map(crate::Node::ws).collect(),
            socket_io: None,
            persistence: stack.persistence_nodes().iter().map(crate::Node::url).collect(),
            jwt_secret: stack.jwt_secret().to_owned(),
            http: crate::http::client(),
        }
    }

    /// The WebSocket URL of the gateway with this number. Higher numbers begin again with the first gateway.
    fn gateway(&self, number: usize) -> &str {
        &self.gateways[number % self.gateways.len()]
    }

    /// The addresses of Socket.IO on all gateways, beginning with the gateway of this number.
    pub(crate) fn socket_io_bases(&self, first: usize) -> Vec<String> {
        let base = |ws: &str| ws.replacen("ws", "http", 1).replace("/v1/ws", SOCKET_IO_PATH);
        (0..self.gateways.len()).map(|number| base(self.gateway(first + number))).collect()
    }
}

/// How a listener starts with a room for which it has no cursor.
#[derive(Debug, Clone)]
pub enum Begin {
    /// With all events after this cursor, such as the `head` of the answer that created the room.
    At(Cursor),
    /// With the latest page of history, then the events after the page.
    Load,
    /// With new events only.
    Head,
}

/// A message that was sent and stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The client id of the message.
    pub client_id: String,
    /// Seq of the message in the room's log.
    pub seq: u64,
    /// Message id.
    pub id: String,
    /// Number of times that the message was sent until the wanted answer came.
    pub attempts: u32,
    /// Time from the first attempt to the wanted answer.
    pub took: Duration,
}

/// A function that gets the latency of received messages (see [`crate::clock`]). It gets only messages that were sent
/// after the listener went online and first caught up. Messages that are replayed after a lost connection are included.
pub type LatencyObserver = Arc<dyn Fn(Duration) + Send + Sync>;

/// Options of a sent message.
#[derive(Debug, Clone, Default)]
pub struct SendOptions {
    /// The users who may see the message. If empty, all members may.
    pub visible_to: Vec<String>,
    /// Whether the sender is content with the answer `accepted` and does not wait for `stored`.
    pub accepted: bool,
    /// The attachments of the message, as in the frame.
    pub attachments: Vec<Value>,
}

/// The observers of a listener.
#[derive(Default)]
struct Observers {
    on_latency: Option<LatencyObserver>,
    history: Option<History>,
}

enum ListenerCommand {
    Online(bool),
    Join { room: String, recorder: Arc<Mutex<Recorder>>, load: bool },
    Send(Box<outbox::QueuedMessage>),
}

#[derive(Default)]
struct SharedState {
    rooms: Mutex<HashMap<String, Arc<Mutex<Recorder>>>>,
    state: Mutex<ListenerState>,
}

#[derive(Debug, Clone, Default)]
struct ListenerState {
    connections: Vec<Instant>,
    wanted: bool,
    connected: bool,
    failed: Option<String>,
    violations: Vec<String>,
    errors: Vec<String>,
    connect_errors: Vec<String>,
    internal_errors: Vec<String>,
}

/// A long-lived client of one user.
pub struct Listener {
    commands: mpsc::UnboundedSender<ListenerCommand>,
    shared: Arc<SharedState>,
    engine: JoinHandle<()>,
}

impl Listener {
    /// Creates a listener whose first connection goes to the gateway with this number. It is offline until
    /// [`Listener::online`].
    pub fn new(
        user: &str,
        nodes: Arc<Nodes>,
        gateway: usize,
        on_latency: Option<LatencyObserver>,
    ) -> Listener {
        Self::spawn(user, nodes, gateway, Observers { on_latency, history: None })
    }

    /// Like [`Listener::new`], but the listener records everything in the history.
    pub fn recorded(user: &str, nodes: Arc<Nodes>, gateway: usize, history: History) -> Listener {
        Self::spawn(user, nodes, gateway, Observers { on_latency: None, history: Some(history) })
    }

    fn spawn(user: &str, nodes: Arc<Nodes>, gateway: usize, observers: Observers) -> Listener {
        let (commands, incoming) = mpsc::unbounded_channel();
        let shared = Arc::new(SharedState::default());
        let engine = engine::Engine::new(user, nodes, gateway, observers, Arc::clone(&shared));
        Listener { commands, shared, engine: tokio::spawn(engine.run(incoming)) }
    }

    /// Connects, and reconnects whenever the connection is lost.
    pub fn online(&self) {
        lock(&self.shared.state).wanted = true;
        self.send_command(ListenerCommand::Online(true));
    }

    /// Disconnects and stays offline; keeps the cursors.
    pub fn offline(&self) {
        lock(&self.shared.state).wanted = false;
        self.send_command(ListenerCommand::Online(false));
    }

    /// Listens to a room whenever the listener is online. `interner` stores equal messages of several listeners once.
    pub fn join(&self, room: &str, begin: Begin, interner: Arc<Interner>) {
        let mut recorder = Recorder::new(room, interner);
        let load = matches!(begin, Begin::Load);
        if let Begin::At(cursor) = begin {
            recorder.begin(cursor);
        }
        let recorder = Arc::new(Mutex::new(recorder));
        lock(&self.shared.rooms).insert(room.to_owned(), Arc::clone(&recorder));
        self.send_command(ListenerCommand::Join { room: room.to_owned(), recorder, load });
    }

    /// Sends a message, and repeats it until it is stored. A room's messages are sent one after the other. While the
    /// listener is offline, the message waits.
    ///
    /// # Errors
    /// The reason, when the server refuses the message finally.
    pub async fn send(&self, room: &str, text: &str) -> Result<Sent, String> {
        self.send_as(room, text, SendOptions::default()).await
    }

    /// Like [`Listener::send`], with an audience, or with `accepted` as the wanted answer.
    pub async fn send_as(&self, room: &str, text: &str, options: SendOptions) -> Result<Sent, String> {
        let (sending, stored) = outbox::QueuedMessage::new(room, text, options);
        self.send_command(ListenerCommand::Send(Box::new(sending)));
        stored.await.unwrap_or_else(|_| Err(self.failed().unwrap_or_else(|| "stopped".to_owned())))
    }

    /// The record of a room; `None` if the listener never joined the room.
    pub fn record(&self, room: &str) -> Option<Arc<Mutex<Recorder>>> {
        lock(&self.shared.rooms).get(room).cloned()
    }

    /// The listener's cursor in a room.
    pub fn cursor(&self, room: &str) -> Option<Cursor> {
        lock(&*self.record(room)?).cursor().cloned()
    }

    /// Whether the listener's cursor in a room has reached this seq.
    pub fn is_at(&self, room: &str, seq: u64) -> bool {
        self.cursor(room).is_some_and(|cursor| cursor.seq >= seq)
    }

    /// Whether the listener is connected.
    pub fn is_connected(&self) -> bool {
        lock(&self.shared.state).connected
    }

    /// Whether the listener should be online: [`Listener::online`] was called later than [`Listener::offline`].
    pub fn is_wanted_online(&self) -> bool {
        lock(&self.shared.state).wanted
    }

    /// Number of connections that the listener opened.
    pub fn connections(&self) -> u64 {
        lock(&self.shared.state).connections.len() as u64
    }

    /// When each connection of the listener was opened.
    pub fn connected_at(&self) -> Vec<Instant> {
        lock(&self.shared.state).connections.clone()
    }

    /// Error answers to the listener's commands, including temporary errors.
    pub fn errors(&self) -> Vec<String> {
        lock(&self.shared.state).errors.clone()
    }

    /// The errors of failed attempts to connect.
    pub fn connect_errors(&self) -> Vec<String> {
        lock(&self.shared.state).connect_errors.clone()
    }

    /// Why the listener has stopped: an error after which a client may not repeat the same request. `None` while it
    /// runs.
    pub fn failed(&self) -> Option<String> {
        lock(&self.shared.state).failed.clone()
    }

    /// Violations of the rules for connections. Violations of the rules for logs are in [`Listener::record`].
    pub fn broken_rules(&self) -> Vec<String> {
        lock(&self.shared.state).violations.clone()
    }

    /// Internal errors that the server reported. They are violations even while a fault is injected.
    pub fn internal_errors(&self) -> Vec<String> {
        lock(&self.shared.state).internal_errors.clone()
    }

    fn send_command(&self, command: ListenerCommand) {
        // This fails if the engine has stopped. Then pending sends fail too, and `failed` has the reason.
        let _ = self.commands.send(command);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.engine.abort();
    }
}

/// Locks a mutex, even if a thread panicked while it held the lock. The data are used only in reports, so they may be
/// incomplete.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type SentReceiver = oneshot::Receiver<Result<Sent, String>>;
