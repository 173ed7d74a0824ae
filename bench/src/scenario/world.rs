//! A server with rooms and their users, and the load generator that runs the users' clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_harness::{Http, Stack, Token};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::subject::Subject;
use crate::load::{ClientSpec, LoadGenerator, Tally, Work};
use crate::peers::{RunningServer, ServerRequirements, others, tidings};
use crate::processes::{self, CpuTimes, Process};
use crate::results::Scenario;

/// Limit of the members with which a room is created. Further members are added one by one.
const MAX_INITIAL_MEMBERS: usize = 1000;
const MAX_CONCURRENT_REQUESTS: usize = 32;
/// Below the default limit of rooms per user.
const MAX_ROOMS_OF_HOST: usize = 5_000;
const TOKEN_TTL_S: i64 = 24 * 3600;
/// The metric with the number of rooms that are due to be indexed, as in a line of `/metrics`.
const ROOMS_WAITING_METRIC: &str = "tidings_persistence_search_rooms_waiting ";
/// Pause between two reads of this metric. A complete block of messages is due to be indexed after a shorter time.
const INDEX_POLL_INTERVAL: Duration = Duration::from_millis(1300);
/// The run fails if indexing takes longer.
const INDEX_TIMEOUT: Duration = Duration::from_secs(120);
const MAX_CONCURRENT_HANDSHAKES: usize = 128;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(180);

/// A server, its rooms, and the load generator with the clients of its users.
pub struct World {
    pub running: RunningServer,
    /// The whole system; `None` if the server is not Tidings.
    pub stack: Option<Arc<Stack>>,
    pub rooms: Vec<String>,
    pub load: LoadGenerator,
    /// The number of clients that were connected after the last connecting.
    connected_clients: usize,
}

/// The results of the load generator in one phase, and the CPU times of the server in it.
pub struct Phase {
    pub tally: Tally,
    pub cpu: CpuTimes,
    /// Number of clients that were disconnected or did not connect. If it is not 0, the figures are not valid.
    pub disconnected: usize,
}

impl World {
    /// Starts a server and creates rooms. `members` are the users of each room, by number.
    ///
    /// # Errors
    /// When a process does not start, or a room is refused.
    pub async fn start(
        subject: &Subject,
        setting: &ServerRequirements,
        members: &[Vec<u32>],
        settings: &[(&str, String)],
    ) -> Result<World> {
        let running = match subject {
            Subject::Tidings => {
                return World::from_tidings(tidings::start(setting, settings).await?, members).await;
            }
            Subject::TidingsSocketIo => {
                let started = tidings::start_with_socket_io(setting, settings).await?;
                return World::from_tidings(started, members).await;
            }
            Subject::Other(other) => others::start(other, setting).await?,
            Subject::Described { file, .. } => {
                others::start(&others::OtherServer::Described(file.clone()), setting).await?
            }
        };
        World::new(running, None, random_room_ids(members.len()))
    }

    /// Creates rooms in a running Tidings. `members` are the users of each room, by number.
    ///
    /// # Errors
    /// When a room is refused.
    pub async fn from_tidings(
        (running, stack): (RunningServer, Arc<Stack>),
        members: &[Vec<u32>],
    ) -> Result<World> {
        let rooms = create_rooms(&stack, members).await?;
        World::new(running, Some(stack), rooms)
    }

    fn new(running: RunningServer, stack: Option<Arc<Stack>>, rooms: Vec<String>) -> Result<World> {
        let load = LoadGenerator::new(running.dialect.clone(), rooms.clone())?;
        Ok(World { running, stack, rooms, load, connected_clients: 0 })
    }

    /// The client of a user, with a token, on a node and in these rooms. The nodes are numbered again from 0 after the
    /// last one.
    #[must_use]
    pub fn client_spec(&self, number: u32, node: usize, rooms: Vec<u32>) -> ClientSpec {
        let user = user_id(number);
        let token = Token::of(&user).ttl_s(TOKEN_TTL_S).sign(&self.running.jwt_secret);
        let node = self.running.nodes[node % self.running.nodes.len()];
        ClientSpec { node, user, token, rooms, joins: None, timed: true, receive_buffer: None }
    }

    /// Connects these users.
    ///
    /// # Errors
    /// When a user is refused.
    pub fn connect_all(&mut self, people: Vec<ClientSpec>) -> Result<Phase> {
        self.connect_all_limited(people, MAX_CONCURRENT_HANDSHAKES)
    }

