//! An identity provider's key server on this machine: a JWK set over HTTP, with key rotation and faults.
//! Touches one listener. Counts requests and sent bytes, so that a test sees what a service did.

mod signing_key;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub use signing_key::SigningKey;

/// How the server behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Day {
    /// Answers with its keys.
    Good,
    /// Closes the connection.
    Down,
    /// Answers with its keys after this time.
    Slow(Duration),
    /// Accepts the request and never answers.
    Silent,
    /// Answers without an end.
    Endless,
    /// Answers with this status and body.
    Wrong(u16, String),
    /// Redirects to another address.
    Elsewhere(String),
}

/// See the module. Dropping it stops the server.
pub struct KeyServer {
    url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    day: Mutex<Day>,
    keys: Mutex<Vec<Value>>,
    asked: AtomicUsize,
    sent_bytes: AtomicU64,
}

impl KeyServer {
    /// Serves the public halves of these keys.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(keys: &[&SigningKey]) -> Result<KeyServer> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://127.0.0.1:{}/keys", listener.local_addr()?.port());
        let shared = Arc::new(Shared {
            day: Mutex::new(Day::Good),
            keys: Mutex::default(),
            asked: AtomicUsize::new(0),
            sent_bytes: AtomicU64::new(0),
        });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serving.clone().answer(socket));
            }
        });
        let server = KeyServer { url, shared, task };
        server.hold(keys);
        Ok(server)
    }

    /// Where the keys are.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Replaces the keys.
    pub fn hold(&self, keys: &[&SigningKey]) {
        *lock(&self.shared.keys) = keys.iter().map(|key| key.public_jwk()).collect();
    }

    /// Changes the behaviour.
    pub fn turn(&self, day: Day) {
        *lock(&self.shared.day) = day;
    }

    /// Number of requests so far.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// Bytes of bodies that the kernel accepted.
    pub fn sent_bytes(&self) -> u64 {
        self.shared.sent_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Reads one request and sends one answer. Returns early if the peer closes the connection.
    async fn answer(self: Arc<Self>, mut socket: TcpStream) {
        let mut request = Vec::new();
        while !request.windows(4).any(|window| window == b"\r\n\r\n") {
            if request.len() > 16 * 1024 || !matches!(socket.read_buf(&mut request).await, Ok(1..)) {
                return;
            }
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        let day = lock(&self.day).clone();
        let (status, headers, body) = match day {
            Day::Down => return,
            Day::Silent => {
                // Reads until the peer closes the connection.
                while matches!(socket.read_buf(&mut request).await, Ok(1..)) {}
                return;
            }
            Day::Endless => return self.go_on(socket).await,
            Day::Wrong(status, body) => (status, String::new(), body),
            Day::Elsewhere(url) => (302, format!("location: {url}\r\n"), String::new()),
            Day::Good | Day::Slow(_) => {
                if let Day::Slow(time) = day {
                    tokio::time::sleep(time).await;
                }
                let keys = json!({ "keys": *lock(&self.keys) });
                (200, "content-type: application/json\r\n".to_owned(), keys.to_string())
            }
        };
        let head = format!(
            "HTTP/1.1 {status} As told\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        let _ = socket.write_all(head.as_bytes()).await;
        let _ = socket.write_all(body.as_bytes()).await;
        self.sent_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
    }

    async fn go_on(&self, mut socket: TcpStream) {
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"keys\":[").await;
        let blanks = [b' '; 16 * 1024];
        while socket.write_all(&blanks).await.is_ok() {
            self.sent_bytes.fetch_add(blanks.len() as u64, Ordering::Relaxed);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
