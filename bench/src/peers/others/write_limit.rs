//! The lower bound of fan-out: one thread, one frame per message, one write(2) per receiver, and nothing else (no
//! tokens, heartbeats, limits or storage). A server with nearly the same cost can become cheaper only with fewer system
//! calls.

use std::collections::HashMap;
use std::io::{ErrorKind, Read};
use std::net::TcpListener;

use anyhow::Result;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use self::connection::{Connection, HandshakeState};
use self::frames::{opcode, server_frame};
use super::bare::{BAD_REQUEST, ClientMessage};

mod connection;
mod frames;
mod handshake;

const LISTENER_TOKEN: Token = Token(usize::MAX);
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Serves until the process ends.
///
/// # Errors
/// When the listener cannot be used.
pub fn run(listener: TcpListener) -> Result<()> {
    let mut listener = mio::net::TcpListener::from_std(listener);
    let poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    poll.registry().register(&mut listener, LISTENER_TOKEN, Interest::READABLE)?;
    let mut server =
        Server { poll, connections: Slab::new(), rooms: HashMap::new(), buffer: vec![0; READ_BUFFER_BYTES] };
    loop {
        match server.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER_TOKEN {
                server.accept(&listener);
                continue;
            }
            // An earlier event of this batch may have freed the slot for a new connection; then flushing does nothing.
            if event.is_writable() {
                server.flush(event.token().0);
            }
            if event.is_readable() {
                server.read(event.token().0);
            }
        }
    }
}

struct Server {
    poll: Poll,
    connections: Slab<Connection>,
    rooms: HashMap<String, Room>,
    buffer: Vec<u8>,
}

#[derive(Default)]
struct Room {
    seq: u64,
    members: Vec<usize>,
}

impl Server {
    fn accept(&mut self, listener: &mio::net::TcpListener) {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The client has disconnected already. Tries the next connection at once.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    eprintln!("accept: {error}");
                    return;
                }
            };
            let entry = self.connections.vacant_entry();
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registered = self.poll.registry().register(&mut stream, Token(entry.key()), interest);
            if stream.set_nodelay(true).is_ok() && registered.is_ok() {
                entry.insert(Connection::new(stream));
            }
        }
    }

    fn flush(&mut self, key: usize) {
        let flushed = self.connections.get_mut(key).map_or(Ok(()), Connection::flush);
        if flushed.is_err() {
            self.remove_connection(key);
        }
    }

    /// Reads until there are no more data, because epoll is edge-triggered.
    fn read(&mut self, key: usize) {
        while let Some(connection) = self.connections.get_mut(key) {
            let read = match connection.stream.read(&mut self.buffer) {
                Ok(read) if read > 0 => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Ok(_) | Err(_) => return self.remove_connection(key),
            };
            connection.received.extend_from_slice(&self.buffer[..read]);
            if self.handle_input(key).is_err() {
                return self.remove_connection(key);
            }
        }
    }

    /// Handles the request, then all complete frames, and keeps the rest of the input.
    fn handle_input(&mut self, key: usize) -> Result<()> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        let mut received = std::mem::take(&mut connection.received);
        let mut taken = 0;
        if matches!(connection.stage, HandshakeState::Handshake) {
            let Some((query, answer, length)) = handshake::parse_request(&received)? else {
                connection.received = received;
                return Ok(());
            };
            connection.write(answer.as_bytes())?;
            self.rooms.entry(query.room.clone()).or_default().members.push(key);
            connection.stage = HandshakeState::Joined(query);
            taken = length;
        }
        while let Some((opcode, payload, length)) = frames::parse_frame(&mut received[taken..])? {
            self.handle_frame(key, opcode, payload)?;
            taken += length;
        }
        // The buffer is dropped when everything was handled, so that an idle connection holds no memory for it.
        if let Some(connection) = self.connections.get_mut(key)
            && taken < received.len()
        {
            connection.received = received.split_off(taken);
        }
        Ok(())
    }

    fn handle_frame(&mut self, key: usize, opcode: u8, payload: &[u8]) -> Result<()> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        let HandshakeState::Joined(query) = &connection.stage else { return Ok(()) };
        match opcode {
            opcode::TEXT => {}
            opcode::PING => return Ok(connection.write(&server_frame(opcode::PONG, payload))?),
            opcode::PONG => return Ok(()),
            _ => anyhow::bail!("closed, or not to be understood"),
        }
        let Ok(message) = serde_json::from_slice::<ClientMessage>(payload) else {
            return Ok(connection.write(&server_frame(opcode::TEXT, BAD_REQUEST.as_bytes()))?);
        };
        let Some(room) = self.rooms.get_mut(&query.room) else { return Ok(()) };
        room.seq += 1;
        let event = server_frame(opcode::TEXT, message.event(&query.room, &query.user, room.seq).as_bytes());
        connection.write(&server_frame(opcode::TEXT, message.ack().as_bytes()))?;
        let mut failed_keys = Vec::new();
        for member in &room.members {
            let written = self.connections.get_mut(*member).map(|connection| connection.write(&event));
            if matches!(written, Some(Err(_))) {
                failed_keys.push(*member);
            }
        }
        for member in failed_keys {
            self.remove_connection(member);
        }
        Ok(())
    }

    fn remove_connection(&mut self, key: usize) {
        let Some(mut connection) = self.connections.try_remove(key) else { return };
        if let HandshakeState::Joined(query) = &connection.stage
            && let Some(room) = self.rooms.get_mut(&query.room)
        {
            room.members.retain(|member| *member != key);
            if room.members.is_empty() {
                self.rooms.remove(&query.room);
            }
        }
        // This may fail: dropping the stream closes the descriptor, which removes it from the poll as well.
        let _ = self.poll.registry().deregister(&mut connection.stream);
    }
}
