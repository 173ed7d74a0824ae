//! Misbehaving clients in addition to the users of the load. They listen in the users' rooms and send in their own
//! room, which is not part of the checked history. The counts of their answers show that a fault had an effect.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::World;
use crate::http::Http;
use crate::listener::{TOKEN_TTL_S, lock};
use crate::noisy::Answers;
use crate::play::history::create_room;
use crate::proxy::Proxy;
use crate::raw::{RawSocket, opcode};
use crate::token::Token;

mod noise;
mod stall;
mod vanish;

pub use noise::Noise;
pub(super) use noise::{flood_small_frames, start_noise};
pub(super) use stall::stall_clients;
pub(super) use vanish::abandon_connections;

/// The user of all clients that vanish or stall. This user is also a member of the users' rooms.
pub(super) const GHOST_USER: &str = "ghost";
/// The users who send signals to the clients that do not read.
const SIGNAL_SENDERS: [&str; 4] = ["giver-0", "giver-1", "giver-2", "giver-3"];
const FLOODER: &str = "flooder";
/// Numbers of the pollers and of their rooms. Every poller is in all of these rooms.
const POLLERS: usize = 100;
const POLLED_ROOMS: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The misbehaving clients of a run.
pub(super) struct MisbehavingClients {
    /// The rooms of the load's users.
    rooms: Vec<String>,
    own: String,
    /// The rooms of the pollers.
    polled: Vec<String>,
    jwt_secret: String,
    answers: Answers,
    /// Proxies that keep the connections of vanished clients open, without passing any bytes.
    black_holes: Mutex<Vec<Proxy>>,
    /// The running noisy neighbours.
    noisy: Mutex<JoinSet<()>>,
}

impl MisbehavingClients {
    pub async fn start(world: &World, rooms: &[String]) -> Result<MisbehavingClients> {
        let nodes = world.nodes();
        let token = Token::of(FLOODER).ttl_s(TOKEN_TTL_S).sign(&nodes.jwt_secret);
        let http: Vec<Http> =
            nodes.persistence.iter().map(|base| Http::sharing(nodes.http.clone(), base, &token)).collect();
        let members =
            SIGNAL_SENDERS.iter().chain([&GHOST_USER]).map(|name| json!({ "user": name })).collect();
        let (own, _) = create_room(&http, "strangers", members).await?;
        let mut polled = Vec::new();
        for number in 0..POLLED_ROOMS {
            let members = (0..POLLERS).map(|number| json!({ "user": poller_name(number) })).collect();
            polled.push(create_room(&http, &format!("polled {number}"), members).await?.0);
        }
        let (rooms, jwt_secret) = (rooms.to_vec(), nodes.jwt_secret);
        let (answers, black_holes, noisy) = (Answers::default(), Mutex::default(), Mutex::default());
        Ok(MisbehavingClients { rooms, own, polled, jwt_secret, answers, black_holes, noisy })
    }

    /// The answers, with their counts.
    pub fn answer_counts(&self) -> BTreeMap<String, u64> {
        self.answers.counts()
    }

    /// Descriptions of the answers by which services reported an internal error.
    pub fn internal_errors(&self) -> Vec<String> {
        self.answers.internal_errors()
    }

    fn count(&self, what: impl Into<String>) {
        self.answers.count(what);
    }

    fn keep_open(&self, proxy: Proxy) {
        lock(&self.black_holes).push(proxy);
    }

    fn token(&self, user: &str) -> String {
        Token::of(user).ttl_s(TOKEN_TTL_S).sign(&self.jwt_secret)
    }

    /// Stops all noisy neighbours.
    pub fn stop_noise(&self) {
        lock(&self.noisy).abort_all();
    }

    /// Connects [`GHOST_USER`] to a port and joins all rooms. `buffer_bytes` limits the connection's receive buffer.
    async fn connect_ghost(&self, port: u16, buffer_bytes: Option<u32>) -> Result<RawSocket> {
        let entering = async {
            let socket = TcpSocket::new_v4()?;
            if let Some(bytes) = buffer_bytes {
                socket.set_recv_buffer_size(bytes)?;
            }
            let stream = socket.connect(([127, 0, 0, 1], port).into()).await?;
            self.join_rooms(stream).await
        };
        tokio::time::timeout(CONNECT_TIMEOUT, entering).await.context("the ghost cannot connect")?
    }

    async fn join_rooms(&self, stream: TcpStream) -> Result<RawSocket> {
        let token = self.token(GHOST_USER);
        let mut socket = RawSocket::over(stream, &format!("Authorization: Bearer {token}\r\n")).await?;
        let rooms: Vec<&String> = self.rooms.iter().chain([&self.own]).collect();
        let join = json!({ "type": "room:join", "ref": "1", "rooms": rooms }).to_string();
        socket.send(opcode::TEXT, join.as_bytes()).await?;
        loop {
            let Some(frame) = socket.next().await? else { bail!("closed while joining") };
            if frame.text().contains("room:joined") {
                return Ok(socket);
            }
        }
    }
}

fn poller_name(number: usize) -> String {
    format!("poller-{number}")
}
