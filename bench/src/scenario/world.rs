//! A server with rooms and their users, and the load generator with the users' clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{Http, Stack, Token};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::subject::Subject;
use crate::load::{Load, Person, Tally, Work};
use crate::peers::{Running, Setting, others, tidings};
use crate::processes::{self, Cpu, Process};
use crate::results::Scenario;

/// Members with which a room is created; the others are added one by one.
const CREATED_WITH: usize = 1000;
const AT_ONCE: usize = 32;
const TOKEN_TTL_S: i64 = 24 * 3600;
/// The metric: number of rooms that are due to be indexed.
const ROOMS_WAITING: &str = "tidings_persistence_search_rooms_waiting ";
/// Pause between two reads of the metric. It is longer than a complete block waits until it is due.
const INDEX_POLL_INTERVAL: Duration = Duration::from_millis(1300);
/// After this time the run fails.
const INDEX_TIMEOUT: Duration = Duration::from_secs(120);
const ENTERING_AT_ONCE: usize = 128;
const ENTER_PATIENCE: Duration = Duration::from_secs(180);

/// See the module.
pub struct World {
    pub running: Running,
    /// The whole system; only for Tidings.
    pub stack: Option<Arc<Stack>>,
    pub rooms: Vec<String>,
    pub load: Load,
    /// How many clients were connected after the last `enter`.
    entered: usize,
}

/// The cost of a phase of load.
pub struct Phase {
    pub tally: Tally,
    pub cpu: Cpu,
    /// Clients that are not connected any more; with fewer clients a figure is not valid.
    pub gone: usize,
}

impl World {
    /// Starts a server; `members` are the users (by number) of each room.
    ///
    /// # Errors
    /// When something does not start, or a room is refused.
    pub async fn raise(
        subject: &Subject,
        setting: &Setting,
        members: &[Vec<u32>],
        settings: &[(&str, String)],
    ) -> Result<World> {
        let (running, stack, rooms) = match subject {
            Subject::Tidings => {
                let (running, stack) = tidings::start(setting, settings).await?;
                let rooms = create_rooms(&stack, members).await?;
                (running, Some(stack), rooms)
            }
            Subject::Other(other) => (others::start(other, setting).await?, None, names(members.len())),
            Subject::Described { file, .. } => {
                let other = others::Other::Described(file.clone());
                (others::start(&other, setting).await?, None, names(members.len()))
            }
        };
        let load = Load::new(running.dialect.clone(), rooms.clone())?;
        Ok(World { running, stack, rooms, load, entered: 0 })
    }

    /// A user on a node, with these rooms.
    #[must_use]
    pub fn person(&self, number: u32, node: usize, rooms: Vec<u32>) -> Person {
        let user = user(number);
        let token = Token::of(&user).ttl_s(TOKEN_TTL_S).sign(&self.running.jwt_secret);
        let node = self.running.nodes[node % self.running.nodes.len()];
        Person { node, user, token, rooms, joins: None, timed: true, receive_buffer: None }
    }

    /// Connects these users.
    ///
    /// # Errors
    /// When one is refused.
    pub fn enter(&mut self, people: Vec<Person>) -> Result<Phase> {
        self.enter_at_once(people, ENTERING_AT_ONCE)
    }

    /// Connects these users, with this many concurrent handshakes.
    ///
    /// # Errors
    /// When one is refused.
    pub fn enter_at_once(&mut self, people: Vec<Person>, at_once: usize) -> Result<Phase> {
        let before = self.cpu()?;
        let tally = tokio::task::block_in_place(|| self.load.enter(people, at_once, ENTER_PATIENCE))?;
        self.entered = self.load.standing();
        Ok(Phase { tally, cpu: self.cpu()?.since(&before), gone: 0 })
    }

    /// Does some work, and measures its cost in the servers.
    ///
    /// # Errors
    /// When the load generator fails.
    pub fn work(&mut self, work: &Work) -> Result<Phase> {
        let before = self.cpu()?;
        let tally = tokio::task::block_in_place(|| self.load.run(work))?;
        let gone = self.entered.saturating_sub(self.load.standing());
        if !matches!(work, Work::Listen(_)) {
            self.until_indexed()?;
        }
        Ok(Phase { tally, cpu: self.cpu()?.since(&before), gone })
    }

    /// Waits until Tidings has indexed the stored messages that are due, because this is part of their cost. Blocks that
    /// are not complete are due later than a run lasts.
    fn until_indexed(&mut self) -> Result<()> {
        let Some(stack) = self.stack.clone() else { return Ok(()) };
        let begun = Instant::now();
        tokio::task::block_in_place(|| {
            loop {
                // Clients must answer pings in the meantime.
                self.load.run(&Work::Listen(INDEX_POLL_INTERVAL))?;
                let metrics = Handle::current().block_on(stack.persistence(0).metrics())?;
                let waiting = metrics.lines().find_map(|line| line.strip_prefix(ROOMS_WAITING));
                let waiting: f64 =
                    waiting.context("persistence does not tell how many rooms wait")?.trim().parse()?;
                if waiting == 0.0 {
                    // The last rooms may still be being indexed.
                    self.load.run(&Work::Listen(INDEX_POLL_INTERVAL))?;
                    return Ok(());
                }
                ensure!(
                    begun.elapsed() < INDEX_TIMEOUT,
                    "{waiting} rooms still wait for the index of search"
                );
            }
        })
    }

