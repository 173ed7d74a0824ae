//! Connects clients, a limited number at a time: TCP, HTTP upgrade, the exchanges of `hello`, joins.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use mio::{Interest, Token};

use super::client::{Client, ConnectionStage};
use super::frames::{self, opcode};
use super::{ClientSpec, LoadGenerator, Tally};
use crate::dialect::fill_template;

const MAX_RESPONSE_HEAD_BYTES: usize = 16 * 1024;

impl LoadGenerator {
    /// Connects all clients and joins their rooms, with at most `at_once` handshakes at a time. The tally contains
    /// deliveries that come in the meantime.
    ///
    /// # Errors
    /// When a client is refused or disconnected, or not all are connected in time.
    pub fn connect_all(
        &mut self,
        people: Vec<ClientSpec>,
        at_once: usize,
        time_limit: Duration,
    ) -> Result<Tally> {
        self.connect_clients(people, at_once, time_limit, true)
    }

    /// Like [`LoadGenerator::connect_all`], but does not fail if clients are disconnected or do not connect in time.
    /// The tally counts disconnected clients.
    ///
    /// # Errors
    /// When a handshake is refused.
    pub fn try_connect_all(
        &mut self,
        people: Vec<ClientSpec>,
        at_once: usize,
        time_limit: Duration,
    ) -> Result<Tally> {
        self.connect_clients(people, at_once, time_limit, false)
    }

    fn connect_clients(
        &mut self,
        people: Vec<ClientSpec>,
        at_once: usize,
        time_limit: Duration,
        all: bool,
    ) -> Result<Tally> {
        let begun = self.begin_phase();
        let wanted = self.connected_count() + people.len();
        let mut waiting = VecDeque::from(people);
        let mut connected = self.connected_count();
        let mut next_report = Instant::now() + Duration::from_secs(20);
        loop {
            let ended = self.tally.closed_count() as usize;
            let under_way = self.clients.len().saturating_sub(connected + ended);
            for _ in under_way..at_once {
                let Some(person) = waiting.pop_front() else { break };
                self.open_connection(person)?;
            }
            if connected == wanted || !all && (connected + ended >= wanted || begun.elapsed() > time_limit) {
                return Ok(self.finish_phase(begun));
            }
            self.poll_sockets(Duration::from_millis(100))?;
            ensure!(
                !all || self.tally.closed.is_empty(),
                "connections ended while others entered: {:?}, {:?}",
                self.tally.closed,
                self.tally.refusal
            );
            connected = self.connected_count();
            if Instant::now() > next_report {
                next_report += Duration::from_secs(20);
                eprintln!("  {connected} of {wanted} are connected");
            }
            if begun.elapsed() > time_limit {
                bail!("{connected} of {wanted} are connected after {time_limit:?}: {:?}", self.tally.refusal);
            }
        }
    }

    fn open_connection(&mut self, person: ClientSpec) -> Result<()> {
        let ClientSpec { node, user, token, rooms, joins, timed, receive_buffer } = person;
        let mut socket = Client::connect(node, receive_buffer)?;
        let number = self.clients.len();
        self.poll.registry().register(&mut socket, Token(number), Interest::READABLE | Interest::WRITABLE)?;
        let mut client = Client {
            socket,
            stage: ConnectionStage::Handshake,
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
        client.pending = self.upgrade_request(&client, node).into_bytes();
        self.clients.push(client);
        Ok(())
    }

    fn upgrade_request(&self, client: &Client, node: SocketAddr) -> String {
        let room = client.rooms.first().map_or("", |room| &self.rooms[*room as usize].id);
        let values = [("token", client.token.as_str()), ("user", &client.user), ("room", room)];
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {node}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            fill_template(&self.dialect.path, &values)
        );
        for (name, value) in &self.dialect.headers {
            request.push_str(&format!("{name}: {}\r\n", fill_template(value, &values)));
        }
        request.push_str("\r\n");
        request
    }

    /// Handles the answer to the HTTP upgrade, if it is complete, and continues with `hello`. Returns the length of the
    /// answer, or `None` if it is incomplete.
    pub(super) fn handle_upgrade_response(&mut self, number: usize, bytes: &[u8]) -> Result<Option<usize>> {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
            ensure!(bytes.len() < MAX_RESPONSE_HEAD_BYTES, "the handshake's answer is too long");
            return Ok(None);
        };
        ensure!(bytes.starts_with(b"HTTP/1.1 101"), "refused: {}", String::from_utf8_lossy(bytes));
        self.clients[number].stage = ConnectionStage::Hello(0);
        self.send_hello_or_joins(number)?;
        Ok(Some(end + 4))
    }

    /// Handles a text frame for a client that is still connecting.
    pub(super) fn handshake_frame(&mut self, number: usize, payload: &[u8]) -> Result<()> {
        match self.clients[number].stage {
            ConnectionStage::Hello(step) => {
                if self.dialect.hello[usize::from(step)].until.matches(payload) {
                    self.clients[number].stage = ConnectionStage::Hello(step + 1);
                    self.send_hello_or_joins(number)?;
                }
            }
            ConnectionStage::Joining(left) => {
                let joined = self.dialect.join.as_ref().is_some_and(|join| join.until.matches(payload));
                if joined {
                    self.clients[number].stage = ConnectionStage::Joining(left - 1);
                    self.mark_connected_if_joined(number);
                }
            }
            ConnectionStage::Handshake | ConnectionStage::Connected | ConnectionStage::Ended => {}
        }
        Ok(())
    }

    /// Sends the frame of the current step of `hello`. After the last step, sends the joins.
    fn send_hello_or_joins(&mut self, number: usize) -> Result<()> {
        let ConnectionStage::Hello(step) = self.clients[number].stage else { return Ok(()) };
        if let Some(step) = self.dialect.hello.get(usize::from(step)) {
            if let Some(send) = &step.send {
                let client = &self.clients[number];
                let text = fill_template(send, &[("token", &client.token), ("user", &client.user)]);
                self.send_text(number, text.as_bytes())?;
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
                    joins.push(fill_template(
                        template,
                        &[("room", &self.rooms[*room as usize].id), ("ref", &reference)],
                    ));
                }
                joins
            }
            (None, None) => Vec::new(),
        };
        let rooms = if self.dialect.join.is_some() { client.rooms.len() } else { 0 };
        client.stage = ConnectionStage::Joining(rooms as u16);
        for join in joins {
            self.send_text(number, join.as_bytes())?;
        }
        self.mark_connected_if_joined(number);
        Ok(())
    }

    fn mark_connected_if_joined(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.stage == ConnectionStage::Joining(0) {
            client.stage = ConnectionStage::Connected;
            // Frees the token, because thousands of clients must need little memory.
            client.token = String::new();
            self.connected_clients += 1;
            for room in &client.rooms {
                self.rooms[*room as usize].receivers += 1;
            }
        }
    }

    /// Sends a text frame.
    pub(super) fn send_text(&mut self, number: usize, payload: &[u8]) -> Result<()> {
        let client = &mut self.clients[number];
        frames::append_frame(&mut client.pending, opcode::TEXT, payload);
        // The rest is written when epoll reports that the socket is writable.
        client.flush()?;
        Ok(())
    }
}
