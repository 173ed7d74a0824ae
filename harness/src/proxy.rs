//! A TCP proxy on 127.0.0.1 between two parts, whose weather a test makes: connections cut or reset, bytes held back or
//! delayed in one or both directions, peers that seem to be there and are not, another server behind the same address.
//! Touches sockets only. Promises that bytes are never altered, reordered or dropped within a connection: what a fault
//! takes from a connection is its end, its time, or everything from a point on.

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

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From whoever connects to the server.
    Up,
    /// From the server.
    Down,
}

/// What is done to bytes under way, and to new connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// Nothing goes up: bytes wait, as if packets were lost.
    pub holds_up: bool,
    /// Nothing comes down.
    pub holds_down: bool,
    /// Each chunk arrives so much later.
    pub delay: Duration,
    /// New connections are closed at once.
    pub refuses: bool,
}

impl Weather {
    /// A black hole: connections stand, nothing comes through either way.
    pub const BLACK_HOLE: Weather =
        Weather { holds_up: true, holds_down: true, delay: Duration::ZERO, refuses: false };

    fn holds(&self, direction: Direction) -> bool {
        match direction {
            Direction::Up => self.holds_up,
            Direction::Down => self.holds_down,
        }
    }
}

/// How the connections that stand end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Closed both ways.
    Cut,
    /// With RST both ways.
    Reset,
    /// The server's side is closed; the other hears nothing of it.
    HalfOpen,
}

#[derive(Debug, Clone, Copy)]
struct State {
    target: SocketAddr,
    weather: Weather,
    /// Counts the ends; each connection lives from one to the next.
    ends: u64,
    end: End,
}

/// See the module. Ends with the value.
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
        let state = watch::Sender::new(State { target, weather: Weather::default(), ends: 0, end: End::Cut });
        let accepting = tokio::spawn(accept(listener, state.subscribe()));
        Ok(Proxy { port, state, accepting })
    }

    /// Its port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// New connections lead to another server; those that stand stay.
    pub fn point_to(&self, target_port: u16) {
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target_port));
        self.state.send_modify(|state| state.target = target);
    }

    /// From now on, for connections that stand and new ones.
    pub fn set(&self, weather: Weather) {
        self.state.send_modify(|state| state.weather = weather);
    }

    /// Fair weather again.
    pub fn heal(&self) {
        self.set(Weather::default());
    }

    /// Closes all connections.
    pub fn cut(&self) {
        self.end(End::Cut);
    }

    /// Ends all connections with RST.
    pub fn reset(&self) {
        self.end(End::Reset);
    }

    /// Servers lose all their connections; those who made them are told nothing, and nobody answers them any more.
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
            // Out of files for a moment.
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

/// How the connections that stood after so many ends end; without the proxy all are cut.
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
        // A reset is an end like any other: it is held back as well.
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
