//! The lower bound of fan-out: one thread, one frame per message, one write(2) per receiver, and nothing else (no
//! tokens, heartbeats, limits or storage). A server close to it can only save system calls.

use std::collections::HashMap;
use std::io::{ErrorKind, Read};
use std::net::TcpListener;

use anyhow::Result;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use self::connection::{Connection, PeerState};
use self::frames::{opcode, server_frame};
use super::bare::{BAD_REQUEST, Message};

mod connection;
mod frames;
mod handshake;

const LISTENER: Token = Token(usize::MAX);
const READ_BYTES: usize = 64 * 1024;

/// Serves until the process ends.
///
/// # Errors
/// When the listener cannot be used.
pub fn run(listener: TcpListener) -> Result<()> {
    let mut listener = mio::net::TcpListener::from_std(listener);
    let poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut server =
        Server { poll, connections: Slab::new(), rooms: HashMap::new(), buffer: vec![0; READ_BYTES] };
    loop {
        match server.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER {
                server.accept(&listener);
                continue;
            }
            // If the slot has been reused, flushing does nothing.
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
                // The client is gone, or there is no file descriptor left: tries the next connection at once.
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

    fn flush(&mut self, place: usize) {
        let flushed = self.connections.get_mut(place).map_or(Ok(()), Connection::flush);
        if flushed.is_err() {
            self.forget(place);
        }
    }

    /// Edge-triggered: reads until there are no more data.
    fn read(&mut self, place: usize) {
        while let Some(connection) = self.connections.get_mut(place) {
            let read = match connection.stream.read(&mut self.buffer) {
                Ok(read) if read > 0 => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Ok(_) | Err(_) => return self.forget(place),
            };
            connection.received.extend_from_slice(&self.buffer[..read]);
            if self.take(place).is_err() {
                return self.forget(place);
            }
        }
    }

    /// Handles all complete requests and frames.
    fn take(&mut self, place: usize) -> Result<()> {
        let Some(connection) = self.connections.get_mut(place) else { return Ok(()) };
        let mut received = std::mem::take(&mut connection.received);
        let mut taken = 0;
        if matches!(connection.stage, PeerState::Handshake) {
            let Some((who, answer, length)) = handshake::answer(&received)? else {
                connection.received = received;
                return Ok(());
            };
            connection.write(answer.as_bytes())?;
            self.rooms.entry(who.room.clone()).or_default().members.push(place);
            connection.stage = PeerState::In(who);
            taken = length;
        }
        while let Some((opcode, payload, length)) = frames::next(&mut received[taken..])? {
            self.carry_out(place, opcode, payload)?;
            taken += length;
        }
        // An idle connection must not hold a receive buffer.
        if let Some(connection) = self.connections.get_mut(place)
            && taken < received.len()
        {
            connection.received = received.split_off(taken);
        }
        Ok(())
    }

    fn carry_out(&mut self, place: usize, opcode: u8, payload: &[u8]) -> Result<()> {
        let Some(connection) = self.connections.get_mut(place) else { return Ok(()) };
        let PeerState::In(who) = &connection.stage else { return Ok(()) };
        match opcode {
            opcode::TEXT => {}
            opcode::PING => return Ok(connection.write(&server_frame(opcode::PONG, payload))?),
            opcode::PONG => return Ok(()),
            _ => anyhow::bail!("closed, or not to be understood"),
        }
        let Ok(message) = serde_json::from_slice::<Message>(payload) else {
            return Ok(connection.write(&server_frame(opcode::TEXT, BAD_REQUEST.as_bytes()))?);
        };
        let Some(room) = self.rooms.get_mut(&who.room) else { return Ok(()) };
        room.seq += 1;
        let event = server_frame(opcode::TEXT, message.event(&who.room, &who.user, room.seq).as_bytes());
        connection.write(&server_frame(opcode::TEXT, message.ack().as_bytes()))?;
        let mut gone = Vec::new();
        for member in &room.members {
            let written = self.connections.get_mut(*member).map(|connection| connection.write(&event));
            if matches!(written, Some(Err(_))) {
                gone.push(*member);
            }
        }
        for member in gone {
            self.forget(member);
        }
        Ok(())
    }

    fn forget(&mut self, place: usize) {
        let Some(mut connection) = self.connections.try_remove(place) else { return };
        if let PeerState::In(who) = &connection.stage
            && let Some(room) = self.rooms.get_mut(&who.room)
        {
            room.members.retain(|member| *member != place);
            if room.members.is_empty() {
                self.rooms.remove(&who.room);
            }
        }
        // Closing the descriptor removes it from the poll as well.
        let _ = self.poll.registry().deregister(&mut connection.stream);
    }
}
