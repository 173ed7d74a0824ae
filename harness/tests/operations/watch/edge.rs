//! Clients that use the system through HAProxy and count for themselves which requests were answered 5xx. The load has a
//! fixed rate: a request does not wait for the answer to the one before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidings_harness::balancer::Balancer;
use tidings_harness::{Stack, http};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// HAProxy counts the probe too. So the load is far more than what the probe does.
const INTERVAL: Duration = Duration::from_millis(50);

/// What the clients of one objective counted. Answers 4xx to handshakes do not count.
#[derive(Default)]
pub struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
    /// Requests without an answer: HAProxy cannot have counted them as 5xx.
    broken: AtomicU64,
}

impl Counts {
    /// Requests that were answered well or 5xx.
    pub fn requests(&self) -> u64 {
        self.answered.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed)
    }

    /// The share of requests that were answered 5xx.
    pub fn failed_share(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "the counts are thousands")]
        let share = self.failed.load(Ordering::Relaxed) as f64 / self.requests().max(1) as f64;
        share
    }

    pub fn without_answer(&self) -> u64 {
        self.broken.load(Ordering::Relaxed)
    }
}

/// The running clients.
pub struct EdgeLoad {
    pub http: Arc<Counts>,
    pub connects: Arc<Counts>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl EdgeLoad {
    /// Starts clients that list their rooms, and clients that open WebSockets and close them.
    pub fn begin(stack: &Stack, balancer: &Balancer) -> EdgeLoad {
        let (stop, stopped) = watch::channel(false);
        let (http, connects) = (Arc::<Counts>::default(), Arc::<Counts>::default());
        let token = stack.token("ann");
        let client = http::client();
        let rooms = format!("{}/v1/rooms", balancer.url());
        let rooms = client.get(rooms).bearer_auth(&token);
        let socket = format!("{}/v1/ws", balancer.url());
        let handshake = client.get(socket).bearer_auth(&token);
        let handshake = handshake.header("Connection", "Upgrade").header("Upgrade", "websocket");
        let handshake = handshake.header("Sec-WebSocket-Version", "13");
        let handshake = handshake.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        let tasks = vec![
            tokio::spawn(repeat(rooms, http.clone(), stopped.clone())),
            tokio::spawn(repeat(handshake, connects.clone(), stopped)),
        ];
        EdgeLoad { http, connects, stop, tasks }
    }

    /// Ends the load and waits for the last answers.
    pub async fn end(&mut self) {
        self.stop.send_replace(true);
        for task in self.tasks.drain(..) {
            task.await.ok();
        }
    }
}

async fn repeat(request: reqwest::RequestBuilder, counts: Arc<Counts>, stopped: watch::Receiver<bool>) {
    let mut requests = JoinSet::new();
    while !*stopped.borrow() {
        let (request, counts) = (request.try_clone(), counts.clone());
        requests.spawn(async move {
            let Some(request) = request else { return };
            match request.send().await.map(|answer| answer.status().as_u16()) {
                Ok(500..) => counts.failed.fetch_add(1, Ordering::Relaxed),
                Ok(status) if status < 400 => counts.answered.fetch_add(1, Ordering::Relaxed),
                Ok(_) => 0,
                Err(_) => counts.broken.fetch_add(1, Ordering::Relaxed),
            };
        });
        while requests.try_join_next().is_some() {}
        tokio::time::sleep(INTERVAL).await;
    }
    while requests.join_next().await.is_some() {}
}
