//! The connection loop of one listener: connect, receive, send, detect silence, reconnect.
//! The loop is one task with at most one socket. A room's recorder makes all decisions about the room's log.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::backoff::Backoff;
use super::fetch::{self, FetchResult};
use super::outbox::{DeadlineAction, Outgoing};
use super::outboxes::Outboxes;
use super::{ListenerCommand, Nodes, Observers, SharedState, lock};
use crate::client::socket::Incoming;
use crate::history::EntryKind;
use crate::recorder::{Fill, Recorder};

mod connection;
mod input;

use connection::Connection;

const PONG_TIMEOUT: Duration = Duration::from_secs(5);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// No new message is sent in this time before a planned reconnect, because its answer might come too late.
const NO_SEND_BEFORE_RECONNECT: Duration = Duration::from_secs(1);

/// A room of this listener.
struct Room {
    recorder: Arc<Mutex<Recorder>>,
    /// Whether the room's history must be loaded before the first join.
    load: bool,
    rejoin_at: Option<Instant>,
}

/// What a request over HTTP reads: the latest page of history, or a page that fills a gap.
#[derive(Clone)]
enum FetchTarget {
    Latest,
    Page(Fill),
}

/// Why the engine woke up.
enum Wake {
    Command(Option<ListenerCommand>),
    Incoming(Incoming),
    Fetched(String, FetchTarget, FetchResult),
    Time,
}

pub(super) struct Engine {
    user: String,
    nodes: Arc<Nodes>,
    gateway: usize,
    observers: Observers,
    shared: Arc<SharedState>,
    rooms: HashMap<String, Room>,
    outboxes: Outboxes,
    fetches: JoinSet<(String, FetchTarget, FetchResult)>,
    wanted: bool,
    connection: Option<Connection>,
    backoff: Backoff,
    connect_at: Instant,
    /// The time of the planned reconnect, because the server drains.
    draining: Option<Instant>,
    /// Latencies are reported only for messages that were created after this time since 1970. `None`: latencies are not
    /// reported yet.
    online_since: Option<Duration>,
    given_up: bool,
}

