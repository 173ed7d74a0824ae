//! The program that makes the noise. It runs in a separate process, so that it takes no time from the process that
//! measures the quiet rooms. It reads an order from the standard input, makes noise until the input ends, and prints
//! the answers with their counts.

use std::collections::BTreeMap;
use std::io::stdin;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tidings_harness::noisy::{self, Answers, FloodKind};
use tidings_harness::{Http, Stack, Token, http};
use tokio::task::{JoinSet, spawn_blocking};

use super::noise::{COMMON_WORD, LISTENERS, MESSAGE_CHARS, NoisyNeighbour, POLLS_PER_MESSAGE};
use crate::load::{BackgroundLoad, ClientSpec, LoadGenerator};
use crate::peers::tidings;
use crate::scenario::world::{World, user_id};

const MAX_CONCURRENT_HANDSHAKES: usize = 256;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(180);
/// A run may take hours.
const TOKEN_TTL_S: i64 = 24 * 3600;
/// The program prints this line when the noise has begun.
pub(super) const STARTED_LINE: &str = "started";

/// What the program needs to know, as one line of JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct NoiseOrder {
    pub(super) noise: NoisyNeighbour,
    pub(super) gateways: Vec<SocketAddr>,
    /// The URL of a persistence node, without a path.
    pub(super) persistence: String,
    pub(super) jwt_secret: String,
    /// The ids of all rooms, by number.
    pub(super) rooms: Vec<String>,
}

impl NoiseOrder {
    pub(super) fn new(noise: NoisyNeighbour, world: &World, stack: &Stack) -> NoiseOrder {
        NoiseOrder {
            noise,
            gateways: world.running.nodes.clone(),
            persistence: stack.persistence(0).url(),
            jwt_secret: world.running.jwt_secret.clone(),
            rooms: world.rooms.clone(),
        }
    }

    fn token(&self, person: u32) -> String {
        Token::of(&user_id(person)).ttl_s(TOKEN_TTL_S).sign(&self.jwt_secret)
    }

    fn room(&self, number: u32) -> String {
        self.rooms[number as usize].clone()
    }
}

/// Runs the program.
///
/// # Errors
/// When the order is malformed, or a client of the hot room does not connect.
pub async fn run() -> Result<()> {
    let mut order = String::new();
    stdin().read_line(&mut order)?;
    let order: NoiseOrder = serde_json::from_str(&order).context("parse the order")?;
    let noise = RunningNoise::start(&order)?;
    println!("{STARTED_LINE}");
    // The input ends when the bench closes it, and also when the bench is killed.
    spawn_blocking(|| stdin().read_line(&mut String::new())).await??;
    let counts = noise.stop().await?;
    println!("{}", serde_json::to_string(&counts)?);
    Ok(())
}

/// A running noisy neighbour. The clients of the hot room belong to a load generator; all other clients are tasks.
struct RunningNoise {
    answers: Answers,
    tasks: JoinSet<()>,
    listening: Option<BackgroundLoad>,
}

impl RunningNoise {
    /// Connects the clients of the noisy neighbour and starts its load.
    fn start(order: &NoiseOrder) -> Result<RunningNoise> {
        let (answers, mut tasks) = (Answers::default(), JoinSet::new());
        let mut listening = None;
        match order.noise {
            NoisyNeighbour::FloodingMember { person, room } => {
                for (number, node) in (0..=LISTENERS).zip(order.gateways.iter().cycle()) {
                    let (ws, token) = (format!("ws://{node}/v1/ws"), order.token(person + number));
                    let (room, answers) = (order.room(room), answers.clone());
                    if number > 0 {
                        tasks.spawn(noisy::listen_repeatedly(ws, token, room, answers));
                        continue;
                    }
                    for kind in FloodKind::MEMBER {
                        let (ws, token) = (ws.clone(), token.clone());
                        let (room, answers) = (room.clone(), answers.clone());
                        tasks.spawn(noisy::flood_over_websocket(ws, token, room, kind, answers));
                    }
                }
            }
            NoisyNeighbour::HotRoom { first, members, room, rate } => {
                // The generator has only this room, so the room's number in it is 0.
                let mut load = LoadGenerator::new(tidings::dialect(), vec![order.room(room)])?;
                let people = (first..first + members).zip(order.gateways.iter().cycle());
                let people = people.map(|(person, node)| ClientSpec {
                    node: *node,
                    user: user_id(person),
                    token: order.token(person),
                    rooms: vec![0],
                    joins: None,
                    timed: false,
                    receive_buffer: None,
                });
                let people: Vec<ClientSpec> = people.collect();
                tokio::task::block_in_place(|| {
                    load.connect_all(people, MAX_CONCURRENT_HANDSHAKES, CONNECT_TIMEOUT)
                })?;
                listening = Some(BackgroundLoad::start(load, &[(0, 0)], MESSAGE_CHARS, f64::from(rate)));
            }
            NoisyNeighbour::Pollers(blocks) => {
                let pool = http::client();
                for (person, node) in blocks.everybody().zip(order.gateways.iter().cycle()) {
                    let url = format!("http://{node}");
                    let http = Http::sharing(pool.clone(), &url, &order.token(person));
                    let rooms = blocks.rooms_of(person).into_iter().map(|room| order.room(room)).collect();
                    tasks.spawn(noisy::poll_repeatedly(
                        http,
                        rooms,
                        person,
                        POLLS_PER_MESSAGE,
                        answers.clone(),
                    ));
                }
            }
            NoisyNeighbour::Searches { person, parallel, .. } => {
                let http = Http::sharing(http::client(), &order.persistence, &order.token(person));
                for _ in 0..parallel {
                    let (http, word) = (http.clone(), COMMON_WORD.to_owned());
                    tasks.spawn(noisy::search_repeatedly(http, word, answers.clone()));
                }
            }
        }
        Ok(RunningNoise { answers, tasks, listening })
    }

    /// Stops the noisy neighbour. Returns the answers to its requests, with their counts.
    async fn stop(mut self) -> Result<BTreeMap<String, u64>> {
        self.tasks.shutdown().await;
        let mut counts = self.answers.counts();
        if let Some(listening) = self.listening {
            let (mut load, tally) = listening.finish()?;
            // RST leaves no port in TIME_WAIT; the next samples need these ports.
            load.reset_all();
            counts.insert("given".into(), tally.sent);
            counts.insert("heard".into(), tally.in_time.delivered);
            counts.insert("heard late".into(), tally.delivered - tally.in_time.delivered);
            counts.insert("not heard".into(), tally.expected.saturating_sub(tally.delivered));
            counts.insert("connections closed".into(), tally.closed_count());
        }
        Ok(counts)
    }
}
