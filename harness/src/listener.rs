//! A person who stays: one connection that is renewed for ever, a cursor per room, every rule of
//! PROTOCOL.md for gaps, loading, sending and reconnecting. Touches gateways over WebSocket and
//! persistence over HTTP. Promises that its records show everything the server did, right or wrong.

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

/// A day: a node whose clock is an hour ahead takes them as well.
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
    /// Those of a test's stack.
    pub fn of(stack: &crate::Stack) -> Nodes {
        Nodes {
            gateways: stack.gateways().iter().map(crate::Node::ws).collect(),
            persistence: stack.persistence_nodes().iter().map(crate::Node::url).collect(),
            jwt_secret: stack.jwt_secret().to_owned(),
            http: crate::http::client(),
        }
    }
}

/// How a room is taken up when no cursor of it is held yet.
#[derive(Debug, Clone)]
pub enum Begin {
    /// Everything after this cursor (such as the `head` of the answer that created the room).
    At(Cursor),
    /// The latest page of history first, then what follows it.
    Load,
    /// Only what comes from now on.
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

/// Hears how long a message of ours (see [`crate::clock`]) was under way, when it was sent while its
/// listener meant to be online: replay after a loss counts, what was said before one came does not.
pub type Hearing = Arc<dyn Fn(Duration) + Send + Sync>;

/// How a message is sent.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// For these users only; empty: for all.
    pub visible_to: Vec<String>,
    /// The answer `accepted` is enough.
    pub accepted: bool,
}

/// Who is told of what happens.
#[derive(Default)]
struct Taps {
    hearing: Option<Hearing>,
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

/// One person.
pub struct Listener {
    orders: mpsc::UnboundedSender<Order>,
    shared: Arc<Shared>,
    engine: JoinHandle<()>,
}

impl Listener {
    /// A person who prefers the gateway of this number; offline until [`Listener::online`].
    pub fn new(user: &str, nodes: Arc<Nodes>, gateway: usize, hearing: Option<Hearing>) -> Listener {
        Self::begin(user, nodes, gateway, Taps { hearing, history: None })
    }

    /// As [`Listener::new`], with all that it does and is told written down.
    pub fn recorded(user: &str, nodes: Arc<Nodes>, gateway: usize, history: History) -> Listener {
        Self::begin(user, nodes, gateway, Taps { hearing: None, history: Some(history) })
    }

    fn begin(user: &str, nodes: Arc<Nodes>, gateway: usize, taps: Taps) -> Listener {
        let (orders, incoming) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        let engine = engine::Engine::new(user, nodes, gateway, taps, Arc::clone(&shared));
        Listener { orders, shared, engine: tokio::spawn(engine.run(incoming)) }
    }

    /// Connects, and connects again whenever the connection is lost.
    pub fn online(&self) {
        lock(&self.shared.state).wanted = true;
        self.order(Order::Online(true));
    }

    /// Disconnects and stays away; cursors are kept.
    pub fn offline(&self) {
        lock(&self.shared.state).wanted = false;
        self.order(Order::Online(false));
    }

    /// Listens to a room whenever online; what is received is compared and shared through `interner`.
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

    /// Sends a message and tries until it is stored, one message after the other, offline or not.
    ///
    /// # Errors
    /// When the server refuses it for good; says why.
    pub async fn send(&self, room: &str, text: &str) -> Result<Sent, String> {
        self.send_as(room, text, Manner::default()).await
    }

    /// As [`Listener::send`], for some only, or content with `accepted`.
    ///
    /// # Errors
    /// As [`Listener::send`].
    pub async fn send_as(&self, room: &str, text: &str, manner: Manner) -> Result<Sent, String> {
        let (sending, stored) = outbox::Sending::new(room, text, manner);
        self.order(Order::Send(Box::new(sending)));
        stored.await.unwrap_or_else(|_| Err(self.failed().unwrap_or_else(|| "stopped".to_owned())))
    }

    /// What was recorded of a room; `None` when it was never joined.
    pub fn record(&self, room: &str) -> Option<Arc<Mutex<Recorder>>> {
        lock(&self.shared.rooms).get(room).cloned()
    }

    /// Where it stands in a room.
    pub fn cursor(&self, room: &str) -> Option<Cursor> {
        lock(&*self.record(room)?).cursor().cloned()
    }

    /// Whether it stands at that place of a room, or further.
    pub fn is_at(&self, room: &str, seq: u64) -> bool {
        self.cursor(room).is_some_and(|cursor| cursor.seq >= seq)
    }

    /// Whether a connection stands.
    pub fn is_connected(&self) -> bool {
        lock(&self.shared.state).connected
    }

    /// Whether it was last told to be online.
    pub fn is_wanted_online(&self) -> bool {
        lock(&self.shared.state).wanted
    }

    /// How often it connected.
    pub fn connections(&self) -> u64 {
        lock(&self.shared.state).connections.len() as u64
    }

    /// When each of its connections stood.
    pub fn connected_at(&self) -> Vec<Instant> {
        lock(&self.shared.state).connections.clone()
    }

    /// Errors that its commands were answered with, also those that passed.
    pub fn errors(&self) -> Vec<String> {
        lock(&self.shared.state).errors.clone()
    }

    /// Why attempts to connect failed.
    pub fn turned_away(&self) -> Vec<String> {
        lock(&self.shared.state).turned_away.clone()
    }

    /// Why it gave up, if it did: something no client may repeat unchanged.
    pub fn failed(&self) -> Option<String> {
        lock(&self.shared.state).failed.clone()
    }

    /// Rules of the connection (not of a room's log) that the server broke.
    pub fn broken_rules(&self) -> Vec<String> {
        lock(&self.shared.state).broken.clone()
    }

    /// Where the server said that it failed inside, which no fault around it is an excuse for.
    pub fn unsound(&self) -> Vec<String> {
        lock(&self.shared.state).unsound.clone()
    }

    fn order(&self, order: Order) {
        // When the engine has given up, `failed` says why, and what was sent ends with that.
        let _ = self.orders.send(order);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.engine.abort();
    }
}

/// A lock that a panicking thread held is as good as any: records are read only to be shown.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Stored = oneshot::Receiver<Result<Sent, String>>;
