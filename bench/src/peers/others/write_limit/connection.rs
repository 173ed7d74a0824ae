//! One connection: what of it has been received, and what of ours has not been written.

use std::io::{self, ErrorKind, Write};

use mio::net::TcpStream;

use crate::peers::others::bare::Who;

/// Whoever does not read is cut off when so much waits.
const PENDING_BYTES: usize = 16 * 1024 * 1024;

pub(super) struct Connection {
    pub stream: TcpStream,
    pub stage: Stage,
    /// What is not a whole request or frame yet.
    pub received: Vec<u8>,
    /// What the socket did not take; written when it takes more.
    pending: Vec<u8>,
}

pub(super) enum Stage {
    Handshake,
    In(Who),
}

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, stage: Stage::Handshake, received: Vec::new(), pending: Vec::new() }
    }

    /// One write(2), unless something waits already.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = if self.pending.is_empty() { write_once(&mut self.stream, bytes)? } else { 0 };
        if written < bytes.len() {
            self.pending.extend_from_slice(&bytes[written..]);
        }
        if self.pending.len() > PENDING_BYTES { Err(ErrorKind::OutOfMemory.into()) } else { Ok(()) }
    }

    /// Writes what waits, as far as the socket takes it.
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

/// How much the socket took; 0 when it is full.
fn write_once(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            written => return written,
        }
    }
}
