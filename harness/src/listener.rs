//! A long-lived client: it always reconnects, keeps a cursor per room, and follows all rules of PROTOCOL.md for gaps,
//! loading, sending and reconnecting. Touches gateways over WebSocket and persistence over HTTP. Its records contain
//! everything that the server did, right or wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::frames::Cursor;
use crate::history::History;
use crate::recorder::{Interner, Recorder};

mod backoff;
mod engine;
mod fetch;
mod outbox;
mod outboxes;

/// A day, so that nodes whose clocks are an hour ahead accept the tokens too.
pub(crate) const TOKEN_TTL_S: i64 = 24 * 3600;

/// Where the nodes are, and how to get a token.
#[derive(Debug, Clone)]
pub struct Nodes {
    /// WebSocket URLs of the gateways.
    pub gateways: Vec<String>,
    /// URLs of the persistence nodes.
    pub persistence: Vec<String>,
    /// The secret that signs tokens.
    pub jwt_secret: String,
    /// Connections to persistence that all listeners share.
    pub http: reqwest::Client,
}

impl Nodes {
    /// The nodes of a test's stack.
    pub fn of(stack: &crate::Stack) -> Nodes {
        Nodes {
            gateways: stack.gateways().iter().map(crate::Node::ws).collect(),
            persistence: stack.persistence_nodes().iter().map(crate::Node::url).collect(),
            jwt_secret: stack.jwt_secret().to_owned(),
            http: crate::http::client(),
        }
    }
}

/// How to start with a room without a cursor.
#[derive(Debug, Clone)]
pub enum Begin {
    /// Everything after this cursor (such as the `head` of the answer that created the room).
    At(Cursor),
    /// The latest page of history, then the events after it.
    Load,
    /// Only new events.
    Head,
}

/// A message that was sent and stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The client id it was sent with.
    pub client_id: String,
    /// Its place in the log.
    pub seq: u64,
    /// Message id.
    pub id: String,
    /// How often it was sent until `stored` came.
    pub attempts: u32,
    /// From the first attempt to `stored`.
    pub took: Duration,
}

/// Called with the latency of each message (see [`crate::clock`]) that was sent while its listener wanted to be online.
/// Replay after a lost connection counts; messages from before the listener came do not.
pub type LatencyObserver = Arc<dyn Fn(Duration) + Send + Sync>;

/// Options of a sent message.
#[derive(Debug, Clone, Default)]
pub struct SendOptions {
    /// For these users only; empty: for all.
    pub visible_to: Vec<String>,
    /// The answer `accepted` is enough.
    pub accepted: bool,
}

/// The observers of a listener.
#[derive(Default)]
struct Observers {
    on_latency: Option<LatencyObserver>,
    history: Option<History>,
}

enum Order {
    Online(bool),
    Join { room: String, recorder: Arc<Mutex<Recorder>>, load: bool },
    Send(Box<outbox::Sending>),
}

#[derive(Default)]
struct Shared {
    rooms: Mutex<HashMap<String, Arc<Mutex<Recorder>>>>,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Default)]
struct State {
    connections: Vec<Instant>,
    wanted: bool,
    connected: bool,
    failed: Option<String>,
    broken: Vec<String>,
    errors: Vec<String>,
    turned_away: Vec<String>,
    unsound: Vec<String>,
}

/// See the module.
pub struct Listener {
    orders: mpsc::UnboundedSender<Order>,
    shared: Arc<Shared>,
    engine: JoinHandle<()>,
}

impl Listener {
    /// A listener that prefers the gateway of this number; offline until [`Listener::online`].
    pub fn new(
        user: &str,
        nodes: Arc<Nodes>,
        gateway: usize,
        on_latency: Option<LatencyObserver>,
    ) -> Listener {
        Self::begin(user, nodes, gateway, Observers { on_latency, history: None })
    }

    /// Like [`Listener::new`], and records everything in the history.
    pub fn recorded(user: &str, nodes: Arc<Nodes>, gateway: usize, history: History) -> Listener {
        Self::begin(user, nodes, gateway, Observers { on_latency: None, history: Some(history) })
    }

