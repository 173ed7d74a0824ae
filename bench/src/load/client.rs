//! One client: its socket, its state in the handshake, and its partial input and output.

use std::io::{self, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result};
use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Size of a TCP segment on Ethernet.
const ETHERNET_MSS: u32 = 1460;

/// The state of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Connecting by TCP or HTTP.
    Handshake,
    /// Waiting for this step of the greeting.
    Hello(u16),
    /// This many rooms must still be joined.
    Joining(u16),
    Standing,
    Ended,
}

pub struct Client {
    pub socket: TcpStream,
    pub stage: Stage,
    pub user: String,
    pub token: String,
    pub rooms: Vec<u32>,
    pub joins: Option<Vec<String>>,
    /// Received bytes that are not a complete frame yet.
    pub partial: Vec<u8>,
    /// Bytes to write.
    pub pending: Vec<u8>,
    pub timed: bool,
    pub received: u64,
    /// Newest delivered seq, for the check of the order.
    pub last_seq: u64,
    pub stalled: bool,
}

impl Client {
    /// Begins to connect.
    pub fn connect(node: SocketAddr, receive_buffer: Option<usize>) -> Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(node), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
            // With the long segments of the loopback the other side would get a send buffer of more than a megabyte.
            socket.set_tcp_mss(ETHERNET_MSS)?;
        }
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&node.into()) {
            Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => {
                return Err(error).with_context(|| format!("connect to {node}"));
            }
            _ => {}
        }
        Ok(TcpStream::from_std(socket.into()))
    }

    pub fn is_standing(&self) -> bool {
        self.stage == Stage::Standing
    }

    /// Ends it with RST.
    pub fn reset(self) {
        // This fails only if the socket is closed already.
        let _ = SockRef::from(&self.socket).set_linger(Some(std::time::Duration::ZERO));
    }

    /// Writes pending bytes. False: some are left.
    pub fn flush(&mut self) -> io::Result<bool> {
        let mut written = 0;
        while written < self.pending.len() {
            match self.socket.write(&self.pending[written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pending.drain(..written);
        if self.pending.is_empty() {
            // Frees the buffer, because there are thousands of clients.
            self.pending = Vec::new();
        }
        Ok(self.pending.is_empty())
    }
}
