//! The load generator: any number of WebSocket clients on one thread with one epoll, with the protocol of a
//! [`Dialect`]. It needs little CPU time (no allocation per frame, one read per wake-up) and reports its busy time.
//! Latencies count from the time when a message was *due*, not from when it was written. So a pause of the server
//! counts for all messages that were due during the pause (coordinated omission; Tene, "How NOT to Measure Latency").

mod background_load;
mod client;
mod connecting;
mod frames;
mod receiving;
mod round;
mod sending;
mod tally;
mod work;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use mio::{Events, Poll};

use crate::dialect::Dialect;
pub use background_load::BackgroundLoad;
use client::Client;
use round::Round;
pub use tally::Tally;
pub use work::{Act, Completion, DueAct, Work, fixed_rate_work};

const MAX_EVENTS_PER_POLL: usize = 1024;
/// Bytes of the read buffer. A read that does not fill the buffer has emptied the socket.
const READ_BUFFER_BYTES: usize = 1 << 20;

/// A client to connect: its node, its user and its rooms.
#[derive(Debug, Clone)]
pub struct ClientSpec {
    pub node: SocketAddr,
    pub user: String,
    pub token: String,
    /// The indexes of the user's rooms in the room list of the [`LoadGenerator`].
    pub rooms: Vec<u32>,
    /// Frames to send instead of the dialect's join frames.
    pub joins: Option<Vec<String>>,
    /// Whether the latency of deliveries to this client is recorded.
    pub timed: bool,
    /// The socket's receive buffer in bytes, with the segment size of Ethernet. `None`: the system's defaults.
    pub receive_buffer: Option<usize>,
}

#[derive(Debug, Clone)]
struct Room {
    id: String,
    /// Number of connected clients that receive messages of the room.
    receivers: u32,
    /// Newest delivered seq.
    seq: u64,
}

/// Pause of sends after the first refusal by an overloaded server. Each further refusal doubles the pause, up to
/// [`MAX_BACKOFF`].
const INITIAL_BACKOFF: Duration = Duration::from_millis(10);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// A message that was sent.
#[derive(Debug, Clone, Copy)]
struct SentMessage {
    /// When the message was due, in microseconds since [`LoadGenerator::epoch`].
    due_us: u64,
    /// Number of connections that must receive the message.
    receivers: u64,
}

/// A load generator with its clients.
pub struct LoadGenerator {
    dialect: Dialect,
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    rooms: Vec<Room>,
    /// All timestamps are microseconds since this time.
    epoch: Instant,
    next_reference: u64,
    /// The messages of this phase, by reference from `first_reference` on; `None` for a reference that no message has.
    sends: Vec<Option<SentMessage>>,
    /// Whether sends pause when the server is overloaded. Only sends of a closed loop do; in an open loop each send has
    /// its time.
    backs_off: bool,
    first_reference: u64,
    /// No message is sent before this time, because the server is overloaded.
    resume_at: Option<Instant>,
    /// Pause of sends after the next refusal by an overloaded server.
    next_backoff: Duration,
    tally: Tally,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    /// The template of the `send` frame, cut into pieces.
    send: Vec<sending::TemplatePiece>,
    due_finder: memchr::memmem::Finder<'static>,
    /// Beginning of the phase in microseconds since `epoch`. Latencies of messages that were due earlier are not
    /// recorded.
    phase_us: u64,
    connected_clients: usize,
    check_order: bool,
    track_seqs: bool,
    /// The messages of [`LoadGenerator::run_round`] that are not stored yet.
    round: Option<Round>,
}

impl LoadGenerator {
    /// Creates a generator with this protocol and these rooms, without clients.
    pub fn new(dialect: Dialect, rooms: Vec<String>) -> Result<LoadGenerator> {
        let send = sending::parse_template(&dialect.send);
        Ok(LoadGenerator {
            dialect,
            poll: Poll::new()?,
            events: Events::with_capacity(MAX_EVENTS_PER_POLL),
            clients: Vec::new(),
            rooms: rooms.into_iter().map(|id| Room { id, receivers: 0, seq: 0 }).collect(),
            epoch: Instant::now(),
            next_reference: 1,
            sends: Vec::new(),
            backs_off: false,
            resume_at: None,
            next_backoff: INITIAL_BACKOFF,
            first_reference: 1,
            tally: Tally::default(),
            buffer: vec![0; READ_BUFFER_BYTES],
            scratch: Vec::with_capacity(8192),
            send,
            due_finder: memchr::memmem::Finder::new(receiving::DUE_PREFIX),
            phase_us: 0,
            connected_clients: 0,
            check_order: false,
            track_seqs: false,
            round: None,
        })
    }

    /// Checks the order of deliveries to each client from now on. Each client must be in one room only.
    pub fn check_order(&mut self) {
        self.check_order = true;
    }

    /// Tracks the newest seq of each room from now on; read marks need it.
    pub fn track_seqs(&mut self) {
        self.track_seqs = true;
    }

    /// Number of connected clients.
    #[must_use]
    pub fn connected_count(&self) -> usize {
        self.connected_clients
    }

    /// The number of messages that were delivered to each client so far.
    pub fn received_counts(&self) -> impl Iterator<Item = u64> {
        self.clients.iter().map(|client| client.received)
    }

    /// Makes these clients stop or resume reading. Deliveries to clients that do not read are not expected.
    pub fn set_stalled(&mut self, clients: impl IntoIterator<Item = u32>, stalled: bool) {
        for number in clients {
            let client = &mut self.clients[number as usize];
            if client.stalled != stalled {
                client.stalled = stalled;
                for room in &client.rooms {
                    let receivers = &mut self.rooms[*room as usize].receivers;
                    *receivers = if stalled { *receivers - 1 } else { *receivers + 1 };
                }
            }
        }
    }

    /// Ends all connections with RST, and removes the clients.
    pub fn reset_all(&mut self) {
        self.reset_from(0);
    }

    /// Ends the connections of the clients from the number `first` on with RST, and removes these clients. New clients
    /// reuse their numbers.
    pub fn reset_from(&mut self, first: u32) {
        for client in self.clients.drain(first as usize..) {
            if client.is_connected() {
                self.connected_clients -= 1;
                if !client.stalled {
                    client.rooms.iter().for_each(|room| self.rooms[*room as usize].receivers -= 1);
                }
            }
            client.reset();
        }
    }

    fn now_us(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }

    /// Begins a phase with a new [`Tally`].
    fn begin_phase(&mut self) -> Instant {
        self.tally = Tally::default();
        self.first_reference = self.next_reference;
        self.sends.clear();
        (self.resume_at, self.next_backoff) = (None, INITIAL_BACKOFF);
        self.phase_us = self.now_us();
        Instant::now()
    }

    fn finish_phase(&mut self, begun: Instant) -> Tally {
        let mut tally = std::mem::take(&mut self.tally);
        tally.wall = begun.elapsed();
        tally
    }

    /// Waits at most `wait` for events of sockets, and handles them.
    fn poll_sockets(&mut self, wait: Duration) -> Result<()> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(1));
        let polled = self.poll.poll(&mut events, Some(wait));
        let awake = Instant::now();
        if let Err(error) = polled
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            return Err(error.into());
        }
        for event in &events {
            let number = event.token().0;
            if event.is_writable() {
                self.handle_writable(number)?;
            }
            if event.is_readable() {
                self.handle_readable(number)?;
            }
        }
        self.events = events;
        self.tally.busy += awake.elapsed();
        Ok(())
    }
}