    /// CPU time of all its processes.
    ///
    /// # Errors
    /// When one has ended.
    pub fn cpu(&self) -> Result<Cpu> {
        processes::cpu(&self.running.processes)
    }

    /// Resident bytes of the processes with the connections.
    ///
    /// # Errors
    /// When one has ended.
    pub fn front_resident(&self) -> Result<u64> {
        Ok(processes::resident(&self.front())?.values().sum())
    }

    /// The processes with the connections.
    #[must_use]
    pub fn front(&self) -> Vec<Process> {
        let processes = self.running.processes.iter();
        processes.filter(|process| !BEHIND.contains(&process.name.as_str())).cloned().collect()
    }

    /// Restarts the gateways of Tidings, which keeps the rooms; no client may be connected.
    ///
    /// # Errors
    /// When it is another server, or a gateway does not start.
    pub async fn restart_gateways(&mut self) -> Result<()> {
        let stack = self.stack.as_ref().context("this is not Tidings")?;
        self.running.processes.retain(|process| process.name != tidings::GATEWAY);
        for gateway in stack.gateways() {
            gateway.restart().await?;
            let pid = gateway.pid().context("the gateway is gone")?;
            self.running.processes.push(Process { name: tidings::GATEWAY.into(), pid });
        }
        Ok(())
    }
}

/// Processes without connections.
const BEHIND: [&str; 3] = ["persistence", "redis", "postgres"];

impl Phase {
    /// CPU seconds of the processes with the connections.
    #[must_use]
    pub fn front_cpu(&self) -> f64 {
        let front = self.cpu.0.iter().filter(|(name, _)| !BEHIND.contains(&name.as_str()));
        front.map(|(_, seconds)| seconds).sum()
    }

    /// Fails unless all expected frames came, because figures of a server that loses messages are not valid.
    ///
    /// # Errors
    /// What is missing, refused or disconnected.
    pub fn whole(&self, what: &str) -> Result<()> {
        let Tally { sent, expected, delivered, refused, refusal, closed, .. } = &self.tally;
        ensure!(
            delivered == expected && *refused == 0 && closed.is_empty() && self.gone == 0,
            "{what}: {sent} sent, {delivered} of {expected} delivered, {refused} refused ({refusal:?}), closed {closed:?}, \
             {} gone since they entered",
            self.gone
        );
        Ok(())
    }

    /// Whether the figures are valid. If another server than Tidings has lost messages, adds a note.
    ///
    /// # Errors
    /// When Tidings has lost messages.
    pub fn counts(&self, scenario: &mut Scenario, subject: &Subject, setting: &str) -> Result<bool> {
        if self.tally.overloads > 0 {
            scenario.notes.push(format!(
                "{}, {setting}: {} sends were refused as overload, and the generator backed off",
                subject.name(),
                self.tally.overloads
            ));
        }
        let Err(error) = self.whole(setting) else { return Ok(true) };
        ensure!(*subject != Subject::Tidings, error);
        scenario.notes.push(format!("{}: left out. {error}", subject.name()));
        Ok(false)
    }
}

/// Ids of rooms for servers that do not create rooms.
fn names(count: usize) -> Vec<String> {
    (0..count).map(|_| uuid::Uuid::now_v7().to_string()).collect()
}

/// The id of a user.
#[must_use]
pub fn user(number: u32) -> String {
    format!("person-{number}")
}

async fn create_rooms(stack: &Arc<Stack>, members: &[Vec<u32>]) -> Result<Vec<String>> {
    let pool = tidings_harness::http::client();
    let host = Http::sharing(pool, &stack.persistence(0).url(), &stack.token("host"));
    let mut rooms = vec![String::new(); members.len()];
    let mut creating = JoinSet::new();
    for (number, members) in members.iter().enumerate() {
        while creating.len() >= AT_ONCE {
            let (number, room): (usize, String) =
                creating.join_next().await.context("one is under way")???;
            rooms[number] = room;
        }
        creating.spawn(create_room(host.clone(), number, members.clone()));
    }
    while let Some(created) = creating.join_next().await {
        let (number, room) = created??;
        rooms[number] = room;
    }
    Ok(rooms)
}

async fn create_room(host: Http, number: usize, members: Vec<u32>) -> Result<(usize, String)> {
    let first: Vec<Value> =
        members.iter().take(CREATED_WITH).map(|member| json!({ "user": user(*member) })).collect();
    let body = json!({ "kind": "private", "name": format!("room {number}"), "members": first });
    let answer = host.post("/rooms", body).await?;
    ensure!(answer.status == 201, "create a room: {} {}", answer.status, answer.body);
    let room: Value = answer.parse()?;
    let room = room["room"].as_str().context("the room has no id")?.to_owned();
    let mut adding = JoinSet::new();
    for member in members.into_iter().skip(CREATED_WITH) {
        if adding.len() >= AT_ONCE {
            adding.join_next().await.context("one is under way")???;
        }
        let (host, room) = (host.clone(), room.clone());
        adding.spawn(async move {
            let answer = host.put_member(&room, &user(member), "member").await?;
            ensure!(answer.status == 200, "add a member: {} {}", answer.status, answer.body);
            Ok(())
        });
    }
    while let Some(added) = adding.join_next().await {
        added??;
    }
    Ok((number, room))
}
