//! An identity provider's key server on this machine: a JWK set over HTTP, with key rotation and faults. It counts its
//! requests and the bytes that it sends.

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
pub enum ServerBehaviour {
    /// Answers with the keys.
    Normal,
    /// Closes each connection without an answer.
    Down,
    /// Answers with the keys after this time.
    Slow(Duration),
    /// Accepts the request and never answers.
    Silent,
    /// Answers with an endless body.
    Endless,
    /// Answers with this status and body.
    Wrong(u16, String),
    /// Redirects to another address.
    Elsewhere(String),
}

/// A key server. Dropping it stops the server.
pub struct KeyServer {
    url: String,
    shared: Arc<ServerState>,
    task: JoinHandle<()>,
}

struct ServerState {
    behaviour: Mutex<ServerBehaviour>,
    keys: Mutex<Vec<Value>>,
    requests: AtomicUsize,
    sent_bytes: AtomicU64,
}

impl KeyServer {
    /// Serves the public halves of these keys.
    pub async fn start(keys: &[&SigningKey]) -> Result<KeyServer> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://127.0.0.1:{}/keys", listener.local_addr()?.port());
        let shared = Arc::new(ServerState {
            behaviour: Mutex::new(ServerBehaviour::Normal),
            keys: Mutex::default(),
            requests: AtomicUsize::new(0),
            sent_bytes: AtomicU64::new(0),
        });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serving.clone().answer_request(socket));
            }
        });
        let server = KeyServer { url, shared, task };
        server.set_keys(keys);
        Ok(server)
    }

    /// The URL of the JWK set.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Replaces the keys.
    pub fn set_keys(&self, keys: &[&SigningKey]) {
        *lock(&self.shared.keys) = keys.iter().map(|key| key.public_jwk()).collect();
    }

    /// Changes the behaviour.
    pub fn set_behaviour(&self, behaviour: ServerBehaviour) {
        *lock(&self.shared.behaviour) = behaviour;
    }

    /// Number of requests so far.
    pub fn request_count(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Number of body bytes that were written to sockets so far.
    pub fn sent_bytes(&self) -> u64 {
        self.shared.sent_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ServerState {
    /// Reads one request and sends one answer. Returns early if the peer closes the connection.
    async fn answer_request(self: Arc<Self>, mut socket: TcpStream) {
        let mut request = Vec::new();
        while !request.windows(4).any(|window| window == b"\r\n\r\n") {
            if request.len() > 16 * 1024 || !matches!(socket.read_buf(&mut request).await, Ok(1..)) {
                return;
            }
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let behaviour = lock(&self.behaviour).clone();
        let (status, headers, body) = match behaviour {
            ServerBehaviour::Down => return,
            ServerBehaviour::Silent => {
                // Reads until the peer closes the connection.
                while matches!(socket.read_buf(&mut request).await, Ok(1..)) {}
                return;
            }
            ServerBehaviour::Endless => return self.send_endless_body(socket).await,
            ServerBehaviour::Wrong(status, body) => (status, String::new(), body),
            ServerBehaviour::Elsewhere(url) => (302, format!("location: {url}\r\n"), String::new()),
            ServerBehaviour::Normal | ServerBehaviour::Slow(_) => {
                if let ServerBehaviour::Slow(time) = behaviour {
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

    async fn send_endless_body(&self, mut socket: TcpStream) {
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
