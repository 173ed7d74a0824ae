//! A receiver of webhooks: an HTTP server that keeps what it gets, and that behaves well or badly.
//! Touches only the network.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How a receiver answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceiverBehaviour {
    /// Accepts with 204.
    Accept,
    /// Accepts after this time.
    Slow(Duration),
    /// Answers with this status and this further header line, which may be empty.
    Answer(u16, String),
    /// Accepts, except events whose body contains this text: they get 500.
    Reject(String),
    /// Closes each connection without an answer.
    Down,
    /// Answers 200 with an endless body.
    Endless,
}

/// A request that a receiver got.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The path of the request.
    pub path: String,
    /// The body as text.
    pub body: String,
    /// The body as it was sent.
    pub bytes: Vec<u8>,
    /// Whether the receiver accepted it.
    pub accepted: bool,
    /// When the request was complete.
    pub at: Instant,
}

impl Delivery {
    /// The body as JSON; null if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// A header; empty if it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The room and the seq of the event.
    pub fn position(&self) -> Option<(String, u64)> {
        let event = &self.json()["data"];
        Some((event["room"].as_str()?.to_owned(), event["seq"].as_u64()?))
    }

    /// The numbers of the signatures, from 0, that this secret has made. Computed without the library of the sender.
    pub fn signatures_by(&self, secret: &str) -> Vec<usize> {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or_default()).unwrap_or_default();
        let text =
            format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), text.as_bytes());
        let wanted = format!("v1,{}", STANDARD.encode(tag));
        let all = self.header("webhook-signature").split(' ').enumerate();
        all.filter(|(_, signature)| *signature == wanted).map(|(number, _)| number).collect()
    }
}

/// A receiver. Dropping it stops the server.
pub struct Receiver {
    url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    behaviour: Mutex<ReceiverBehaviour>,
    /// All requests; None if only the accepted events are kept.
    deliveries: Mutex<Option<Vec<Delivery>>>,
    accepted: Mutex<BTreeMap<String, RoomDeliveries>>,
    most_at_once: Mutex<(usize, usize)>,
}

/// The accepted events of a room.
#[derive(Debug, Clone, Default)]
pub struct RoomDeliveries {
    /// The seqs, each when it first came, in the order in which they came.
    pub order: Vec<u64>,
    /// The last event that came for each seq.
    pub events: BTreeMap<u64, Value>,
    /// How many accepted events had come before.
    pub repeated: u64,
}

impl RoomDeliveries {
    fn record(&mut self, seq: u64, event: Value) {
        if self.events.insert(seq, event).is_some() {
            self.repeated += 1;
        } else {
            self.order.push(seq);
        }
    }
}

