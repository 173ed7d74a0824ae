//! Misbehaving clients besides the users of the load. They listen in the users' rooms, and send in a room of their own,
//! which the rules of the history do not check. Counts their answers, to prove that a fault has had an effect.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};

use super::World;
use crate::http::Http;
use crate::listener::TOKEN_TTL_S;
use crate::play::history::create_room;
use crate::proxy::Proxy;
use crate::raw::{RawSocket, opcode};
use crate::token::Token;

mod flood;
mod stall;
mod vanish;

pub(super) use flood::flood;
pub(super) use stall::stall;
pub(super) use vanish::vanish;

/// A member of the users' rooms too.
pub(super) const GHOST: &str = "ghost";
/// They send to the clients that do not read.
const GIVERS: [&str; 4] = ["giver-0", "giver-1", "giver-2", "giver-3"];
const FLOODER: &str = "flooder";
const ENTER_PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct MisbehavingClients {
    /// The rooms of the users.
    rooms: Vec<String>,
    own: String,
    jwt_secret: String,
    told: Mutex<BTreeMap<String, u64>>,
    broken: Mutex<Vec<String>>,
    /// Proxies that keep connections open whose clients are gone.
    holes: Mutex<Vec<Proxy>>,
}

impl MisbehavingClients {
    pub async fn start(world: &World, rooms: &[String]) -> Result<MisbehavingClients> {
        let nodes = world.nodes();
        let token = Token::of(FLOODER).ttl_s(TOKEN_TTL_S).sign(&nodes.jwt_secret);
        let http: Vec<Http> =
            nodes.persistence.iter().map(|base| Http::sharing(nodes.http.clone(), base, &token)).collect();
        let members = GIVERS.iter().chain([&GHOST]).map(|name| json!({ "user": name })).collect();
        let (own, _) = create_room(&http, "strangers", members).await?;
        let (rooms, jwt_secret) = (rooms.to_vec(), nodes.jwt_secret);
        let (told, broken, holes) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(MisbehavingClients { rooms, own, jwt_secret, told, broken, holes })
    }

    /// Their answers, and how often each came.
    pub fn told(&self) -> BTreeMap<String, u64> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers by which services reported an internal error.
    pub fn broken(&self) -> Vec<String> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, what: impl Into<String>) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner).entry(what.into()).or_default() += 1;
    }

    fn break_rule(&self, what: String) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    fn keep(&self, hole: Proxy) {
        self.holes.lock().unwrap_or_else(PoisonError::into_inner).push(hole);
    }

    fn token(&self, user: &str) -> String {
        Token::of(user).ttl_s(TOKEN_TTL_S).sign(&self.jwt_secret)
    }

    /// Connects the ghost to a port and joins all rooms; optionally with a receive buffer of this size.
    async fn enter(&self, port: u16, buffer_bytes: Option<u32>) -> Result<RawSocket> {
        let entering = async {
            let socket = TcpSocket::new_v4()?;
            if let Some(bytes) = buffer_bytes {
                socket.set_recv_buffer_size(bytes)?;
            }
            let stream = socket.connect(([127, 0, 0, 1], port).into()).await?;
            self.join(stream).await
        };
        tokio::time::timeout(ENTER_PATIENCE, entering).await.context("nobody lets the ghost in")?
    }

    async fn join(&self, stream: TcpStream) -> Result<RawSocket> {
        let token = self.token(GHOST);
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
