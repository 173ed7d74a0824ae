//! Floods, and noisy neighbours: a member who sends the largest frames, a hot room, many pollers, an account that
//! searches, clients that break the rules of Engine.IO. A flood is a fault of its own; noisy neighbours continue during
//! the next faults.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{FLOODER, GHOST_USER, MisbehavingClients, POLLERS, SIGNAL_SENDERS, poller_name};
use crate::faults::World;
use crate::http::Http;
use crate::listener::lock;
use crate::noisy::{self, EngineMisuse, EngineTarget, FloodKind};

/// Concurrent HTTP requests of a flood.
const CONCURRENT_REQUESTS: usize = 4;
/// Connections to a hot room on each gateway.
const HOT_CONNECTIONS_PER_GATEWAY: usize = 50;
/// Pause between two messages to a hot room.
const HOT_MESSAGE_INTERVAL: Duration = Duration::from_millis(50);
/// One poll in this many is followed by a message. A message ends the polls of all pollers, so with a smaller number no
/// poll would have to wait.
const POLLS_PER_MESSAGE: u32 = 4 * POLLERS as u32;
/// The pause between two messages to the pollers.
const POLLED_MESSAGE_INTERVAL: Duration = Duration::from_millis(500);
const PARALLEL_SEARCHES: usize = 50;
/// Clients for each way to break the rules of Engine.IO.
const CLIENTS_PER_MISUSE: usize = 2;
/// Nearly all messages of the users contain this word.
const COMMON_WORD: &str = "says";

/// A kind of noisy neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// A member sends as many and as large frames as possible to a room.
    FloodingMember,
    /// A room with many connections and many messages.
    HotRoom,
    /// Many users poll.
    PollHerd,
    /// One account searches in parallel.
    Searches,
    /// Clients break the rules of Engine.IO in every way.
    EngineMisuse,
}

impl Noise {
    pub const ALL: [Noise; 5] =
        [Noise::FloodingMember, Noise::HotRoom, Noise::PollHerd, Noise::Searches, Noise::EngineMisuse];
}

/// A flood of small frames, over WebSockets and HTTP.
pub(in crate::faults) async fn flood_small_frames(
    world: &World,
    misbehaving: &Arc<MisbehavingClients>,
    time: Duration,
) -> Result<()> {
    let nodes = world.nodes();
    let mut flooding = start_floods(world, misbehaving, &FloodKind::SMALL_FRAME_KINDS);
    for number in 0..CONCURRENT_REQUESTS {
        let base = &nodes.persistence[number % nodes.persistence.len()];
        let http = Http::sharing(nodes.http.clone(), base, &misbehaving.token(FLOODER));
        flooding.spawn(noisy::flood_over_http(http, misbehaving.own.clone(), misbehaving.answers.clone()));
    }
    sleep(time).await;
    flooding.shutdown().await;
    Ok(())
}

/// Starts one connection for each of these kinds of frames.
fn start_floods(world: &World, misbehaving: &MisbehavingClients, kinds: &[FloodKind]) -> JoinSet<()> {
    let (nodes, mut flooding) = (world.nodes(), JoinSet::new());
    // Each kind has its own task, because in one task the fastest sender would starve the others.
    for (number, kind) in kinds.iter().enumerate() {
        let ws = nodes.gateways[number % nodes.gateways.len()].clone();
        let (token, room) = (misbehaving.token(FLOODER), misbehaving.own.clone());
        flooding.spawn(noisy::flood_over_websocket(ws, token, room, *kind, misbehaving.answers.clone()));
    }
    flooding
}

/// Starts a kind of noisy neighbour, which continues for this time.
pub(in crate::faults) fn start_noise(
    world: &World,
    misbehaving: &Arc<MisbehavingClients>,
    noise: Noise,
    time: Duration,
) -> Result<()> {
    let nodes = world.nodes();
    let answers = || misbehaving.answers.clone();
    let mut making = JoinSet::new();
    match noise {
        Noise::FloodingMember => making = start_floods(world, misbehaving, &FloodKind::MEMBER),
        Noise::HotRoom => {
            for number in 0..HOT_CONNECTIONS_PER_GATEWAY * nodes.gateways.len() {
                let ws = nodes.gateways[number % nodes.gateways.len()].clone();
                let (token, room) = (misbehaving.token(GHOST_USER), misbehaving.own.clone());
                making.spawn(noisy::listen_repeatedly(ws, token, room, answers()));
            }
            let (token, room) = (misbehaving.token(SIGNAL_SENDERS[0]), misbehaving.own.clone());
            making.spawn(noisy::send_regularly(
                nodes.gateways[0].clone(),
                token,
                room,
                HOT_MESSAGE_INTERVAL,
                answers(),
            ));
        }
        Noise::PollHerd => {
            for (number, gateway) in (0..POLLERS).zip(world.stack.gateways().iter().cycle()) {
                let token = misbehaving.token(&poller_name(number));
                let http = Http::sharing(nodes.http.clone(), &gateway.url(), &token);
                making.spawn(noisy::poll_repeatedly(
                    http,
                    misbehaving.polled.clone(),
                    number as u32,
                    POLLS_PER_MESSAGE,
                    answers(),
                ));
            }
            let (token, room) = (misbehaving.token(&poller_name(0)), misbehaving.polled[0].clone());
            making.spawn(noisy::send_regularly(
                nodes.gateways[0].clone(),
                token,
                room,
                POLLED_MESSAGE_INTERVAL,
                answers(),
            ));
        }
        Noise::Searches => {
            for number in 0..PARALLEL_SEARCHES {
                let base = &nodes.persistence[number % nodes.persistence.len()];
                let http = Http::sharing(nodes.http.clone(), base, &misbehaving.token(GHOST_USER));
                making.spawn(noisy::search_repeatedly(http, COMMON_WORD.to_owned(), answers()));
            }
        }
        Noise::EngineMisuse => {
            let rooms = misbehaving.rooms.iter().chain([&misbehaving.own]).cloned().collect();
            let bases = nodes.socket_io_bases(0);
            let target = EngineTarget { bases, token: misbehaving.token(GHOST_USER), rooms };
            for misuse in [EngineMisuse::ALL; CLIENTS_PER_MISUSE].concat() {
                making.spawn(noisy::misuse_engine_io(target.clone(), misuse, answers()));
            }
        }
    }
    lock(&misbehaving.noisy).spawn(async move {
        // Noisy neighbours never end by themselves.
        let _ = timeout(time, making.join_all()).await;
    });
    Ok(())
}
