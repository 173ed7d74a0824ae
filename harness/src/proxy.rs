//! A TCP proxy on 127.0.0.1 that simulates network faults for a test: closed or reset connections, bytes held back or
//! delayed in one or both directions, half-open connections, another server behind the same address. A fault never
//! changes, reorders or skips bytes: it closes a connection, or delays or stops all its bytes from a point on.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::ports;

const CHUNK_BYTES: usize = 16 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// The lasting faults of a proxy. The default has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkConditions {
    /// Bytes to the server wait in the proxy.
    pub holds_up: bool,
    /// Bytes from the server wait in the proxy.
    pub holds_down: bool,
    /// The delay of bytes in both directions.
    pub delay: Duration,
    /// New connections are closed at once.
    pub refuses: bool,
}

impl LinkConditions {
    /// A black hole: connections stay open, but no bytes pass in either direction.
    pub const BLACK_HOLE: LinkConditions =
        LinkConditions { holds_up: true, holds_down: true, delay: Duration::ZERO, refuses: false };

    fn holds(&self, direction: Direction) -> bool {
        match direction {
            Direction::Up => self.holds_up,
            Direction::Down => self.holds_down,
        }
    }
}

/// How a fault ends the open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EndKind {
    /// Closed on both sides.
    Cut,
    /// RST on both sides.
    Reset,
    /// The server's side is closed, and the client's side stays open.
    HalfOpen,
}

#[derive(Debug, Clone, Copy)]
struct ProxyState {
    target: SocketAddr,
    conditions: LinkConditions,
    /// The number of times that all open connections were ended. A connection ends when this number changes.
    ends: u64,
    end: EndKind,
}

/// A proxy in front of one port. Dropping it stops the proxy.
pub struct Proxy {
    port: u16,
    state: watch::Sender<ProxyState>,
    accept_task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of a port of 127.0.0.1.
    pub async fn start(target_port: u16) -> Result<Proxy> {
        let mut tries = 5;
        let listener = loop {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, ports::free()?)).await {
                Ok(listener) => break listener,
                Err(error) if tries == 0 => return Err(error.into()),
                Err(_) => tries -= 1,
            }
        };
        let port = listener.local_addr()?.port();
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target_port));
        let state = watch::Sender::new(ProxyState {
            target,
            conditions: LinkConditions::default(),
            ends: 0,
            end: EndKind::Cut,
        });
        let accept_task = tokio::spawn(accept_connections(listener, state.subscribe()));
        Ok(Proxy { port, state, accept_task })
    }

    /// The proxy's port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Directs new connections to another server. Open connections do not change.
    pub fn point_to(&self, target_port: u16) {
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target_port));
        self.state.send_modify(|state| state.target = target);
    }

    /// Sets the faults of open and new connections.
    pub fn set(&self, conditions: LinkConditions) {
        self.state.send_modify(|state| state.conditions = conditions);
    }

    /// Removes all lasting faults.
    pub fn heal(&self) {
        self.set(LinkConditions::default());
    }

    /// Closes all connections.
    pub fn cut(&self) {
        self.end_connections(EndKind::Cut);
    }

    /// Ends all connections with RST.
    pub fn reset(&self) {
        self.end_connections(EndKind::Reset);
    }

    /// Closes all connections on the server's side only: clients see open connections without answers.
    pub fn half_open(&self) {
        self.end_connections(EndKind::HalfOpen);
    }

    fn end_connections(&self, end: EndKind) {
        self.state.send_modify(|state| (state.ends, state.end) = (state.ends + 1, end));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accept_task.abort();
        self.cut();
    }
}

async fn accept_connections(listener: TcpListener, mut state: watch::Receiver<ProxyState>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Accepting fails while there are too many open files.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let now = *state.borrow_and_update();
        if !now.conditions.refuses {
            tokio::spawn(forward_connection(client, now, state.clone()));
        }
    }
}

/// Forwards one connection until a side or a fault ends it.
async fn forward_connection(
    mut client: TcpStream,
    begun: ProxyState,
    mut state: watch::Receiver<ProxyState>,
) {
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(begun.target));
    let Ok(Ok(mut server)) = connecting.await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let end = {
        let ((client_in, client_out), (server_in, server_out)) = (client.split(), server.split());
        let up = forward_direction(client_in, server_out, Direction::Up, state.clone());
        let down = forward_direction(server_in, client_out, Direction::Down, state.clone());
        // `biased` checks for the end first, so that a connection forwards nothing after a fault has ended it.
        tokio::select! {
            biased;
            end = wait_for_end(&mut state, begun.ends) => end,
            ((), ()) = async { tokio::join!(up, down) } => return,
        }
    };
    match end {
        EndKind::Cut => {}
        EndKind::Reset => {
            let _ = (client.set_zero_linger(), server.set_zero_linger());
        }
        EndKind::HalfOpen => {
            drop(server);
            let mut unheard = vec![0; CHUNK_BYTES];
            while client.read(&mut unheard).await.is_ok_and(|read| read > 0) {}
        }
    }
}

/// Waits until the number of ends is no longer `ends`, and returns how the connection ends. If the proxy is dropped,
/// the connection is closed.
async fn wait_for_end(state: &mut watch::Receiver<ProxyState>, ends: u64) -> EndKind {
    state.wait_for(|state| state.ends > ends).await.map_or(EndKind::Cut, |state| state.end)
}

async fn forward_direction(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    mut state: watch::Receiver<ProxyState>,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        // A reset counts as the end of the stream, and is held back like other bytes.
        let read = from.read(&mut chunk).await.unwrap_or_default();
        let delay = state.borrow().conditions.delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if state.wait_for(|state| !state.conditions.holds(direction)).await.is_err() {
            break;
        }
        if read == 0 || to.write_all(&chunk[..read]).await.is_err() {
            break;
        }
    }
    // The other direction may go on.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_that_are_held_when_the_connection_is_cut_are_lost() {
        for _ in 0..20 {
            let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let proxy = Proxy::start(server.local_addr().unwrap().port()).await.unwrap();
            proxy.set(LinkConditions { holds_down: true, ..LinkConditions::default() });
            let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
            let (mut accepted, _) = server.accept().await.unwrap();
            accepted.write_all(b"answer").await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            proxy.cut();
            proxy.heal();
            let mut received = Vec::new();
            let _ = client.read_to_end(&mut received).await;
            assert_eq!(received, b"");
        }
    }
}