impl Receiver {
    /// Starts a receiver that accepts everything.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start() -> Result<Receiver> {
        Receiver::start_with(Some(Vec::new())).await
    }

    /// Starts a receiver for long runs, which keeps the accepted events and not the requests.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn keeping_events() -> Result<Receiver> {
        Receiver::start_with(None).await
    }

    async fn start_with(deliveries: Option<Vec<Delivery>>) -> Result<Receiver> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://127.0.0.1:{}/hook", listener.local_addr()?.port());
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(ReceiverBehaviour::Accept),
            deliveries: Mutex::new(deliveries),
            accepted: Mutex::default(),
            most_at_once: Mutex::default(),
        });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(serving.clone(), socket));
            }
        });
        Ok(Receiver { url, shared, task })
    }

    /// The URL of the endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Changes the behaviour.
    pub fn behave(&self, behaviour: ReceiverBehaviour) {
        *lock(&self.shared.behaviour) = behaviour;
    }

    /// All requests so far; none if they are not kept.
    pub fn deliveries(&self) -> Vec<Delivery> {
        lock(&self.shared.deliveries).clone().unwrap_or_default()
    }

    /// The accepted events by room.
    pub fn accepted(&self) -> BTreeMap<String, RoomDeliveries> {
        lock(&self.shared.accepted).clone()
    }

    /// The seqs of the accepted events by room, each when it first came, in the order in which they came.
    pub fn first_accepted(&self) -> BTreeMap<String, Vec<u64>> {
        let accepted = lock(&self.shared.accepted);
        accepted.iter().map(|(room, events)| (room.clone(), events.order.clone())).collect()
    }

    /// The number of different events that were accepted.
    pub fn accepted_count(&self) -> usize {
        lock(&self.shared.accepted).values().map(|room| room.order.len()).sum()
    }

    /// The largest number of requests that were answered at the same time.
    pub fn most_at_once(&self) -> usize {
        lock(&self.shared.most_at_once).1
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves the requests of one connection.
async fn serve(shared: Arc<Shared>, mut socket: TcpStream) {
    let mut read = Vec::new();
    while let Some(delivery) = read_request(&mut socket, &mut read).await {
        {
            let mut count = lock(&shared.most_at_once);
            count.0 += 1;
            count.1 = count.1.max(count.0);
        }
        let answered = answer(&shared, &mut socket, delivery).await;
        lock(&shared.most_at_once).0 -= 1;
        if answered.is_none() {
            return;
        }
    }
}

/// Answers a request. None if the connection is over.
async fn answer(shared: &Shared, socket: &mut TcpStream, mut delivery: Delivery) -> Option<()> {
    let behaviour = lock(&shared.behaviour).clone();
    let (status, header) = match &behaviour {
        ReceiverBehaviour::Accept | ReceiverBehaviour::Slow(_) => (204, String::new()),
        ReceiverBehaviour::Answer(status, header) => (*status, header.clone()),
        ReceiverBehaviour::Reject(text) if delivery.body.contains(text) => (500, String::new()),
        ReceiverBehaviour::Reject(_) => (204, String::new()),
        ReceiverBehaviour::Down | ReceiverBehaviour::Endless => (0, String::new()),
    };
    if let ReceiverBehaviour::Slow(time) = behaviour {
        // A sender that gives up closes the connection.
        let mut byte = [0];
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = socket.read(&mut byte) => return None,
        }
    }
    delivery.accepted = (200..300).contains(&status);
    if delivery.accepted
        && let Some((room, seq)) = delivery.position()
    {
        let event = delivery.json()["data"].take();
        lock(&shared.accepted).entry(room).or_default().record(seq, event);
    }
    if let Some(kept) = lock(&shared.deliveries).as_mut() {
        kept.push(delivery);
    }
    if behaviour == ReceiverBehaviour::Endless {
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n").await.ok()?;
        loop {
            socket.write_all(&[b'x'; 8192]).await.ok()?;
        }
    }
    if status == 0 {
        return None;
    }
    let line_end = if header.is_empty() { "" } else { "\r\n" };
    let length = if status == 204 { "" } else { "content-length: 0\r\n" };
    let head = format!("HTTP/1.1 {status} As told\r\n{length}{header}{line_end}\r\n");
    socket.write_all(head.as_bytes()).await.ok()
}

/// Reads a request with its body. None if the connection ends before.
async fn read_request(socket: &mut TcpStream, read: &mut Vec<u8>) -> Option<Delivery> {
    let head_end = loop {
        if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(read).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&read[..head_end]).into_owned();
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_lowercase(), value.trim().to_owned()))
    };
    let headers: BTreeMap<String, String> = head.lines().filter_map(header).collect();
    let length: usize = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or_default();
    while read.len() < head_end + length {
        if socket.read_buf(read).await.ok()? == 0 {
            return None;
        }
    }
    let path = head.split(' ').nth(1)?.to_owned();
    let bytes = read[head_end..head_end + length].to_vec();
    let body = String::from_utf8_lossy(&bytes).into_owned();
    read.drain(..head_end + length);
    Some(Delivery { headers, path, body, bytes, accepted: false, at: Instant::now() })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
