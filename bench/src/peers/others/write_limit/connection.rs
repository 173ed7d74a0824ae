//! One connection: its partial input and its pending output.

use std::io::{self, ErrorKind, Write};

use mio::net::TcpStream;

use crate::peers::others::bare::ConnectQuery;

/// Limit of the pending output. A client that does not read is disconnected above it.
const MAX_PENDING_BYTES: usize = 16 * 1024 * 1024;

pub(super) struct Connection {
    pub stream: TcpStream,
    pub stage: HandshakeState,
    /// Received bytes that are not a complete request or frame yet.
    pub received: Vec<u8>,
    /// Bytes that the socket did not accept yet.
    pending: Vec<u8>,
}

/// Whether a client has finished the handshake, and with which room and user.
pub(super) enum HandshakeState {
    Handshake,
    Joined(ConnectQuery),
}

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, stage: HandshakeState::Handshake, received: Vec::new(), pending: Vec::new() }
    }

    /// Writes with one write(2), or appends to the pending output if there is any.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = if self.pending.is_empty() { write_once(&mut self.stream, bytes)? } else { 0 };
        if written < bytes.len() {
            self.pending.extend_from_slice(&bytes[written..]);
        }
        if self.pending.len() > MAX_PENDING_BYTES { Err(ErrorKind::OutOfMemory.into()) } else { Ok(()) }
    }

    /// Writes pending output until the socket is full.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            let written = write_once(&mut self.stream, &self.pending)?;
            if written == 0 {
                return Ok(());
            }
            self.pending.drain(..written);
        }
        self.pending = Vec::new();
        Ok(())
    }
}

/// Writes once. Returns the number of written bytes, or 0 if the socket is full.
fn write_once(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            written => return written,
        }
    }
}
