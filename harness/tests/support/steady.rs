//! Senders with a steady rate: each repeats a message until it gets the requested ack, and waits when a refusal says
//! so. And listeners that record the messages.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tidings_harness::{Client, ClientError, ServerFrame, clock};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// A message that got the requested ack.
#[derive(Debug, Clone)]
pub struct AckedMessage {
    pub client_id: String,
    pub seq: u64,
    /// When the answered try was sent.
    pub at: Instant,
    /// True: the message requested the ack `accepted`. False: `stored`.
    pub accepted: bool,
    pub tries: u32,
}

#[derive(Debug, Default)]
pub struct SendResults {
    pub sent: Vec<AckedMessage>,
    /// Refusals by code.
    pub refused: HashMap<String, usize>,
    pub first_refusal: Option<Instant>,
    /// No message is sent before this time.
    hold: Option<Instant>,
}

pub struct Sender {
    pub room: String,
    pub results: Arc<Mutex<SendResults>>,
    task: JoinHandle<Result<()>>,
}

struct PendingMessage {
    client_id: String,
    accepted: bool,
    tries: u32,
    /// If set, the refusal concerned all messages, so this message is sent again before newer ones.
    held: bool,
}

impl Sender {
    /// Sends `count` messages of `bytes`, one every `pause`; every other one requests the ack `accepted`.
    pub fn start(client: Client, room: &str, count: usize, pause: Duration, bytes: usize) -> Self {
        let (room, results) = (room.to_owned(), Arc::<Mutex<SendResults>>::default());
        let task =
            tokio::spawn(send_all(Arc::new(client), room.clone(), results.clone(), count, pause, bytes));
        Self { room, results, task }
    }

    pub fn acked_count(&self) -> usize {
        lock(&self.results).sent.len()
    }

    /// Waits until all messages are answered.
    pub async fn finish(self) -> Result<(String, SendResults)> {
        tokio::time::timeout(WAIT_TIMEOUT, self.task).await???;
        Ok((self.room, std::mem::take(&mut *lock(&self.results))))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn send_all(
    client: Arc<Client>,
    room: String,
    results: Arc<Mutex<SendResults>>,
    count: usize,
    pause: Duration,
    bytes: usize,
) -> Result<()> {
    let (back, mut again) = mpsc::unbounded_channel::<Result<PendingMessage>>();
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
                    waiting.push_back(PendingMessage { client_id, accepted, tries: 0, held: false });
                } else if lock(&results).sent.len() == count {
                    return Ok(());
                }
                let held = lock(&results).hold.is_some_and(|hold| hold > Instant::now());
                // Sends up to two waiting messages per tick, so that the queue shrinks after a pause.
                for message in (0..2).filter_map(|_| if held { None } else { waiting.pop_front() }) {
                    tokio::spawn(send(client.clone(), room.clone(), results.clone(), message, bytes, back.clone()));
                }
            }
        }
    }
}

async fn send(
    client: Arc<Client>,
    room: String,
    results: Arc<Mutex<SendResults>>,
    message: PendingMessage,
    bytes: usize,
    back: mpsc::UnboundedSender<Result<PendingMessage>>,
) {
    let (at, tries) = (Instant::now(), message.tries + 1);
    let ack = if message.accepted { "accepted" } else { "stored" };
    let content = format!("{:-<bytes$}", message.client_id);
    let fields = json!({"room": room, "client_id": message.client_id, "content": content, "ack": ack,
        "attempt": tries});
    let refused = match client.send_with(fields).await {
        Ok(ack) => {
            let PendingMessage { client_id, accepted, .. } = message;
            lock(&results).sent.push(AckedMessage { client_id, seq: ack.seq, at, accepted, tries });
            return;
        }
        Err(error) => error,
    };
    let again = match &refused {
        ClientError::Answered(error) if ["overloaded", "unavailable"].contains(&error.code.as_str()) => {
            {
                let mut results = lock(&results);
                *results.refused.entry(error.code.clone()).or_default() += 1;
                results.first_refusal.get_or_insert_with(Instant::now);
            }
            // `overloaded`, and `unavailable` for a repetition (its client id cannot be looked up), concern all
            // messages.
            let held = error.code == "overloaded" || tries > 1;
            match error.retry_after_ms.map(Duration::from_millis) {
                Some(after) if held => lock(&results).hold = Some(Instant::now() + after),
                // `unavailable` on a first try concerns only this message.
                Some(after) => tokio::time::sleep(after).await,
                None => {}
            }
            let missing = anyhow::anyhow!("{} without retry_after_ms", error.code);
            error.retry_after_ms.map(|_| PendingMessage { tries, held, ..message }).ok_or(missing)
        }
        other => Err(anyhow::anyhow!("{other}")),
    };
    // The receiver of the channel may already be gone.
    let _ = back.send(again);
}

/// A user who records the messages of a room.
pub struct RoomListener {
    pub received: Arc<Mutex<Vec<(String, u64, Instant)>>>,
    task: JoinHandle<Result<()>>,
}

impl RoomListener {
    pub async fn start(client: Client, room: &str) -> Result<Self> {
        client.join_and_catch_up(room).await?;
        let received = Arc::<Mutex<Vec<_>>>::default();
        let task = tokio::spawn({
            let received = received.clone();
            async move {
                loop {
                    match client.next_event(WAIT_TIMEOUT).await? {
                        ServerFrame::Message(message) => {
                            lock(&received).push((message.client_id, message.seq, Instant::now()));
                        }
                        ServerFrame::Void(void) => bail!("{void:?}"),
                        ServerFrame::Gap(gap) => bail!("{gap:?}"),
                        _ => {}
                    }
                }
            }
        });
        Ok(Self { received, task })
    }

    /// Waits until this many messages arrived; fails unless each arrived once and in order.
    pub async fn finish(self, count: usize) -> Result<Vec<(String, u64, Instant)>> {
        let begun = Instant::now();
        while lock(&self.received).len() < count && !self.task.is_finished() {
            ensure!(
                begun.elapsed() < WAIT_TIMEOUT,
                "{} of {count} messages arrived",
                lock(&self.received).len()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if self.task.is_finished() {
            self.task.await??;
        }
        let received = std::mem::take(&mut *lock(&self.received));
        ensure!(received.len() == count, "{} messages arrived, {count} were sent", received.len());
        ensure!(received.is_sorted_by(|a, b| a.1 < b.1), "out of order or repeated");
        Ok(received)
    }
}
