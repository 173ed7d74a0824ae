//! One client: its socket, its state in the handshake, and its partial input and output.

use std::io::{self, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result};
use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Size of a TCP segment on Ethernet.
const ETHERNET_MSS: u32 = 1460;

/// How far a client has connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionStage {
    /// The TCP connection or the HTTP upgrade is in progress.
    Handshake,
    /// Waits for the answer of this step of the dialect's `hello`.
    Hello(u16),
    /// This many rooms must still be joined.
    Joining(u16),
    Connected,
    Ended,
}

pub struct Client {
    pub socket: TcpStream,
    pub stage: ConnectionStage,
    pub user: String,
    pub token: String,
    pub rooms: Vec<u32>,
    pub joins: Option<Vec<String>>,
    /// Received bytes that are not a complete frame yet.
    pub partial: Vec<u8>,
    /// Bytes that the socket has not accepted yet.
    pub pending: Vec<u8>,
    pub timed: bool,
    pub received: u64,
    /// Newest delivered seq, to check the order.
    pub last_seq: u64,
    pub stalled: bool,
}

impl Client {
    /// Begins to connect without waiting, and returns the socket.
    pub fn connect(node: SocketAddr, receive_buffer: Option<usize>) -> Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(node), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
            // With the long segments of the loopback interface, the server's socket would get a send buffer of more
            // than 1 MB.
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

    pub fn is_connected(&self) -> bool {
        self.stage == ConnectionStage::Connected
    }

    /// Ends the connection with RST.
    pub fn reset(self) {
        // This fails only if the socket is closed already.
        let _ = SockRef::from(&self.socket).set_linger(Some(std::time::Duration::ZERO));
    }

    /// Writes pending bytes. Returns false if the socket did not take all of them.
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
            // Frees the buffer, because thousands of clients must need little memory.
            self.pending = Vec::new();
        }
        Ok(self.pending.is_empty())
    }
}