    fn begin(user: &str, nodes: Arc<Nodes>, gateway: usize, observers: Observers) -> Listener {
        let (orders, incoming) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        let engine = engine::Engine::new(user, nodes, gateway, observers, Arc::clone(&shared));
        Listener { orders, shared, engine: tokio::spawn(engine.run(incoming)) }
    }

    /// Connects, and reconnects whenever the connection is lost.
    pub fn online(&self) {
        lock(&self.shared.state).wanted = true;
        self.order(Order::Online(true));
    }

    /// Disconnects and stays offline; keeps the cursors.
    pub fn offline(&self) {
        lock(&self.shared.state).wanted = false;
        self.order(Order::Online(false));
    }

    /// Listens to a room whenever it is online; `interner` shares equal messages.
    pub fn join(&self, room: &str, begin: Begin, interner: Arc<Interner>) {
        let mut recorder = Recorder::new(room, interner);
        let load = matches!(begin, Begin::Load);
        if let Begin::At(cursor) = begin {
            recorder.begin(cursor);
        }
        let recorder = Arc::new(Mutex::new(recorder));
        lock(&self.shared.rooms).insert(room.to_owned(), Arc::clone(&recorder));
        self.order(Order::Join { room: room.to_owned(), recorder, load });
    }

    /// Sends a message, and repeats it until it is stored, one message after the other, whether online or offline.
    ///
    /// # Errors
    /// When the server refuses it finally; says why.
    pub async fn send(&self, room: &str, text: &str) -> Result<Sent, String> {
        self.send_as(room, text, SendOptions::default()).await
    }

    /// Like [`Listener::send`], with an audience, or with `accepted` as the wanted answer.
    ///
    /// # Errors
    /// As [`Listener::send`].
    pub async fn send_as(&self, room: &str, text: &str, options: SendOptions) -> Result<Sent, String> {
        let (sending, stored) = outbox::Sending::new(room, text, options);
        self.order(Order::Send(Box::new(sending)));
        stored.await.unwrap_or_else(|_| Err(self.failed().unwrap_or_else(|| "stopped".to_owned())))
    }

    /// The record of a room; `None`: it was never joined.
    pub fn record(&self, room: &str) -> Option<Arc<Mutex<Recorder>>> {
        lock(&self.shared.rooms).get(room).cloned()
    }

    /// Its cursor in a room.
    pub fn cursor(&self, room: &str) -> Option<Cursor> {
        lock(&*self.record(room)?).cursor().cloned()
    }

    /// Whether its cursor in a room has reached this seq.
    pub fn is_at(&self, room: &str, seq: u64) -> bool {
        self.cursor(room).is_some_and(|cursor| cursor.seq >= seq)
    }

    /// Whether it is connected.
    pub fn is_connected(&self) -> bool {
        lock(&self.shared.state).connected
    }

    /// Whether the last order was to be online.
    pub fn is_wanted_online(&self) -> bool {
        lock(&self.shared.state).wanted
    }

    /// How often it connected.
    pub fn connections(&self) -> u64 {
        lock(&self.shared.state).connections.len() as u64
    }

    /// When each of its connections was opened.
    pub fn connected_at(&self) -> Vec<Instant> {
        lock(&self.shared.state).connections.clone()
    }

    /// Error answers to its commands, including temporary ones.
    pub fn errors(&self) -> Vec<String> {
        lock(&self.shared.state).errors.clone()
    }

    /// Why attempts to connect failed.
    pub fn turned_away(&self) -> Vec<String> {
        lock(&self.shared.state).turned_away.clone()
    }

    /// Why it has stopped, if so: an error after which a client may not repeat the same request.
    pub fn failed(&self) -> Option<String> {
        lock(&self.shared.state).failed.clone()
    }

    /// Rules of the connection (not of a room's log) that the server broke.
    pub fn broken_rules(&self) -> Vec<String> {
        lock(&self.shared.state).broken.clone()
    }

    /// Internal errors that the server reported; no injected fault excuses them.
    pub fn unsound(&self) -> Vec<String> {
        lock(&self.shared.state).unsound.clone()
    }

    fn order(&self, order: Order) {
        // If the engine has stopped, `failed` says why, and pending sends fail.
        let _ = self.orders.send(order);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.engine.abort();
    }
}

/// Ignores poisoned locks, because records are only read to be shown.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Stored = oneshot::Receiver<Result<Sent, String>>;
