//! The connection loop of one listener: connect, receive, send, detect silence, reconnect.
//! One task, one socket. The recorder of a room makes all decisions about its log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::backoff::Backoff;
use super::fetch::{self, Fetched};
use super::outbox::{DeadlineAction, Outgoing};
use super::outboxes::Outboxes;
use super::{Nodes, Observers, Order, Shared, lock};
use crate::client::socket::{self, Incoming};
use crate::history::What;
use crate::recorder::{Fill, Recorder};

mod hear;
mod line;

use line::ClientLine;

const PONG_PATIENCE: Duration = Duration::from_secs(5);
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
/// For this time before leaving no new message is sent, so that the current one can be answered.
const FINISHING: Duration = Duration::from_secs(1);

/// A room of this listener.
struct Room {
    recorder: Arc<Mutex<Recorder>>,
    /// Its history must be loaded before the join.
    load: bool,
    rejoin_at: Option<Instant>,
}

/// A request over HTTP.
#[derive(Clone)]
enum Wanted {
    Latest,
    Page(Fill),
}

/// Why the engine woke up.
enum Wake {
    Order(Option<Order>),
    Incoming(Incoming),
    Fetched(String, Wanted, Fetched),
    Time,
}

pub(super) struct Engine {
    user: String,
    nodes: Arc<Nodes>,
    gateway: usize,
    observers: Observers,
    shared: Arc<Shared>,
    rooms: HashMap<String, Room>,
    outboxes: Outboxes,
    fetches: JoinSet<(String, Wanted, Fetched)>,
    wanted: bool,
    line: Option<ClientLine>,
    backoff: Backoff,
    connect_at: Instant,
    /// The server drains: reconnect at this time, and start no new sends shortly before.
    draining: Option<Instant>,
    /// From when on (since 1970) messages are expected without delay.
    online_since: Option<Duration>,
    given_up: bool,
}

impl Engine {
    pub(super) fn new(
        user: &str,
        nodes: Arc<Nodes>,
        gateway: usize,
        observers: Observers,
        shared: Arc<Shared>,
    ) -> Engine {
        Engine {
            user: user.to_owned(),
            nodes,
            gateway,
            observers,
            shared,
            rooms: HashMap::new(),
            outboxes: Outboxes::default(),
            fetches: JoinSet::new(),
            wanted: false,
            line: None,
            backoff: Backoff::default(),
            connect_at: Instant::now(),
            draining: None,
            online_since: None,
            given_up: false,
        }
    }

