//! Users who send all the time, to all members or to one, and wait for `stored` or `accepted`. Sometimes they edit,
//! react and delete. Each user is in all rooms, so that the views of all users can be compared. A third of the users are
//! Socket.IO clients, with each transport in turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::interval;

use super::misbehaving::GHOST_USER;
use super::{Plan, World};
use crate::frames::Cursor;
use crate::history::{ChangeRequests, History};
use crate::http::Http;
use crate::listener::{Begin, Listener, Nodes, SendOptions, TOKEN_TTL_S, lock};
use crate::play::history::{create_room, read_head};
use crate::recorder::Interner;
use crate::socket_io::SocketIoTransport;
use crate::token::Token;

mod changing;

use changing::ChangeIntent;

pub(super) const ROOMS: usize = 5;
/// Number of users. Every user is in every room.
const USERS: usize = 12;
/// One user in this many is a Socket.IO client.
const USERS_PER_SOCKET_IO_USER: usize = 3;
/// Number of users who only listen.
const SILENT_USERS: usize = 2;
const FLOWING_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit of the unanswered messages of one user.
const MAX_UNANSWERED: usize = 100;
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// A user with a connection.
pub(super) struct LoadUser {
    pub name: String,
    pub listener: Listener,
}

/// The users of a run, and their rooms.
pub(super) struct Load {
    people: Vec<Arc<LoadUser>>,
    rooms: Vec<String>,
    speaker_tasks: JoinSet<Result<()>>,
    stop: Arc<AtomicBool>,
    answered_messages: Arc<AtomicU64>,
    failed: Arc<std::sync::Mutex<Vec<String>>>,
    internal_errors: Arc<std::sync::Mutex<Vec<String>>>,
    changes: ChangeRequests,
    nodes: Arc<Nodes>,
}

impl Load {
    pub async fn start(world: &World, plan: &Plan, history: History) -> Result<Load> {
        let nodes = Arc::new(world.nodes());
        let names: Vec<String> = (0..USERS).map(|number| format!("p{number}")).collect();
        let http = http_clients(&nodes, &names[0]);
        let mut rooms: Vec<(String, Cursor)> = Vec::with_capacity(ROOMS);
        for room in 0..ROOMS {
            let others = names[1..].iter().map(String::as_str).chain([GHOST_USER]);
            let members = others.map(|name| json!({ "user": name, "role": "member" })).collect();
            rooms.push(create_room(&http, &format!("room {room}"), members).await?);
        }
        let interner = Arc::new(Interner::default());
        let mut people = Vec::with_capacity(USERS);
        for (number, name) in names.iter().enumerate() {
            let nodes = Arc::new(Nodes { socket_io: transport_of(number), ..Nodes::clone(&nodes) });
            let listener = Listener::recorded(name, nodes, number, history.clone());
            for (room, head) in &rooms {
                listener.join(room, Begin::At(head.clone()), Arc::clone(&interner));
            }
            listener.online();
            people.push(Arc::new(LoadUser { name: name.clone(), listener }));
        }
        let rooms: Vec<String> = rooms.into_iter().map(|(room, _)| room).collect();
        let mut load = Load {
            people,
            rooms,
            speaker_tasks: JoinSet::new(),
            stop: Arc::default(),
            answered_messages: Arc::default(),
            failed: Arc::default(),
            internal_errors: Arc::default(),
            changes: ChangeRequests::default(),
            nodes,
        };
        load.spawn_speakers(plan);
        Ok(load)
    }

    fn spawn_speakers(&mut self, plan: &Plan) {
        let speakers = USERS - SILENT_USERS;
        let pace = Duration::from_secs_f64(speakers as f64 / f64::from(plan.rate.max(1)));
        for (number, person) in self.people.iter().take(speakers).enumerate() {
            let speaker = Speaker {
                person: Arc::clone(person),
                others: self.people.iter().map(|person| person.name.clone()).collect(),
                rooms: self.rooms.clone(),
                stop: Arc::clone(&self.stop),
                answered_messages: Arc::clone(&self.answered_messages),
                failed: Arc::clone(&self.failed),
                internal_errors: Arc::clone(&self.internal_errors),
                changes: self.changes.clone(),
                nodes: Arc::clone(&self.nodes),
            };
            let rng = StdRng::seed_from_u64(plan.seed.wrapping_mul(1000) + number as u64);
            self.speaker_tasks.spawn(speaker.send_messages(pace, rng));
        }
    }

