//! Three hundred users who send all the time, most by WebSocket and a few over HTTP, and a report of the result.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use reqwest::{Response, header};
use serde_json::{Value, json};
use tidings_harness::play::history;
use tidings_harness::play::room_view::RoomView;
use tidings_harness::play::verdict::{ExpectedMessages, Verdict, check_history, check_listener};
use tidings_harness::recorder::{Interner, Received};
use tidings_harness::{Begin, Cursor, Http, Listener, Nodes, Stack, clock};
use tokio::task::JoinHandle;

const ROOMS: usize = 30;
const PEOPLE_PER_ROOM: usize = 10;
/// Number of WebSocket connections.
pub const CONNECTIONS: usize = ROOMS * PEOPLE_PER_ROOM;
const SEND_INTERVAL: Duration = Duration::from_millis(1000);
/// Number of users that send over HTTP, each into one room.
const HTTP_SENDERS: usize = 4;
const HTTP_SEND_INTERVAL: Duration = Duration::from_millis(100);
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

struct Room {
    id: String,
    people: Vec<Arc<Listener>>,
}

#[derive(Default)]
struct SenderResult {
    room: usize,
    stored: Vec<Received>,
    errors: Vec<String>,
    refused: usize,
}

/// All users, while they send.
pub struct Crowd {
    rooms: Vec<Room>,
    http: Vec<Http>,
    senders: Vec<JoinHandle<SenderResult>>,
    stop: Arc<AtomicBool>,
    begun: Instant,
}

pub struct CrowdReport {
    connected_at: Vec<Instant>,
    /// Failed sends, and errors and broken rules of listeners.
    pub errors: Vec<String>,
    /// Why connection attempts of listeners were refused.
    pub refused_connects: Vec<String>,
    /// Connections to persistence that were refused.
    pub refused: usize,
    pub messages: u64,
    pub took: Duration,
    pub verdict: Verdict,
}

impl CrowdReport {
    /// The times within this range at which a user connected.
    pub fn connected_between(&self, begin: Instant, end: Instant) -> Vec<Instant> {
        self.connected_at.iter().copied().filter(|at| (begin..end).contains(at)).collect()
    }

    /// Messages a second.
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.took.as_secs_f64()
    }
}