    pub(super) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        while !self.given_up {
            if self.wanted && self.line.is_none() && self.connect_at <= Instant::now() {
                self.connect().await;
                continue;
            }
            match self.wake(&mut orders).await {
                Wake::Order(None) => return,
                Wake::Order(Some(order)) => self.obey(order).await,
                Wake::Incoming(Incoming::Text(text)) => self.hear(&text).await,
                Wake::Incoming(Incoming::Alive) => self.alive(),
                Wake::Incoming(Incoming::Closed(closed)) => self.closed(&closed),
                Wake::Fetched(room, wanted, fetched) => self.fetched(&room, wanted, fetched).await,
                Wake::Time => self.time().await,
            }
        }
    }

    async fn wake(&mut self, orders: &mut mpsc::UnboundedReceiver<Order>) -> Wake {
        let deadline = self.deadline();
        let far = Instant::now() + Duration::from_secs(3600);
        let incoming = async {
            match self.line.as_mut() {
                Some(line) => socket::next(&mut line.socket).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            order = orders.recv() => Wake::Order(order),
            incoming = incoming => Wake::Incoming(incoming),
            Some(Ok((room, wanted, fetched))) = self.fetches.join_next(), if !self.fetches.is_empty() => {
                Wake::Fetched(room, wanted, fetched)
            }
            () = sleep_until(deadline.unwrap_or(far)) => Wake::Time,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let Some(line) = &self.line else { return self.wanted.then_some(self.connect_at) };
        let silence = line.heartbeat + if line.pinged { PONG_PATIENCE } else { Duration::ZERO };
        let rejoins = self.rooms.values().filter_map(|room| room.rejoin_at);
        rejoins
            .chain([line.heard + silence])
            .chain(self.draining)
            .chain(self.outboxes.deadline(self.is_leaving()))
            .min()
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Online(wanted) => {
                if wanted != self.wanted {
                    self.online_since = None;
                    self.connect_at = Instant::now();
                }
                self.wanted = wanted;
                if !wanted && let Some(mut line) = self.hang_up() {
                    // If the server does not answer the close, the connection is dropped anyway.
                    let _ = timeout(CLOSE_PATIENCE, line.socket.close(None)).await;
                }
            }
            Order::Send(sending) => self.outboxes.push(*sending),
            Order::Join { room, recorder, load } => {
                self.rooms.insert(room.clone(), Room { recorder, load, rejoin_at: None });
                self.join(&room).await;
            }
        }
    }

    /// Joins at the cursor, or loads history first. Does nothing while offline, because connecting joins all rooms.
    async fn join(&mut self, name: &str) {
        let Some(room) = self.rooms.get_mut(name).filter(|_| self.line.is_some()) else { return };
        room.rejoin_at = None;
        let frame = {
            let mut recorder = lock(&room.recorder);
            if room.load && recorder.cursor().is_none() {
                None
            } else {
                recorder.joining();
                let mut frame = json!({ "type": "room:join", "ref": format!("j:{name}"), "room": name });
                if let Some(cursor) = recorder.cursor() {
                    frame["after"] = json!(cursor);
                }
                Some((frame.to_string(), recorder.cursor().cloned()))
            }
        };
        match frame {
            Some((frame, cursor)) => {
                self.note(name, What::Joining(cursor));
                self.send(&format!("j:{name}"), frame).await;
            }
            None => self.fetch(name, Wanted::Latest, Duration::ZERO),
        }
    }

    async fn send(&mut self, reference: &str, frame: String) {
        let Some(line) = self.line.as_mut() else { return };
        if !line.unanswered.insert(reference.to_owned()) {
            let again = format!("{reference} was asked again before its answer came");
            self.broken(again);
        }
        let Some(line) = self.line.as_mut() else { return };
        // The reading side reports a broken connection, with the reason.
        let _ = socket::send(&mut line.socket, Message::text(frame)).await;
    }

    fn fetch(&mut self, room: &str, wanted: Wanted, pause: Duration) {
        let (nodes, user, room) = (Arc::clone(&self.nodes), self.user.clone(), room.to_owned());
        self.fetches.spawn(async move {
            tokio::time::sleep(pause).await;
            let fetched = match &wanted {
                Wanted::Latest => fetch::latest(&nodes, &user, &room).await,
                Wanted::Page(fill) => fetch::events(&nodes, &user, &room, fill).await,
            };
            (room, wanted, fetched)
        });
    }

    /// Handles passed deadlines.
    async fn time(&mut self) {
        let now = Instant::now();
        let due = |at: &Instant| *at <= now;
        if self.draining.as_ref().is_some_and(due) {
            self.hang_up();
            self.draining = None;
            self.gateway += 1;
            self.connect_at = now;
            return;
        }
        if self.outboxes.deadline(self.is_leaving()).as_ref().is_some_and(due) && self.line.is_some() {
            match self.outboxes.on_deadline(self.is_leaving()) {
                Some(DeadlineAction::Send(Outgoing { frame, room, client_id, text, visible_to })) => {
                    self.note(&room, What::Sent { client_id, text, visible_to });
                    let reference = hear::reference(&frame);
                    self.send(&reference, frame).await;
                }
                Some(DeadlineAction::Unanswered) => {
                    self.broken("a send was not answered within 40 s".to_owned());
                    self.lost(Duration::ZERO);
                    return;
                }
                None => {}
            }
        }
        let rejoin = |(_, room): &(&String, &Room)| room.rejoin_at.as_ref().is_some_and(due);
        let rooms: Vec<String> = self.rooms.iter().filter(rejoin).map(|(name, _)| name.clone()).collect();
        for room in rooms {
            self.join(&room).await;
        }
        let Some(line) = self.line.as_mut() else { return };
        if line.pinged && line.heard + line.heartbeat + PONG_PATIENCE <= now {
            let pause = self.backoff.next();
            self.lost(pause);
        } else if !line.pinged && line.heard + line.heartbeat <= now {
            line.pinged = true;
            line.pings += 1;
            let reference = format!("p{}", line.pings);
            self.send(&reference, json!({ "type": "ping", "ref": reference }).to_string()).await;
        }
    }

    /// Whether a message that is sent now may be answered only after we have left.
    fn is_leaving(&self) -> bool {
        self.draining.is_some_and(|at| at <= Instant::now() + FINISHING)
    }

    /// Adds an entry to the history.
    fn note(&self, room: &str, what: What) {
        if let Some(history) = &self.observers.history {
            let connection = lock(&self.shared.state).connections.len() as u64;
            history.add(&self.user, connection, room, what);
        }
    }

    fn broken(&self, what: String) {
        lock(&self.shared.state).broken.push(what);
    }
}