    /// Connects these users, with at most `at_once` concurrent handshakes.
    ///
    /// # Errors
    /// When a user is refused.
    pub fn connect_all_limited(&mut self, people: Vec<ClientSpec>, at_once: usize) -> Result<Phase> {
        let before = self.cpu()?;
        let tally = tokio::task::block_in_place(|| self.load.connect_all(people, at_once, CONNECT_TIMEOUT))?;
        self.connected_clients = self.load.connected_count();
        Ok(Phase { tally, cpu: self.cpu()?.since(&before), disconnected: 0 })
    }

    /// Connects these users. The result counts users that are disconnected or do not connect in time as `disconnected`.
    ///
    /// # Errors
    /// When a handshake is refused.
    pub fn try_connect_all(&mut self, people: Vec<ClientSpec>, at_once: usize) -> Result<Phase> {
        let (before, wanted) = (self.cpu()?, self.load.connected_count() + people.len());
        let tally =
            tokio::task::block_in_place(|| self.load.try_connect_all(people, at_once, CONNECT_TIMEOUT))?;
        self.connected_clients = self.load.connected_count();
        Ok(Phase { tally, cpu: self.cpu()?.since(&before), disconnected: wanted - self.connected_clients })
    }

    /// Sends one message for each pair of client and room, and repeats it until it is stored and delivered.
    pub fn run_round(
        &mut self,
        senders: &[(u32, u32)],
        characters: u16,
        time_limit: Duration,
    ) -> Result<Phase> {
        let before = self.cpu()?;
        let tally = tokio::task::block_in_place(|| self.load.run_round(senders, characters, time_limit))?;
        let disconnected = self.connected_clients.saturating_sub(self.load.connected_count());
        Ok(Phase { tally, cpu: self.cpu()?.since(&before), disconnected })
    }

    /// Does the work, waits until its messages are indexed, and returns the results with the CPU times of the server.
    pub fn run(&mut self, work: &Work) -> Result<Phase> {
        let before = self.cpu()?;
        let tally = tokio::task::block_in_place(|| self.load.run(work))?;
        let disconnected = self.connected_clients.saturating_sub(self.load.connected_count());
        if !matches!(work, Work::Listen(_)) {
            self.wait_until_indexed()?;
        }
        Ok(Phase { tally, cpu: self.cpu()?.since(&before), disconnected })
    }

