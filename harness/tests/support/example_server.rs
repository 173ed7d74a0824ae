//! Runs an echo example of the gateway, with the settings of the conformance suites. A busy machine may end a session,
//! because the heartbeats are short, so each check is tried several times.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use tidings_harness::daemon::Daemon;
use tidings_harness::engine_io::{EngineAnswer, EngineMessage, EnginePolling, EngineSocket};
use tidings_harness::folder::Folder;
use tidings_harness::{node, ports};

const READY_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_TRIES: usize = 4;
/// A try that failed after less than this time is not repeated.
const MIN_SLOW_TRY: Duration = Duration::from_secs(1);
/// Much longer than any answer of an example takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The heartbeats of the examples.
pub const PING_INTERVAL: Duration = Duration::from_millis(300);
pub const PING_TIMEOUT: Duration = Duration::from_millis(200);
pub const MAX_PAYLOAD_BYTES: usize = 1_000_000;

/// A running example.
pub struct ExampleServer {
    _daemon: Daemon,
    _folder: Folder,
    /// Such as `http://127.0.0.1:3000/engine.io/`.
    pub base: String,
}

impl ExampleServer {
    async fn start(example: &str, path: &str) -> Result<ExampleServer> {
        let (folder, port) = (Folder::new()?, ports::free()?);
        let program = node::program(&format!("examples/{example}"))?;
        let daemon = Daemon::new(example, folder.path().join("example.log"), Signal::SIGKILL, move || {
            let mut command = Command::new(&program);
            command.arg(port.to_string());
            command
        });
        daemon.start()?;
        daemon.until_ready(READY_TIMEOUT, || accepts_connections(port)).await?;
        Ok(ExampleServer { _daemon: daemon, _folder: folder, base: format!("http://127.0.0.1:{port}{path}") })
    }

    /// The address of a request with this query.
    pub fn url(&self, query: &str) -> String {
        format!("{}?{query}", self.base)
    }

    /// The address of a WebSocket with this query.
    pub fn socket_url(&self, query: &str) -> String {
        self.url(query).replacen("http", "ws", 1)
    }

    /// Opens a WebSocket, and reads the open packet.
    pub async fn socket(&self) -> Result<EngineSocket> {
        let mut socket = EngineSocket::open(&self.socket_url("EIO=4&transport=websocket")).await?;
        let open = next(&mut socket).await?;
        ensure!(open.text().starts_with('0'), "{open:?}");
        Ok(socket)
    }
}

async fn accepts_connections(port: u16) -> bool {
    tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
}

/// The next packet, also a ping.
pub async fn next(socket: &mut EngineSocket) -> Result<EngineMessage> {
    Ok(tokio::time::timeout(ANSWER_TIMEOUT, socket.next()).await?)
}

/// The next packet that is not a ping. Pings are not answered.
pub async fn next_but_ping(socket: &mut EngineSocket) -> Result<EngineMessage> {
    loop {
        match next(socket).await? {
            EngineMessage::Text(packet) if packet == "2" => {}
            message => return Ok(message),
        }
    }
}

/// Waits until the server ends the connection. Other packets are dropped, and pings are not answered.
pub async fn until_closed(socket: &mut EngineSocket) -> Result<()> {
    while !matches!(next(socket).await?, EngineMessage::Closed(_)) {}
    Ok(())
}

/// Asserts that the server refuses with this status and code of the protocol.
pub fn ensure_refused(answer: &EngineAnswer, status: u16, code: u64) -> Result<()> {
    ensure!(answer.status == status && answer.code() == Some(code), "not {status} {code}: {answer:?}");
    ensure!(answer.content_type.starts_with("application/json"), "{answer:?}");
    Ok(())
}

/// Asserts that the session is not known any more.
pub async fn ensure_gone(polling: &EnginePolling) -> Result<()> {
    ensure_refused(&polling.get().await?, 400, 1)
}

/// Starts the example, and repeats a check until it succeeds or all tries were used.
pub async fn check(
    example: &str,
    path: &str,
    behaviour: impl AsyncFn(&ExampleServer) -> Result<()>,
) -> Result<()> {
    let server = ExampleServer::start(example, path).await?;
    let mut tries = 0;
    loop {
        let begun = Instant::now();
        let outcome = behaviour(&server).await;
        tries += 1;
        // A check that fails quickly was not slowed down by the machine.
        if outcome.is_ok() || tries == MAX_TRIES || begun.elapsed() < MIN_SLOW_TRY {
            return outcome;
        }
    }
}
