//! People who send at a steady rate whatever happens, as the client kit does: in order, each until it is answered as
//! asked for, waiting when they are told to; and people who hear them.

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
}

impl Sender {
    /// Sends so many messages, one every `pause`; every other one asks for `accepted`.
    pub fn start(client: Client, room: &str, count: usize, pause: Duration) -> Self {
        let (room, met) = (room.to_owned(), Arc::<Mutex<Met>>::default());
        let task = tokio::spawn(send_all(Arc::new(client), room.clone(), met.clone(), count, pause));
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
) -> Result<()> {
    let (back, mut again) = mpsc::unbounded_channel();
    let mut tick = tokio::time::interval(pause);
    let (mut made, mut waiting) = (0, VecDeque::new());
    loop {
        tokio::select! {
            refused = again.recv() => match refused {
                Some(Ok(refused)) => waiting.push_front(refused),
                Some(Err(error)) => return Err(error),
                None => {}
            },
            _ = tick.tick() => {
                if made < count {
                    made += 1;
                    waiting.push_back(Try { client_id: clock::client_id(), accepted: made % 2 == 0, tries: 0 });
                } else if lock(&met).sent.len() == count {
                    return Ok(());
                }
                let held = lock(&met).hold.is_some_and(|hold| hold > Instant::now());
                // Behind a pause twice as fast, so that what waits becomes less.
                for message in (0..2).filter_map(|_| if held { None } else { waiting.pop_front() }) {
                    tokio::spawn(send(client.clone(), room.clone(), met.clone(), message, back.clone()));
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
    back: mpsc::UnboundedSender<Result<Try>>,
) {
    let (at, tries) = (Instant::now(), message.tries + 1);
    let ack = if message.accepted { "accepted" } else { "stored" };
    let fields = json!({"room": room, "client_id": message.client_id, "content": message.client_id, "ack": ack,
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
            let mut met = lock(&met);
            *met.refused.entry(error.code.clone()).or_default() += 1;
            let after = error.retry_after_ms.map(Duration::from_millis);
            met.hold = after.map(|after| Instant::now() + after);
            let told = anyhow::anyhow!("{} without a time to try again", error.code);
            after.map(|_| Try { tries, ..message }).ok_or(told)
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