    /// Waits until Tidings has indexed all complete blocks of stored messages, because indexing is part of the cost of
    /// a message. Incomplete blocks are due only after the run.
    fn wait_until_indexed(&mut self) -> Result<()> {
        let Some(stack) = self.stack.clone() else { return Ok(()) };
        let begun = Instant::now();
        tokio::task::block_in_place(|| {
            loop {
                // Clients must answer pings in the meantime.
                self.load.run(&Work::Listen(INDEX_POLL_INTERVAL))?;
                let metrics = Handle::current().block_on(stack.persistence(0).metrics())?;
                let waiting = metrics.lines().find_map(|line| line.strip_prefix(ROOMS_WAITING_METRIC));
                let waiting: f64 =
                    waiting.context("persistence does not tell how many rooms wait")?.trim().parse()?;
                if waiting == 0.0 {
                    // The indexer may still work on rooms that the metric does not count any more.
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

    /// CPU time of all processes of the server.
    pub fn cpu(&self) -> Result<CpuTimes> {
        processes::cpu_times(&self.running.processes)
    }

    /// Resident memory of the processes that hold client connections, in bytes.
    pub fn frontend_resident_bytes(&self) -> Result<u64> {
        Ok(processes::resident_memory(&self.frontend_processes())?.values().sum())
    }

    /// The processes that hold client connections.
    #[must_use]
    pub fn frontend_processes(&self) -> Vec<Process> {
        let processes = self.running.processes.iter();
        processes.filter(|process| !BACKEND_PROCESSES.contains(&process.name.as_str())).cloned().collect()
    }

    /// Stops the Redis of Tidings and starts it again with its append-only file.
    ///
    /// # Errors
    /// When the server is not Tidings, or Redis does not start.
    pub async fn restart_redis(&mut self) -> Result<()> {
        let stack = self.stack.as_ref().context("this is not Tidings")?;
        stack.redis().restart().await?;
        let pid = stack.redis().pid().context("redis is gone")?;
        let redis = self.running.processes.iter_mut().filter(|process| process.name == "redis");
        redis.for_each(|process| process.pid = pid);
        Ok(())
    }

    /// Restarts the gateways of Tidings. The rooms remain. No client may be connected.
    ///
    /// # Errors
    /// When the server is not Tidings, or a gateway does not start.
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

/// Names of the processes that hold no client connections.
const BACKEND_PROCESSES: [&str; 3] = ["persistence", "redis", "postgres"];

impl Phase {
    /// CPU seconds of the processes that hold client connections.
    #[must_use]
    pub fn front_cpu(&self) -> f64 {
        let front = self.cpu.0.iter().filter(|(name, _)| !BACKEND_PROCESSES.contains(&name.as_str()));
        front.map(|(_, seconds)| seconds).sum()
    }

    /// Fails if the figures are not valid. `what` names the phase in the error.
    ///
    /// # Errors
    /// When frames are missing, sends are refused, or clients are disconnected.
    pub fn ensure_valid(&self, what: &str) -> Result<()> {
        let Tally { sent, expected, delivered, refused, refusal, closed, .. } = &self.tally;
        ensure!(
            delivered == expected && *refused == 0 && closed.is_empty() && self.disconnected == 0,
            "{what}: {sent} sent, {delivered} of {expected} delivered, {refused} refused ({refusal:?}), closed {closed:?}, \
             {} gone since they entered",
            self.disconnected
        );
        Ok(())
    }

    /// Returns whether the figures are valid. If they are not and the server is not Tidings, adds a note to the
    /// scenario.
    ///
    /// # Errors
    /// When the figures of Tidings are not valid.
    pub fn accept_or_note(&self, scenario: &mut Scenario, subject: &Subject, setting: &str) -> Result<bool> {
        if self.tally.overload_refusals > 0 {
            scenario.notes.push(format!(
                "{}, {setting}: {} sends were refused as overload, and the generator backed off",
                subject.name(),
                self.tally.overload_refusals
            ));
        }
        let Err(error) = self.ensure_valid(setting) else { return Ok(true) };
        ensure!(!subject.is_tidings(), error);
        scenario.notes.push(format!("{}: left out. {error}", subject.name()));
        Ok(false)
    }
}

/// New ids of rooms, for servers on which a room needs no creation.
fn random_room_ids(count: usize) -> Vec<String> {
    (0..count).map(|_| uuid::Uuid::now_v7().to_string()).collect()
}

/// The id of a user.
#[must_use]
pub fn user_id(number: u32) -> String {
    format!("person-{number}")
}

/// The owner of a room. The first rooms belong to `host`.
fn host_of(room: usize) -> String {
    match room / MAX_ROOMS_OF_HOST {
        0 => "host".to_owned(),
        host => format!("host-{host}"),
    }
}

async fn create_rooms(stack: &Arc<Stack>, members: &[Vec<u32>]) -> Result<Vec<String>> {
    let (pool, url) = (tidings_harness::http::client(), stack.persistence(0).url());
    let mut rooms = vec![String::new(); members.len()];
    let mut creating = JoinSet::new();
    for (number, members) in members.iter().enumerate() {
        while creating.len() >= MAX_CONCURRENT_REQUESTS {
            let (number, room): (usize, String) =
                creating.join_next().await.context("one is under way")???;
            rooms[number] = room;
        }
        let host = Http::sharing(pool.clone(), &url, &stack.token(&host_of(number)));
        creating.spawn(create_room(host, number, members.clone()));
    }
    while let Some(created) = creating.join_next().await {
        let (number, room) = created??;
        rooms[number] = room;
    }
    Ok(rooms)
}

async fn create_room(host: Http, number: usize, members: Vec<u32>) -> Result<(usize, String)> {
    let first: Vec<Value> =
        members.iter().take(MAX_INITIAL_MEMBERS).map(|member| json!({ "user": user_id(*member) })).collect();
    let body = json!({ "kind": "private", "name": format!("room {number}"), "members": first });
    let answer = host.post("/rooms", body).await?;
    ensure!(answer.status == 201, "create a room: {} {}", answer.status, answer.body);
    let room: Value = answer.parse()?;
    let room = room["room"].as_str().context("the room has no id")?.to_owned();
    let mut adding = JoinSet::new();
    for member in members.into_iter().skip(MAX_INITIAL_MEMBERS) {
        if adding.len() >= MAX_CONCURRENT_REQUESTS {
            adding.join_next().await.context("one is under way")???;
        }
        let (host, room) = (host.clone(), room.clone());
        adding.spawn(async move {
            let answer = host.put_member(&room, &user_id(member), "member").await?;
            ensure!(answer.status == 200, "add a member: {} {}", answer.status, answer.body);
            Ok(())
        });
    }
    while let Some(added) = adding.join_next().await {
        added??;
    }
    Ok((number, room))
}
