//! Measures the memory of an idle connection in a gateway. Opens many connections, joins two rooms with each, leaves
//! them idle except for pings, and compares the anonymous memory of the gateways before and after. Anonymous memory
//! excludes the pages of the program, whose number does not depend on the connections. Touches the public ports and
//! `/proc`. Uses [`RawSocket`], because each of the thousands of connections must need little memory in this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::{Value, json};

use crate::dev::status::Status;
use crate::frames::ServerFrame;
use crate::http::Http;
use crate::memory;
use crate::play::history;
use crate::raw::{RawSocket, opcode};
use crate::token::Token;

const ROOM_MEMBERS: usize = 10;
/// Connections that are opened and closed before the measurement.
const WARMUP_CONNECTIONS: usize = 20;
const WARMUP_TIME: Duration = Duration::from_secs(1);
const MAX_CONCURRENT_CREATIONS: usize = 16;
const MAX_CONCURRENT_CONNECTS: usize = 64;
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
const TOKEN_TTL_S: i64 = 24 * 3600;

/// The figures of a run.
#[derive(Debug, Serialize)]
pub struct IdleFigures {
    pub connections: usize,
    /// Number of rooms that each connection joins.
    pub rooms_each: usize,
    /// Anonymous memory of all gateways before the connections open.
    pub anonymous_before_bytes: u64,
    /// Anonymous memory of all gateways with the connections, after the idle time.
    pub anonymous_after_bytes: u64,
    /// The growth of the anonymous memory, divided by the number of connections.
    pub bytes_per_connection: u64,
    /// The limit of `bytes_per_connection`.
    pub max_bytes: u64,
    /// Pings that the connections answered during the idle time.
    pub pings_answered: u64,
    /// Connections that ended during the idle time.
    pub lost: u64,
    /// How long the connections were idle.
    pub idle_seconds: u64,
}

impl IdleFigures {
    /// Whether the memory is within the limit and no connection was lost.
    pub fn is_good(&self) -> bool {
        self.bytes_per_connection <= self.max_bytes && self.lost == 0
    }
}

#[derive(Default)]
struct Counters {
    pings: AtomicU64,
    lost: AtomicU64,
}

/// Runs the measurement.
///
/// # Errors
/// When rooms cannot be created, connections cannot be opened, or a gateway does not run.
pub async fn measure(
    status: &Status,
    connections: usize,
    idle: Duration,
    max_bytes: u64,
) -> Result<IdleFigures> {
    ensure!(
        connections > 0 && connections.is_multiple_of(ROOM_MEMBERS),
        "the number of connections must be a multiple of {ROOM_MEMBERS}"
    );
    let run = format!("{:06x}", rand::random_range(0..0x100_0000));
    let user = |number: usize| format!("idle-{run}-{number}");
    let token = |user: &str| Token::of(user).ttl_s(TOKEN_TTL_S).sign(&status.jwt_secret);

    let pool = crate::http::client();
    // The host creates the rooms as a back end, because it needs more of them than one account may create per day.
    let host_token = Token::of(&format!("idle-{run}-host")).scope("tidings.admin").ttl_s(TOKEN_TTL_S);
    let host_token = host_token.sign(&status.jwt_secret);
    let nodes = status.persistence.iter();
    let host: Vec<Http> = nodes.map(|node| Http::sharing(pool.clone(), &node.url, &host_token)).collect();
    let blocks = connections / ROOM_MEMBERS;
    eprintln!("idle: creating {} rooms", blocks * 2);
    // The first half of the rooms have ten users with consecutive numbers, the second half have every `blocks`-th user.
    // So each user is in two rooms, with different users.
    let member = |room: usize, place: usize| {
        if room < blocks { room * ROOM_MEMBERS + place } else { room - blocks + place * blocks }
    };
    let rooms: Vec<String> = stream::iter(0..blocks * 2)
        .map(|room| {
            let members = (0..ROOM_MEMBERS).map(|place| json!({ "user": user(member(room, place)) }));
            let (members, host): (Vec<Value>, &[Http]) = (members.collect(), &host);
            async move { history::create_room(host, &format!("idle-{room}"), members).await }
        })
        .buffered(MAX_CONCURRENT_CREATIONS)
        .map_ok(|(room, _)| room)
        .try_collect()
        .await?;

    let ports: Vec<u16> =
        status.gateways.iter().map(|gateway| parse_port(&gateway.url)).collect::<Result<_>>()?;
    let rooms_of =
        |number: usize| [rooms[number / ROOM_MEMBERS].clone(), rooms[blocks + number % blocks].clone()];
    // The first connections fill caches that all connections share. This memory must not count for the measured
    // connections.
    for number in 0..WARMUP_CONNECTIONS.min(connections) {
        let (port, token, mine) = (ports[number % ports.len()], token(&user(number)), rooms_of(number));
        let joining = tokio::time::timeout(JOIN_TIMEOUT, connect_and_join(port, &token, &mine));
        drop(joining.await.context("join")?.context("the first connections")?);
    }
    tokio::time::sleep(WARMUP_TIME).await;
    let anonymous_before_bytes = gateways_memory(status)?;
    eprintln!("idle: opening {connections} connections");
    let counters = Arc::new(Counters::default());
    stream::iter(0..connections)
        .map(Ok)
        .try_for_each_concurrent(MAX_CONCURRENT_CONNECTS, |number| {
            let (port, token) = (ports[number % ports.len()], token(&user(number)));
            let mine = rooms_of(number);
            let counters = Arc::clone(&counters);
            async move {
                let joining = tokio::time::timeout(JOIN_TIMEOUT, connect_and_join(port, &token, &mine));
                let socket =
                    joining.await.context("join")?.with_context(|| format!("connection {number}"))?;
                tokio::spawn(answer_pings(socket, counters));
                anyhow::Ok(())
            }
        })
        .await?;

    eprintln!("idle: all stand; idling {} s", idle.as_secs());
    counters.pings.store(0, Ordering::Relaxed);
    tokio::time::sleep(idle).await;
    let anonymous_after_bytes = gateways_memory(status)?;
    Ok(IdleFigures {
        connections,
        rooms_each: 2,
        anonymous_before_bytes,
        anonymous_after_bytes,
        bytes_per_connection: anonymous_after_bytes.saturating_sub(anonymous_before_bytes)
            / connections as u64,
        max_bytes,
        pings_answered: counters.pings.load(Ordering::Relaxed),
        lost: counters.lost.load(Ordering::Relaxed),
        idle_seconds: idle.as_secs(),
    })
}

