//! People who send at a steady rate whatever happens: each message until it is answered as asked for, waiting when they
//! are told to; and people who hear them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tidings_harness::{Client, ClientError, ServerFrame, clock};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(120);

/// A message that was answered as asked for.
#[derive(Debug, Clone)]
pub struct Sent {
    pub client_id: String,
    pub seq: u64,
    /// When the try that was answered was sent.
    pub at: Instant,
    /// It asked for `accepted`; else for `stored`.
    pub accepted: bool,
    pub tries: u32,
}

/// What senders met.
#[derive(Debug, Default)]
pub struct Met {
    pub sent: Vec<Sent>,
    /// Refusals by code.
    pub refused: HashMap<String, usize>,
    pub first_refusal: Option<Instant>,
    /// Nothing is sent before.
    hold: Option<Instant>,
}

/// One who sends to one room.
pub struct Sender {
    pub room: String,
    pub met: Arc<Mutex<Met>>,
    task: JoinHandle<Result<()>>,
}

struct Try {
    client_id: String,
    accepted: bool,
    tries: u32,
    /// Refused for what meets others too: it goes before what is newer.
    held: bool,
}

impl Sender {
    /// Sends so many messages of `bytes`, one every `pause`; every other one asks for `accepted`.
    pub fn start(client: Client, room: &str, count: usize, pause: Duration, bytes: usize) -> Self {
        let (room, met) = (room.to_owned(), Arc::<Mutex<Met>>::default());
        let task = tokio::spawn(send_all(Arc::new(client), room.clone(), met.clone(), count, pause, bytes));
        Self { room, met, task }
    }

    /// How many were answered so far.
    pub fn answered(&self) -> usize {
        lock(&self.met).sent.len()
    }

    /// Waits until all were answered.
    pub async fn finish(self) -> Result<(String, Met)> {
        tokio::time::timeout(PATIENCE, self.task).await???;
        Ok((self.room, std::mem::take(&mut *lock(&self.met))))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn send_all(
    client: Arc<Client>,
    room: String,
    met: Arc<Mutex<Met>>,
    count: usize,
    pause: Duration,
    bytes: usize,
) -> Result<()> {
    let (back, mut again) = mpsc::unbounded_channel::<Result<Try>>();
    let mut tick = tokio::time::interval(pause);
    let (mut made, mut waiting) = (0, VecDeque::new());
    loop {
        tokio::select! {
            refused = again.recv() => match refused {
                Some(Ok(refused)) if refused.held => waiting.push_front(refused),
                Some(Ok(refused)) => waiting.push_back(refused),
                Some(Err(error)) => return Err(error),
                None => {}
            },
            _ = tick.tick() => {
                if made < count {
                    made += 1;
                    let (client_id, accepted) = (clock::client_id(), made % 2 == 0);
                    waiting.push_back(Try { client_id, accepted, tries: 0, held: false });
                } else if lock(&met).sent.len() == count {
                    return Ok(());
                }
                let held = lock(&met).hold.is_some_and(|hold| hold > Instant::now());
                // Behind a pause twice as fast, so that what waits becomes less.
                for message in (0..2).filter_map(|_| if held { None } else { waiting.pop_front() }) {
                    tokio::spawn(send(client.clone(), room.clone(), met.clone(), message, bytes, back.clone()));
                }
            }
        }
    }
}

async fn send(
    client: Arc<Client>,
    room: String,
    met: Arc<Mutex<Met>>,
    message: Try,
    bytes: usize,
    back: mpsc::UnboundedSender<Result<Try>>,
) {
    let (at, tries) = (Instant::now(), message.tries + 1);
    let ack = if message.accepted { "accepted" } else { "stored" };
    let content = format!("{:-<bytes$}", message.client_id);
    let fields = json!({"room": room, "client_id": message.client_id, "content": content, "ack": ack,
        "attempt": tries});
    let refused = match client.send_with(fields).await {
        Ok(ack) => {
            let Try { client_id, accepted, .. } = message;
            lock(&met).sent.push(Sent { client_id, seq: ack.seq, at, accepted, tries });
            return;
        }
        Err(error) => error,
    };
    let again = match &refused {
        ClientError::Answered(error) if ["overloaded", "unavailable"].contains(&error.code.as_str()) => {
            {
                let mut met = lock(&met);
                *met.refused.entry(error.code.clone()).or_default() += 1;
                met.first_refusal.get_or_insert_with(Instant::now);
            }
            // A repetition is `unavailable` where it cannot be looked up: no other could be.
            let held = error.code == "overloaded" || tries > 1;
            match error.retry_after_ms.map(Duration::from_millis) {
                Some(after) if held => lock(&met).hold = Some(Instant::now() + after),
                // That one is not known to be stored says nothing of the next.
                Some(after) => tokio::time::sleep(after).await,
                None => {}
            }
            let told = anyhow::anyhow!("{} without a time to try again", error.code);
            error.retry_after_ms.map(|_| Try { tries, held, ..message }).ok_or(told)
        }
        other => Err(anyhow::anyhow!("{other}")),
    };
    // The sender may have given up.
    let _ = back.send(again);
}

/// One who hears a room.
pub struct Hearer {
    pub heard: Arc<Mutex<Vec<(String, u64, Instant)>>>,
    task: JoinHandle<Result<()>>,
}

impl Hearer {
    /// Joins and listens.
    pub async fn start(client: Client, room: &str) -> Result<Self> {
        client.join_and_catch_up(room).await?;
        let heard = Arc::<Mutex<Vec<_>>>::default();
        let task = tokio::spawn({
            let heard = heard.clone();
            async move {
                loop {
                    match client.next_event(PATIENCE).await? {
                        ServerFrame::Message(message) => {
                            lock(&heard).push((message.client_id, message.seq, Instant::now()));
                        }
                        ServerFrame::Void(void) => bail!("{void:?}"),
                        ServerFrame::Gap(gap) => bail!("{gap:?}"),
                        _ => {}
                    }
                }
            }
        });
        Ok(Self { heard, task })
    }

    /// Waits until so many messages came; they must have come once, in order.
    pub async fn finish(self, count: usize) -> Result<Vec<(String, u64, Instant)>> {
        let begun = Instant::now();
        while lock(&self.heard).len() < count && !self.task.is_finished() {
            ensure!(begun.elapsed() < PATIENCE, "{} of {count} messages came", lock(&self.heard).len());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if self.task.is_finished() {
            self.task.await??;
        }
        let heard = std::mem::take(&mut *lock(&self.heard));
        ensure!(heard.len() == count, "{} messages came, {count} were sent", heard.len());
        ensure!(heard.is_sorted_by(|a, b| a.1 < b.1), "not in order, or twice");
        Ok(heard)
    }
}
