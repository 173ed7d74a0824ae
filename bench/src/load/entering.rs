//! Connects clients: TCP, HTTP upgrade, greeting, joins; a limited number at once.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use mio::{Interest, Token};

use super::client::{Client, Stage};
use super::frames::{self, opcode};
use super::{Load, Person, Tally};
use crate::dialect::fill;

const HEAD_LIMIT: usize = 16 * 1024;

impl Load {
    /// Connects all users and joins their rooms, `at_once` at a time. Deliveries in the meantime are counted too.
    ///
    /// # Errors
    /// When a client is refused or disconnected, or not all are connected in time.
    pub fn enter(&mut self, people: Vec<Person>, at_once: usize, patience: Duration) -> Result<Tally> {
        let begun = self.begin();
        let wanted = self.standing() + people.len();
        let mut waiting = VecDeque::from(people);
        let mut standing = self.standing();
        let mut next_told = Instant::now() + Duration::from_secs(20);
        loop {
            let under_way = self.clients.len() - standing;
            for _ in under_way..at_once {
                let Some(person) = waiting.pop_front() else { break };
                self.open(person)?;
            }
            if standing == wanted {
                return Ok(self.finish(begun));
            }
            self.turn(Duration::from_millis(100))?;
            ensure!(
                self.tally.closed.is_empty(),
                "connections ended while others entered: {:?}, {:?}",
                self.tally.closed,
                self.tally.refusal
            );
            standing = self.standing();
            if Instant::now() > next_told {
                next_told += Duration::from_secs(20);
                eprintln!("  {standing} of {wanted} stand");
            }
            if begun.elapsed() > patience {
                bail!("{standing} of {wanted} stand after {patience:?}: {:?}", self.tally.refusal);
            }
        }
    }

    fn open(&mut self, person: Person) -> Result<()> {
        let Person { node, user, token, rooms, joins, timed, receive_buffer } = person;
        let mut socket = Client::connect(node, receive_buffer)?;
        let number = self.clients.len();
        self.poll.registry().register(&mut socket, Token(number), Interest::READABLE | Interest::WRITABLE)?;
        let mut client = Client {
            socket,
            stage: Stage::Handshake,
            user,
            token,
            rooms,
            joins,
            partial: Vec::new(),
            pending: Vec::new(),
            timed,
            received: 0,
            last_seq: 0,
            stalled: false,
        };
        client.pending = self.request(&client, node).into_bytes();
        self.clients.push(client);
        Ok(())
    }

    fn request(&self, client: &Client, node: SocketAddr) -> String {
        let room = client.rooms.first().map_or("", |room| &self.rooms[*room as usize].id);
        let values = [("token", client.token.as_str()), ("user", &client.user), ("room", room)];
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {node}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            fill(&self.dialect.path, &values)
        );
        for (name, value) in &self.dialect.headers {
            request.push_str(&format!("{name}: {}\r\n", fill(value, &values)));
        }
        request.push_str("\r\n");
        request
    }

    /// Parses the answer to the upgrade. Returns the number of used bytes; `None`: incomplete.
    pub(super) fn upgraded(&mut self, number: usize, bytes: &[u8]) -> Result<Option<usize>> {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
            ensure!(bytes.len() < HEAD_LIMIT, "the handshake's answer is too long");
            return Ok(None);
        };
        ensure!(bytes.starts_with(b"HTTP/1.1 101"), "refused: {}", String::from_utf8_lossy(bytes));
        self.clients[number].stage = Stage::Hello(0);
        self.greet(number)?;
        Ok(Some(end + 4))
    }

    /// Handles a text frame of a client that is still connecting.
    pub(super) fn entering(&mut self, number: usize, payload: &[u8]) -> Result<()> {
        match self.clients[number].stage {
            Stage::Hello(step) => {
                if self.dialect.hello[usize::from(step)].until.matches(payload) {
                    self.clients[number].stage = Stage::Hello(step + 1);
                    self.greet(number)?;
                }
            }
            Stage::Joining(left) => {
                let joined = self.dialect.join.as_ref().is_some_and(|join| join.until.matches(payload));
                if joined {
                    self.clients[number].stage = Stage::Joining(left - 1);
                    self.settle(number);
                }
            }
            Stage::Handshake | Stage::Standing | Stage::Ended => {}
        }
        Ok(())
    }

    /// Sends the frame of the current step; after the last step, the joins.
    fn greet(&mut self, number: usize) -> Result<()> {
        let Stage::Hello(step) = self.clients[number].stage else { return Ok(()) };
        if let Some(step) = self.dialect.hello.get(usize::from(step)) {
            if let Some(send) = &step.send {
                let client = &self.clients[number];
                let text = fill(send, &[("token", &client.token), ("user", &client.user)]);
                self.say(number, text.as_bytes())?;
            }
            return Ok(());
        }
        let client = &mut self.clients[number];
        let joins = match (client.joins.take(), &self.dialect.join) {
            (Some(joins), _) => joins,
            (None, Some(join)) => {
                let template = join.send.as_deref().unwrap_or_default();
                let mut joins = Vec::with_capacity(client.rooms.len());
                for room in &client.rooms {
                    let reference = self.next_reference.to_string();
                    self.next_reference += 1;
                    joins.push(fill(
                        template,
                        &[("room", &self.rooms[*room as usize].id), ("ref", &reference)],
                    ));
                }
                joins
            }
            (None, None) => Vec::new(),
        };
        let rooms = if self.dialect.join.is_some() { client.rooms.len() } else { 0 };
        client.stage = Stage::Joining(rooms as u16);
        for join in joins {
            self.say(number, join.as_bytes())?;
        }
        self.settle(number);
        Ok(())
    }

    fn settle(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.stage == Stage::Joining(0) {
            client.stage = Stage::Standing;
            // Not needed any more, and there are ten thousand of them.
            client.token = String::new();
            self.clients_standing += 1;
            for room in &client.rooms {
                self.rooms[*room as usize].hearing += 1;
            }
        }
    }

    /// Sends a text frame.
    pub(super) fn say(&mut self, number: usize, payload: &[u8]) -> Result<()> {
        let client = &mut self.clients[number];
        frames::write(&mut client.pending, opcode::TEXT, payload);
        // The rest is written when epoll reports that the socket is writable.
        client.flush()?;
        Ok(())
    }
}
