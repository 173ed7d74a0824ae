//! A TCP proxy on 127.0.0.1 that simulates network faults for a test: closed or reset connections, bytes held back or
//! delayed in one or both directions, half-open connections, another server behind the same address.
//! Touches sockets only. It never changes, reorders or drops single bytes of a connection: a fault closes a connection,
//! delays it, or stops it from a point on.

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
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// The direction of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// The faults of bytes in transit and of new connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkConditions {
    /// Bytes to the server wait, as if packets were lost.
    pub holds_up: bool,
    /// Bytes from the server wait.
    pub holds_down: bool,
    /// Delay of each chunk.
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

/// How the open connections end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Closed on both sides.
    Cut,
    /// RST on both sides.
    Reset,
    /// The server's side is closed, and the client's side stays open.
    HalfOpen,
}

#[derive(Debug, Clone, Copy)]
struct State {
    target: SocketAddr,
    weather: LinkConditions,
    /// Counts the ends; each connection lasts from one end to the next.
    ends: u64,
    end: End,
}

/// See the module. Dropping it stops the proxy.
pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts one in front of a port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port is free.
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
        let state =
            watch::Sender::new(State { target, weather: LinkConditions::default(), ends: 0, end: End::Cut });
        let accepting = tokio::spawn(accept(listener, state.subscribe()));
        Ok(Proxy { port, state, accepting })
    }

    /// Its port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// New connections lead to another server; open ones do not change.
    pub fn point_to(&self, target_port: u16) {
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target_port));
        self.state.send_modify(|state| state.target = target);
    }

    /// Sets the faults of open and new connections.
    pub fn set(&self, weather: LinkConditions) {
        self.state.send_modify(|state| state.weather = weather);
    }

    /// Removes all faults.
    pub fn heal(&self) {
        self.set(LinkConditions::default());
    }

    /// Closes all connections.
    pub fn cut(&self) {
        self.end(End::Cut);
    }

    /// Ends all connections with RST.
    pub fn reset(&self) {
        self.end(End::Reset);
    }

    /// Closes all connections on the server's side only: clients see open connections without answers.
    pub fn half_open(&self) {
        self.end(End::HalfOpen);
    }

    fn end(&self, end: End) {
        self.state.send_modify(|state| (state.ends, state.end) = (state.ends + 1, end));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, mut state: watch::Receiver<State>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Accepting fails for a moment if there are too many open files.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let now = *state.borrow_and_update();
        if !now.weather.refuses {
            tokio::spawn(carry(client, now, state.clone()));
        }
    }
}

/// One connection, until a side or a fault ends it.
async fn carry(mut client: TcpStream, begun: State, mut state: watch::Receiver<State>) {
    let connecting = tokio::time::timeout(CONNECT_PATIENCE, TcpStream::connect(begun.target));
    let Ok(Ok(mut server)) = connecting.await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let end = {
        let ((client_in, client_out), (server_in, server_out)) = (client.split(), server.split());
        let up = copy(client_in, server_out, Direction::Up, state.clone());
        let down = copy(server_in, client_out, Direction::Down, state.clone());
        tokio::select! {
            end = ended(&mut state, begun.ends) => end,
            ((), ()) = async { tokio::join!(up, down) } => return,
        }
    };
    match end {
        End::Cut => {}
        End::Reset => {
            let _ = (client.set_zero_linger(), server.set_zero_linger());
        }
        End::HalfOpen => {
            drop(server);
            let mut unheard = vec![0; CHUNK_BYTES];
            while client.read(&mut unheard).await.is_ok_and(|read| read > 0) {}
        }
    }
}

/// Waits for the next end after this number of ends. If the proxy is dropped, connections are closed.
async fn ended(state: &mut watch::Receiver<State>, ends: u64) -> End {
    state.wait_for(|state| state.ends > ends).await.map_or(End::Cut, |state| state.end)
}

async fn copy(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    mut state: watch::Receiver<State>,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        // A reset counts as the end of the stream, and is held back like other bytes.
        let read = from.read(&mut chunk).await.unwrap_or_default();
        let delay = state.borrow().weather.delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if state.wait_for(|state| !state.weather.holds(direction)).await.is_err() {
            break;
        }
        if read == 0 || to.write_all(&chunk[..read]).await.is_err() {
            break;
        }
    }
    // One direction may end before the other.
    let _ = to.shutdown().await;
}