impl Crowd {
    /// Connects all users, then starts all senders.
    pub async fn start(stack: &Stack) -> Result<Crowd> {
        let nodes = Arc::new(Nodes::of(stack));
        let mut rooms = Vec::new();
        for room in 0..ROOMS {
            let names = (0..PEOPLE_PER_ROOM).map(|number| format!("p{room}-{number}"));
            let mut members: Vec<Value> = names.clone().map(|user| json!({ "user": user })).collect();
            members.push(json!({ "user": format!("h{room}") }));
            let body = json!({ "kind": "private", "name": room.to_string(), "members": members });
            let answer = stack.http("host").post("/rooms", body).await?.expect(201).body;
            let id = answer["room"].as_str().context("a room")?.to_owned();
            let head: Cursor = serde_json::from_value(answer["head"].clone())?;
            let interner = Arc::<Interner>::default();
            let person = |(number, name): (usize, String)| {
                let listener =
                    Listener::new(&name, Arc::clone(&nodes), room * PEOPLE_PER_ROOM + number, None);
                listener.join(&id, Begin::At(head.clone()), Arc::clone(&interner));
                Arc::new(listener)
            };
            let people = names.enumerate().map(person).collect();
            rooms.push(Room { id, people });
        }
        for room in &rooms {
            for person in &room.people {
                person.online();
            }
            wait_until("all users of a room are connected", || {
                room.people.iter().all(|person| person.is_connected())
            })
            .await?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut senders = Vec::new();
        for (number, room) in rooms.iter().enumerate() {
            for (place, person) in room.people.iter().enumerate() {
                let name = format!("p{number}-{place}");
                let (person, id, stop) = (Arc::clone(person), room.id.clone(), stop.clone());
                senders.push(tokio::spawn(send_by_socket(number, name, person, id, stop)));
            }
        }
        for (number, room) in rooms.iter().enumerate().take(HTTP_SENDERS) {
            let user = format!("h{number}");
            let (token, id, stop) = (stack.token(&user), room.id.clone(), stop.clone());
            senders.push(tokio::spawn(send_by_http(number, user, token, Arc::clone(&nodes), id, stop)));
        }
        let http = (0..nodes.persistence.len()).map(|node| stack.http_at(node, "host")).collect();
        Ok(Crowd { rooms, http, senders, stop, begun: Instant::now() })
    }

    /// Stops the senders, waits until all users received everything, and judges what they received.
    pub async fn finish(self) -> Result<CrowdReport> {
        self.stop.store(true, Ordering::Relaxed);
        let mut expected: Vec<ExpectedMessages> =
            self.rooms.iter().map(|_| ExpectedMessages::default()).collect();
        let (mut errors, mut refused) = (Vec::new(), 0);
        for sender in self.senders {
            let result = sender.await?;
            result.stored.into_iter().for_each(|message| expected[result.room].add(message));
            errors.extend(result.errors);
            refused += result.refused;
        }
        let took = self.begun.elapsed();
        let (mut verdict, mut connected_at, mut refused_connects) =
            (Verdict::default(), Vec::new(), Vec::new());
        for (room, expected) in self.rooms.iter().zip(&expected) {
            let last = expected.last_seq();
            let has_all = |person: &Arc<Listener>| {
                person.cursor(&room.id).is_some_and(|cursor| cursor.seq >= last) || person.failed().is_some()
            };
            wait_until("all users of a room received all messages", || room.people.iter().all(has_all))
                .await?;
            for (place, person) in room.people.iter().enumerate() {
                let record = person.record(&room.id).context("joined")?;
                let record = record.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                verdict.add(check_listener(
                    &format!("{place} of {}", room.id),
                    expected,
                    &RoomView::from(&*record),
                ));
                connected_at.extend(person.connected_at());
                refused_connects.extend(person.connect_errors());
                errors.extend(person.errors());
                errors.extend(person.broken_rules());
                errors.extend(person.failed());
            }
            let messages = history::read_messages(&self.http, &room.id).await?;
            verdict.add(check_history(&room.id, expected, &messages));
            let events = history::read_events(&self.http, &room.id).await?;
            verdict.add(check_history(&room.id, expected, &events));
        }
        let messages = expected.iter().map(ExpectedMessages::count).sum();
        Ok(CrowdReport { connected_at, errors, refused_connects, refused, messages, took, verdict })
    }
}

/// Sends messages until `stop` is set.
async fn send_by_socket(
    room: usize,
    name: String,
    person: Arc<Listener>,
    id: String,
    stop: Arc<AtomicBool>,
) -> SenderResult {
    let mut result = SenderResult { room, ..SenderResult::default() };
    // Spreads the first sends over one interval.
    let mut turn = tokio::time::Instant::now() + SEND_INTERVAL.mul_f64(rand::random_range(0.0..1.0));
    for number in 0.. {
        tokio::time::sleep_until(turn).await;
        turn += SEND_INTERVAL;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let text = format!("{name} says {number}");
        match person.send(&id, &text).await {
            Ok(sent) => result.stored.push(Received {
                seq: sent.seq,
                id: sent.id,
                client_id: sent.client_id,
                sender: name.clone(),
                text,
            }),
            Err(error) => result.errors.push(format!("{text}: {error}")),
        }
    }
    result
}

/// Sends over HTTP. Moves to the next node when a node refuses the connection or answers `Connection: close`.
async fn send_by_http(
    room: usize,
    user: String,
    token: String,
    nodes: Arc<Nodes>,
    id: String,
    stop: Arc<AtomicBool>,
) -> SenderResult {
    let mut result = SenderResult { room, ..SenderResult::default() };
    let client = tidings_harness::http::client();
    let mut node = room;
    for number in 0.. {
        tokio::time::sleep(HTTP_SEND_INTERVAL).await;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (text, client_id) = (format!("{user} posts {number}"), clock::client_id());
        let answer = loop {
            let url = format!("{}/v1/rooms/{id}/messages", nodes.persistence[node % nodes.persistence.len()]);
            let body = json!({ "client_id": client_id, "content": text });
            match client.post(url).bearer_auth(&token).json(&body).send().await {
                Err(error) if error.is_connect() => {
                    result.refused += 1;
                    node += 1;
                }
                answer => break answer,
            }
        };
        match answer {
            Ok(answer) => {
                node += usize::from(answer.headers().get(header::CONNECTION).is_some_and(|it| it == "close"));
                match seq_and_id(answer).await {
                    Ok((seq, id)) => {
                        result.stored.push(Received { seq, id, client_id, sender: user.clone(), text })
                    }
                    Err(error) => result.errors.push(format!("{text}: {error:#}")),
                }
            }
            Err(error) => result.errors.push(format!("{text}: {error:?}")),
        }
    }
    result
}

async fn seq_and_id(answer: Response) -> Result<(u64, String)> {
    let status = answer.status().as_u16();
    let body: Value = answer.json().await?;
    ensure!(status == 201 || (status == 200 && body["duplicate"] == true), "{status} {body}");
    let id = body["id"].as_str().context("an id")?.to_owned();
    Ok((body["seq"].as_u64().context("a seq")?, id))
}

async fn wait_until(what: &str, done: impl Fn() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !done() {
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