impl Engine {
    pub(super) fn new(
        user: &str,
        nodes: Arc<Nodes>,
        gateway: usize,
        observers: Observers,
        shared: Arc<SharedState>,
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
            connection: None,
            backoff: Backoff::default(),
            connect_at: Instant::now(),
            draining: None,
            online_since: None,
            given_up: false,
        }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<ListenerCommand>) {
        while !self.given_up {
            if self.wanted && self.connection.is_none() && self.connect_at <= Instant::now() {
                self.connect().await;
                continue;
            }
            match self.wait_for_wake(&mut commands).await {
                Wake::Command(None) => return,
                Wake::Command(Some(command)) => self.execute(command).await,
                Wake::Incoming(Incoming::Text(text)) => self.handle_text(&text).await,
                Wake::Incoming(Incoming::Alive) => self.mark_alive(),
                Wake::Incoming(Incoming::Closed(closed)) => self.handle_close(&closed),
                Wake::Fetched(room, wanted, fetched) => self.handle_fetched(&room, wanted, fetched).await,
                Wake::Time => self.handle_deadlines().await,
            }
        }
    }

    async fn wait_for_wake(&mut self, commands: &mut mpsc::UnboundedReceiver<ListenerCommand>) -> Wake {
        let deadline = self.deadline();
        let far = Instant::now() + Duration::from_secs(3600);
        let incoming = async {
            match self.connection.as_mut() {
                Some(connection) => connection.socket.next_message().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            command = commands.recv() => Wake::Command(command),
            incoming = incoming => Wake::Incoming(incoming),
            Some(Ok((room, wanted, fetched))) = self.fetches.join_next(), if !self.fetches.is_empty() => {
                Wake::Fetched(room, wanted, fetched)
            }
            () = sleep_until(deadline.unwrap_or(far)) => Wake::Time,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let Some(connection) = &self.connection else { return self.wanted.then_some(self.connect_at) };
        let silence = connection.heartbeat + if connection.pinged { PONG_TIMEOUT } else { Duration::ZERO };
        let rejoins = self.rooms.values().filter_map(|room| room.rejoin_at);
        rejoins
            .chain([connection.last_heard + silence])
            .chain(self.draining)
            .chain(self.outboxes.deadline(self.is_leaving()))
            .min()
    }

    async fn execute(&mut self, command: ListenerCommand) {
        match command {
            ListenerCommand::Online(wanted) => {
                if wanted != self.wanted {
                    self.online_since = None;
                    self.connect_at = Instant::now();
                }
                self.wanted = wanted;
                if !wanted && let Some(mut connection) = self.disconnect() {
                    // If the server does not answer the close, the connection is dropped anyway.
                    let _ = timeout(CLOSE_TIMEOUT, connection.socket.close()).await;
                }
            }
            ListenerCommand::Send(sending) => self.outboxes.push(*sending),
            ListenerCommand::Join { room, recorder, load } => {
                self.rooms.insert(room.clone(), Room { recorder, load, rejoin_at: None });
                self.join(&room).await;
            }
        }
    }

    /// Joins at the cursor, or loads history first. Does nothing while offline, because connecting joins all rooms.
    async fn join(&mut self, name: &str) {
        let Some(room) = self.rooms.get_mut(name).filter(|_| self.connection.is_some()) else { return };
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
                self.add_entry(name, EntryKind::Joining(cursor));
                self.send(&format!("j:{name}"), frame).await;
            }
            None => self.fetch(name, FetchTarget::Latest, Duration::ZERO),
        }
    }

    async fn send(&mut self, reference: &str, frame: String) {
        let Some(connection) = self.connection.as_mut() else { return };
        if !connection.unanswered.insert(reference.to_owned()) {
            let again = format!("{reference} was asked again before its answer came");
            self.report_violation(again);
        }
        let Some(connection) = self.connection.as_mut() else { return };
        // Reading from the connection reports its end, with the reason.
        let _ = connection.socket.send(frame).await;
    }

    fn fetch(&mut self, room: &str, wanted: FetchTarget, pause: Duration) {
        let (nodes, user, room) = (Arc::clone(&self.nodes), self.user.clone(), room.to_owned());
        self.fetches.spawn(async move {
            tokio::time::sleep(pause).await;
            let fetched = match &wanted {
                FetchTarget::Latest => fetch::fetch_latest_page(&nodes, &user, &room).await,
                FetchTarget::Page(fill) => fetch::fetch_events(&nodes, &user, &room, fill).await,
            };
            (room, wanted, fetched)
        });
    }

    /// Acts on all deadlines that have passed.
    async fn handle_deadlines(&mut self) {
        let now = Instant::now();
        let due = |at: &Instant| *at <= now;
        if self.draining.as_ref().is_some_and(due) {
            self.disconnect();
            self.draining = None;
            self.gateway += 1;
            self.connect_at = now;
            return;
        }
        if self.outboxes.deadline(self.is_leaving()).as_ref().is_some_and(due) && self.connection.is_some() {
            match self.outboxes.on_deadline(self.is_leaving()) {
                Some(DeadlineAction::Send(Outgoing {
                    frame,
                    room,
                    client_id,
                    text,
                    visible_to,
                    attempt,
                })) => {
                    self.add_entry(&room, EntryKind::Sent { client_id, text, visible_to, attempt });
                    let reference = input::reference_of(&frame);
                    self.send(&reference, frame).await;
                }
                Some(DeadlineAction::Unanswered) => {
                    self.report_violation("a send was not answered within 40 s".to_owned());
                    self.reconnect_after(Duration::ZERO);
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
        let Some(connection) = self.connection.as_mut() else { return };
        if connection.pinged && connection.last_heard + connection.heartbeat + PONG_TIMEOUT <= now {
            let pause = self.backoff.next_pause();
            self.reconnect_after(pause);
        } else if !connection.pinged && connection.last_heard + connection.heartbeat <= now {
            connection.pinged = true;
            connection.pings += 1;
            let reference = format!("p{}", connection.pings);
            self.send(&reference, json!({ "type": "ping", "ref": reference }).to_string()).await;
        }
    }

    /// Whether a planned reconnect is nearer than [`NO_SEND_BEFORE_RECONNECT`].
    fn is_leaving(&self) -> bool {
        self.draining.is_some_and(|at| at <= Instant::now() + NO_SEND_BEFORE_RECONNECT)
    }

    /// Adds an entry to the history.
    fn add_entry(&self, room: &str, what: EntryKind) {
        if let Some(history) = &self.observers.history {
            let connection = lock(&self.shared.state).connections.len() as u64;
            history.add(&self.user, connection, room, what);
        }
    }

    fn report_violation(&self, what: String) {
        lock(&self.shared.state).violations.push(what);
    }
}