    pub fn rooms(&self) -> &[String] {
        &self.rooms
    }

    /// The users, all of whom are in every room. The last ones send nothing by themselves.
    pub fn people(&self) -> &[Arc<LoadUser>] {
        &self.people
    }

    /// Waits until 100 messages have been answered.
    pub async fn wait_until_flowing(&self) -> Result<()> {
        let begun = Instant::now();
        while self.answered_messages.load(Ordering::Relaxed) < 100 {
            ensure!(begun.elapsed() < FLOWING_TIMEOUT, "nothing flows: {}", self.describe_listeners());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Stops sending, and waits until all sent messages are answered.
    pub async fn finish(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(spoke) = self.speaker_tasks.join_next().await {
            spoke.context("a speaker")??;
        }
        Ok(())
    }

    /// Sends a last message that everybody may see to each room. Waits until every listener has it, and repeats this
    /// until nothing comes after it. Other events do not show whether a listener is complete, because it may not see
    /// them.
    pub async fn wait_until_caught_up(&self, world: &World) -> Result<()> {
        let speaker = &self.people[0].listener;
        loop {
            for room in &self.rooms {
                let sent = speaker.send_as(room, "the end", SendOptions::default()).await;
                let end = sent.map_err(|why| anyhow!("the end could not be sent: {why}"))?.seq;
                while self.people.iter().any(|person| !person.listener.is_at(room, end)) {
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            }
            if self.count_unsettled(world).await? == 0 {
                return Ok(());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Counts the events after the last message that [`Load::wait_until_caught_up`] sent to each room, the voids that
    /// are not published yet, and the records that are not stored yet.
    async fn count_unsettled(&self, world: &World) -> Result<u64> {
        let unsettled_sql = "SELECT (SELECT sum(head_seq - (SELECT max(seq) FROM messages m \
              WHERE m.room_id = r.id AND content = 'the end')) FROM rooms r) \
            + (SELECT count(*) FROM events WHERE type = 'void' AND void_told = false)";
        let stored: u64 = world.stack.database().value(unsettled_sql).await?.parse().context("how many")?;
        Ok(stored + self.count_backlog(world).await?)
    }

    /// Number of records in Redis that are not stored yet.
    async fn count_backlog(&self, world: &World) -> Result<u64> {
        let mut ahead = 0;
        for room in &self.rooms {
            let page = http_clients(&self.nodes, &self.people[0].name);
            let stored = read_head(&page, room).await?;
            let partition: u64 = world
                .stack
                .database()
                .value(&format!("SELECT partition FROM rooms WHERE id = '{room}'"))
                .await?
                .parse()?;
            let key = format!("{{{partition:02}}}:room:{room}");
            let ahead_at: Option<u64> = world.command(redis::cmd("HGET").arg(key).arg("seq")).await?;
            ahead += ahead_at.unwrap_or_default().saturating_sub(stored);
        }
        Ok(ahead)
    }

    /// Errors that clients report. Violations that the history shows are not included.
    pub fn client_errors(&self) -> Vec<String> {
        let mut errors = lock(&self.failed).clone();
        for person in &self.people {
            let name = &person.name;
            errors.extend(person.listener.failed().map(|why| format!("{name} gave up: {why}")));
            errors.extend(person.listener.broken_rules().into_iter().map(|what| format!("{name}: {what}")));
        }
        errors
    }

    /// Descriptions of the answers by which services reported an internal error.
    pub fn internal_errors(&self) -> Vec<String> {
        let mut internal_errors = lock(&self.internal_errors).clone();
        for person in &self.people {
            let reported = person.listener.internal_errors().into_iter();
            internal_errors.extend(reported.map(|what| format!("{}: {what}", person.name)));
        }
        internal_errors
    }

    /// The requested changes of messages.
    pub fn changes(&self) -> &ChangeRequests {
        &self.changes
    }

    /// Number of messages that have the answer that their senders requested, `stored` or `accepted`.
    pub fn answered_count(&self) -> u64 {
        self.answered_messages.load(Ordering::Relaxed)
    }

    /// Describes the connections and cursors of all listeners.
    pub fn describe_listeners(&self) -> String {
        let state = |person: &Arc<LoadUser>| {
            let at: Vec<String> = self
                .rooms
                .iter()
                .map(|room| {
                    person
                        .listener
                        .cursor(room)
                        .map_or("-".to_owned(), |cursor| format!("{}:{}", cursor.epoch, cursor.seq))
                })
                .collect();
            format!(
                "{} {} {}",
                person.name,
                if person.listener.is_connected() { "on" } else { "off" },
                at.join(" ")
            )
        };
        self.people.iter().map(state).collect::<Vec<_>>().join("; ")
    }
}

#[derive(Clone)]
struct Speaker {
    person: Arc<LoadUser>,
    others: Vec<String>,
    rooms: Vec<String>,
    stop: Arc<AtomicBool>,
    answered_messages: Arc<AtomicU64>,
    failed: Arc<std::sync::Mutex<Vec<String>>>,
    internal_errors: Arc<std::sync::Mutex<Vec<String>>>,
    changes: ChangeRequests,
    nodes: Arc<Nodes>,
}

impl Speaker {
    /// Sends a message in each interval of `pace`. With [`MAX_UNANSWERED`] unanswered messages it waits for an answer,
    /// and then sends the messages of the missed intervals at once.
    async fn send_messages(self, pace: Duration, mut rng: StdRng) -> Result<()> {
        let mut tick = interval(pace);
        let mut sending = JoinSet::new();
        let mut said = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            tick.tick().await;
            while sending.len() >= MAX_UNANSWERED {
                sending.join_next().await;
            }
            while sending.try_join_next().is_some() {}
            said += 1;
            let room = self.rooms[rng.random_range(0..self.rooms.len())].clone();
            let mut options = SendOptions { accepted: rng.random_ratio(1, 4), ..SendOptions::default() };
            if rng.random_ratio(1, 6) {
                options.visible_to = vec![self.others[rng.random_range(0..self.others.len())].clone()];
            }
            let change =
                (!options.accepted && rng.random_ratio(1, 20)).then(|| ChangeIntent::random(&mut rng));
            let text = format!("{} says {said} in {room}", self.person.name);
            sending.spawn(self.clone().send(room, text, options, change));
        }
        sending.join_all().await;
        Ok(())
    }

    async fn send(self, room: String, text: String, options: SendOptions, change: Option<ChangeIntent>) {
        match self.person.listener.send_as(&room, &text, options).await {
            Ok(sent) => {
                self.answered_messages.fetch_add(1, Ordering::Relaxed);
                if let Some(change) = change {
                    self.change(&room, &sent, change).await;
                }
            }
            Err(why) => lock(&self.failed).push(format!("{} could not send: {why}", self.person.name)),
        }
    }
}

/// The transport of the user with this number, if the user is a Socket.IO client.
fn transport_of(number: usize) -> Option<SocketIoTransport> {
    let is_socket_io_user = number % USERS_PER_SOCKET_IO_USER == USERS_PER_SOCKET_IO_USER - 1;
    let transports = SocketIoTransport::ALL;
    is_socket_io_user.then(|| transports[number / USERS_PER_SOCKET_IO_USER % transports.len()])
}

fn http_clients(nodes: &Nodes, user: &str) -> Vec<Http> {
    let token = Token::of(user).ttl_s(TOKEN_TTL_S).sign(&nodes.jwt_secret);
    nodes.persistence.iter().map(|base| Http::sharing(nodes.http.clone(), base, &token)).collect()
}
