//! Users with clients of the TypeScript kit. One Node.js process runs all of them (`clients/ts/play/player.mjs`). It
//! reads numbered orders as lines of JSON. It writes answers with the number of their order, and updates about users.
//! Guarantees that every order gets an answer, even if the process ends. Dropping the value ends the process.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};

mod person;

pub use person::KitPerson;

use crate::listener::{LatencyObserver, Nodes, lock};
use crate::token::Token;

const TOKEN_TTL_S: i64 = 24 * 3600;

/// The last update about a user.
#[derive(Default)]
struct PersonState {
    seq: AtomicU64,
    connections: AtomicU64,
}

struct KitUser {
    state: Arc<PersonState>,
    on_latency: LatencyObserver,
}

#[derive(Default)]
struct SharedState {
    orders: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    people: Mutex<Vec<KitUser>>,
    ended: Mutex<Option<String>>,
}

/// The Node.js process.
pub struct Kit {
    lines: mpsc::UnboundedSender<String>,
    shared: Arc<SharedState>,
    _child: Child,
}

impl Kit {
    /// Starts `node PROGRAM`, and waits until it has loaded the kit.
    ///
    /// # Errors
    /// When Node is missing, or the kit is not built.
    pub async fn start(program: &Path) -> Result<Kit> {
        let mut child = Command::new("node")
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start node")?;
        let (stdin, stdout) =
            (child.stdin.take().context("no stdin")?, child.stdout.take().context("no stdout")?);
        let mut output = BufReader::new(stdout).lines();
        let first = output.next_line().await?.unwrap_or_default();
        ensure!(first.contains("\"ready\""), "{} did not begin: is the kit built?", program.display());
        let (lines, outgoing) = mpsc::unbounded_channel();
        let shared = Arc::new(SharedState::default());
        tokio::spawn(write_lines(stdin, outgoing));
        tokio::spawn(read_lines(output, Arc::clone(&shared)));
        Ok(Kit { lines, shared, _child: child })
    }

    /// Creates a user, who is offline at first.
    pub(super) fn create_user(
        self: &Arc<Self>,
        user: &str,
        room: &str,
        nodes: &Nodes,
        number: usize,
        on_latency: LatencyObserver,
    ) -> KitPerson {
        let state = Arc::new(PersonState::default());
        let person = {
            let mut people = lock(&self.shared.people);
            people.push(KitUser { state: Arc::clone(&state), on_latency });
            people.len() - 1
        };
        let origin = |ws: &String| ws.replacen("ws", "http", 1).trim_end_matches("/v1/ws").to_owned();
        let order = json!({
            "do": "hire", "person": person, "user": user, "room": room, "first": number,
            "token": Token::of(user).ttl_s(TOKEN_TTL_S).sign(&nodes.jwt_secret),
            "gateways": nodes.gateways.iter().map(origin).collect::<Vec<_>>(),
            "persistence": nodes.persistence,
        });
        self.send_order(&order);
        KitPerson::new(person, Arc::clone(self), state)
    }

    /// Sends an order without waiting for an answer.
    fn send_order(&self, order: &Value) {
        // This fails if the process has ended. Then [`read_lines`] fails all waiting orders.
        let _ = self.lines.send(order.to_string());
    }

    /// Sends an order and returns its answer.
    async fn request(&self, mut order: Value) -> Result<Value, String> {
        let id = self.shared.orders.fetch_add(1, Ordering::Relaxed);
        order["id"] = id.into();
        let (answered, answer) = oneshot::channel();
        lock(&self.shared.waiting).insert(id, answered);
        self.send_order(&order);
        // [`read_lines`] sets `ended` and then fails all registered orders, so this check must follow the registration.
        if let Some(why) = lock(&self.shared.ended).clone() {
            return Err(why);
        }
        let answer = answer.await.map_err(|_| lock(&self.shared.ended).clone().unwrap_or_default())?;
        match answer["error"].as_str() {
            Some(why) => Err(why.to_owned()),
            None => Ok(answer),
        }
    }
}

async fn write_lines(mut stdin: ChildStdin, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = lines.recv().await {
        if stdin.write_all(format!("{line}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_lines(mut lines: Lines<BufReader<ChildStdout>>, shared: Arc<SharedState>) {
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(mut said) = serde_json::from_str::<Value>(&line) else { continue };
        if let Some(id) = said["id"].as_u64() {
            if let Some(waiting) = lock(&shared.waiting).remove(&id) {
                // This fails if the caller was cancelled.
                let _ = waiting.send(said);
            }
        } else {
            apply_updates(&shared, said["news"].take());
        }
    }
    *lock(&shared.ended) = Some("the process with the kit has ended".to_owned());
    lock(&shared.waiting).clear();
}

/// Handles updates: `[[person, seq, connections, [latency in microseconds, …]], …]`.
fn apply_updates(shared: &SharedState, updates: Value) {
    type Update = (usize, u64, u64, Vec<u64>);
    let people = lock(&shared.people);
    for (person, seq, connections, delays) in
        serde_json::from_value::<Vec<Update>>(updates).unwrap_or_default()
    {
        let Some(part) = people.get(person) else { continue };
        part.state.seq.store(seq, Ordering::Relaxed);
        part.state.connections.store(connections, Ordering::Relaxed);
        delays.into_iter().for_each(|us| (part.on_latency)(Duration::from_micros(us)));
    }
}