/// Connects and joins both rooms. Returns after `room:caught_up` of both rooms.
async fn connect_and_join(port: u16, token: &str, rooms: &[String; 2]) -> Result<RawSocket> {
    let mut socket = RawSocket::open(port, token).await?;
    let join = json!({ "type": "room:join", "ref": "1", "rooms": rooms }).to_string();
    socket.send(opcode::TEXT, join.as_bytes()).await?;
    let mut caught_up = 0;
    while caught_up < rooms.len() {
        let frame = socket.next().await?.context("closed while joining")?;
        match frame.opcode {
            opcode::PING => socket.send(opcode::PONG, &frame.payload).await?,
            opcode::TEXT => match ServerFrame::parse(frame.text())? {
                ServerFrame::CaughtUp(_) => caught_up += 1,
                ServerFrame::Joined(joined) => ensure!(joined.failed.is_empty(), "{:?}", joined.failed),
                ServerFrame::Error(error) => bail!("{error:?}"),
                _ => {}
            },
            opcode::CLOSE => bail!("closed with {:?}", frame.close_code()),
            _ => {}
        }
    }
    Ok(socket)
}

/// Answers pings until the connection ends, which counts as a lost connection.
async fn answer_pings(mut socket: RawSocket, counters: Arc<Counters>) {
    while let Ok(Some(frame)) = socket.next().await {
        match frame.opcode {
            opcode::PING => {
                if socket.send(opcode::PONG, &frame.payload).await.is_err() {
                    break;
                }
                counters.pings.fetch_add(1, Ordering::Relaxed);
            }
            opcode::CLOSE => break,
            _ => {}
        }
    }
    counters.lost.fetch_add(1, Ordering::Relaxed);
}

/// Anonymous memory of all gateways, in bytes.
fn gateways_memory(status: &Status) -> Result<u64> {
    let mut sum = 0;
    for gateway in &status.gateways {
        let pid = gateway.pid.with_context(|| format!("{} does not run: ./dev up", gateway.url))?;
        sum += memory::anonymous(pid).with_context(|| gateway.url.clone())?;
    }
    Ok(sum)
}

fn parse_port(url: &str) -> Result<u16> {
    let (_, port) = url.rsplit_once(':').with_context(|| format!("{url} has no port"))?;
    Ok(port.parse()?)
}
