//! The load generator: any number of WebSocket clients on one thread with one epoll, with the protocol of a
//! [`Dialect`]. It needs little CPU time (no allocation per frame, one read per wake-up) and reports how busy it was.
//! Latencies begin when a message was *due*, so that a pause of the server delays all messages that were due in it
//! (coordinated omission; Tene, "How NOT to Measure Latency").

mod client;
mod driving;
mod entering;
mod frames;
mod hearing;
mod tally;
mod work;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use mio::{Events, Poll};

use crate::dialect::Dialect;
use client::Client;
pub use tally::Tally;
pub use work::{Act, Due, Gate, Work, paced};

/// Events taken from epoll at once.
const EVENTS: usize = 1024;
/// Larger than the data of any socket in one read.
const READ_BUFFER: usize = 1 << 20;

/// A user to connect.
#[derive(Debug, Clone)]
pub struct Person {
    pub node: SocketAddr,
    pub user: String,
    pub token: String,
    /// Their rooms, by number.
    pub rooms: Vec<u32>,
    /// Sent instead of the dialect's join of each room.
    pub joins: Option<Vec<String>>,
    /// Whether the latency of their deliveries is counted.
    pub timed: bool,
    /// The socket's receive buffer in bytes, with segments as on Ethernet; `None`: the system's default.
    pub receive_buffer: Option<usize>,
}

/// A room.
#[derive(Debug, Clone)]
struct Room {
    id: String,
    /// Connected clients that receive messages of the room.
    hearing: u32,
    /// Newest number seen.
    seq: u64,
}

/// Pause of sends after the first refusal of an overloaded server; each further refusal doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A message that was sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// When it was due, microseconds since the generator's zero.
    due_us: u64,
    /// How many connections must receive it.
    receivers: u64,
}

/// See the module.
pub struct Load {
    dialect: Dialect,
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    rooms: Vec<Room>,
    /// The zero of all timestamps.
    epoch: Instant,
    next_reference: u64,
    /// The sends by their references, from `first_reference` on.
    sends: Vec<Option<Sent>>,
    /// Whether sends pause when the server is overloaded: only without a schedule.
    may_rest: bool,
    first_reference: u64,
    /// No message is sent before this, because the server is overloaded.
    resume: Option<Instant>,
    /// Pause of sends after the next refusal of an overloaded server.
    pause: Duration,
    tally: Tally,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    /// The template of messages, cut into pieces.
    send: Vec<driving::Piece>,
    stamp: memchr::memmem::Finder<'static>,
    /// Messages that were due before this belong to an earlier phase.
    phase_us: u64,
    clients_standing: usize,
    check_order: bool,
    follow_seq: bool,
}

impl Load {
    /// A generator with this protocol and these rooms, without clients.
    ///
    /// # Errors
    /// When epoll cannot be created.
    pub fn new(dialect: Dialect, rooms: Vec<String>) -> Result<Load> {
        let send = driving::pieces(&dialect.send);
        Ok(Load {
            dialect,
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            clients: Vec::new(),
            rooms: rooms.into_iter().map(|id| Room { id, hearing: 0, seq: 0 }).collect(),
            epoch: Instant::now(),
            next_reference: 1,
            sends: Vec::new(),
            may_rest: false,
            resume: None,
            pause: FIRST_PAUSE,
            first_reference: 1,
            tally: Tally::default(),
            buffer: vec![0; READ_BUFFER],
            scratch: Vec::with_capacity(8192),
            send,
            stamp: memchr::memmem::Finder::new(hearing::STAMP),
            phase_us: 0,
            clients_standing: 0,
            check_order: false,
            follow_seq: false,
        })
    }

    /// Checks the order of deliveries to each client in its only room.
    pub fn check_order(&mut self) {
        self.check_order = true;
    }

    /// Tracks the newest seq of each room, for read marks.
    pub fn follow_seq(&mut self) {
        self.follow_seq = true;
    }

    /// Number of connected clients.
    #[must_use]
    pub fn standing(&self) -> usize {
        self.clients_standing
    }

    /// Messages delivered to each client so far.
    pub fn received(&self) -> impl Iterator<Item = u64> {
        self.clients.iter().map(|client| client.received)
    }

    /// Makes these clients stop or resume reading.
    pub fn stall(&mut self, clients: impl IntoIterator<Item = u32>, stalled: bool) {
        for number in clients {
            let client = &mut self.clients[number as usize];
            if client.stalled != stalled {
                client.stalled = stalled;
                for room in &client.rooms {
                    let hearing = &mut self.rooms[*room as usize].hearing;
                    *hearing = if stalled { *hearing - 1 } else { *hearing + 1 };
                }
            }
        }
    }

    /// Ends all connections with RST.
    pub fn cut(&mut self) {
        self.cut_from(0);
    }

    /// Ends the connections from this number on with RST; the numbers can be used again.
    pub fn cut_from(&mut self, first: u32) {
        for client in self.clients.drain(first as usize..) {
            if client.is_standing() {
                self.clients_standing -= 1;
                if !client.stalled {
                    client.rooms.iter().for_each(|room| self.rooms[*room as usize].hearing -= 1);
                }
            }
            client.reset();
        }
    }

    fn now_us(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }

    /// Starts a new [`Tally`].
    fn begin(&mut self) -> Instant {
        self.tally = Tally::default();
        self.first_reference = self.next_reference;
        self.sends.clear();
        (self.resume, self.pause) = (None, FIRST_PAUSE);
        self.phase_us = self.now_us();
        Instant::now()
    }

    fn finish(&mut self, begun: Instant) -> Tally {
        let mut tally = std::mem::take(&mut self.tally);
        tally.wall = begun.elapsed();
        tally
    }

    /// Waits for events of sockets up to `wait`, and handles them.
    fn turn(&mut self, wait: Duration) -> Result<()> {
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
                self.writable(number)?;
            }
            if event.is_readable() {
                self.readable(number)?;
            }
        }
        self.events = events;
        self.tally.busy += awake.elapsed();
        Ok(())
    }
}
