//! The load generator: any number of WebSocket clients on one thread and one epoll, speaking by a [`Dialect`].
//! It costs little (no allocation per frame, one read per wake-up), tells how busy it was, and counts latencies from
//! the moment a message was *due*, so that a server that stands still is charged for all it kept waiting
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
/// Larger than what any socket hands over at once.
const READ_BUFFER: usize = 1 << 20;

/// Someone who is to be connected.
#[derive(Debug, Clone)]
pub struct Person {
    pub node: SocketAddr,
    pub user: String,
    pub token: String,
    /// The rooms they are in, by number.
    pub rooms: Vec<u32>,
    /// Sent instead of the dialect's join of each room.
    pub joins: Option<Vec<String>>,
    /// Whether the latency of what they are delivered counts.
    pub timed: bool,
    /// The socket's receive buffer, bytes, with segments as on Ethernet; the system's choice when not given.
    pub receive_buffer: Option<usize>,
}

/// A room as the generator knows it.
#[derive(Debug, Clone)]
struct Room {
    id: String,
    /// Connected clients in it that hear what is sent.
    hearing: u32,
    /// Newest number seen.
    seq: u64,
}

/// How long the first refusal of an overloaded server lets the sends rest; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A message that was sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// When it was due, microseconds since the generator's zero.
    due_us: u64,
    /// How many connections are to receive it.
    receivers: u64,
}

/// See the module.
pub struct Load {
    dialect: Dialect,
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    rooms: Vec<Room>,
    /// The zero of all stamps.
    epoch: Instant,
    next_reference: u64,
    /// The sends by their references, from `first_reference` on.
    sends: Vec<Option<Sent>>,
    /// Whether sends rest when the server is overloaded: only where no schedule says when they are due.
    may_rest: bool,
    first_reference: u64,
    /// A server that is overloaded is sent nothing before this.
    resume: Option<Instant>,
    /// How long the next refusal of an overloaded server lets the sends rest.
    pause: Duration,
    tally: Tally,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    /// The template of messages, in pieces.
    send: Vec<driving::Piece>,
    stamp: memchr::memmem::Finder<'static>,
    /// What was due before this belongs to an earlier phase.
    phase_us: u64,
    clients_standing: usize,
    check_order: bool,
    follow_seq: bool,
}

impl Load {
    /// A generator that speaks so, in these rooms, without a client.
    ///
    /// # Errors
    /// When there is no epoll to be had.
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

    /// Has the order of what each client is delivered in its (only) room looked at.
    pub fn check_order(&mut self) {
        self.check_order = true;
    }

    /// Has the newest number of each room looked at, for what tells it (marks).
    pub fn follow_seq(&mut self) {
        self.follow_seq = true;
    }

    /// Clients that are connected.
    #[must_use]
    pub fn standing(&self) -> usize {
        self.clients_standing
    }

    /// Messages delivered to each client so far.
    pub fn received(&self) -> impl Iterator<Item = u64> {
        self.clients.iter().map(|client| client.received)
    }

    /// Has these clients stop reading, or go on.
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

    /// Ends all connections by RST, as a network that breaks does not, and a laptop that is closed does.
    pub fn cut(&mut self) {
        self.cut_from(0);
    }

    /// Ends the connections of this number and all later ones in the same way; the numbers are free again.
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

    /// Starts counting anew; the time that follows belongs to the next [`Tally`].
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

    /// Waits for sockets up to `wait` and serves them.
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
