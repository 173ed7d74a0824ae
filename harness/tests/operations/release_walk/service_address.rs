//! The address of a Service, as kube-proxy provides it: a new connection goes to one of the present endpoints, and open
//! connections stay where they are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tidings_harness::ports;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The address of one port of a Service.
pub struct ServiceAddress {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    endpoints: Mutex<Vec<u16>>,
    turn: AtomicU64,
    refused: AtomicU64,
}

impl ServiceAddress {
    /// Begins to listen. A headless Service has no address: its clients know all pods, and connect to the next when one
    /// refuses. The address then does this for them.
    pub async fn start(headless: bool) -> Result<ServiceAddress> {
        let port = ports::free()?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let shared = Arc::new(Shared::default());
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(forward(shared.clone(), client, headless));
                }
            }
        });
        Ok(ServiceAddress { port, shared, task })
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Replaces the endpoints: ports of pods.
    pub fn set_endpoints(&self, ports: Vec<u16>) {
        *self.shared.endpoints.lock().unwrap_or_else(PoisonError::into_inner) = ports;
    }

    /// Number of connections that no endpoint accepted.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}

impl Drop for ServiceAddress {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(shared: Arc<Shared>, mut client: TcpStream, headless: bool) {
    let mut endpoints = shared.endpoints.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if !endpoints.is_empty() {
        let turn = shared.turn.fetch_add(1, Ordering::Relaxed);
        let first = usize::try_from(turn).unwrap_or_default() % endpoints.len();
        endpoints.rotate_left(first);
    }
    let tries = if headless { endpoints.len() } else { 1 };
    for port in endpoints.into_iter().take(tries) {
        if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
            // Neither failure matters: the first is only slower, and either side may close at any time.
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let _ = copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
    shared.refused.fetch_add(1, Ordering::Relaxed);
}
