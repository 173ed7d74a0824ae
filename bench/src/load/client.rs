//! One client: its socket, where it stands in the handshake, and what is half read or half written.

use std::io::{self, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result};
use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// What a segment carries on Ethernet.
const ETHERNET_MSS: u32 = 1460;

/// How far a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// TCP or HTTP is under way.
    Handshake,
    /// This step of the greeting is awaited.
    Hello(u16),
    /// So many rooms are still to be joined.
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
    /// Read, but not a whole frame yet.
    pub partial: Vec<u8>,
    /// To be written.
    pub pending: Vec<u8>,
    pub timed: bool,
    pub received: u64,
    /// Newest number delivered, for whoever looks at the order.
    pub last_seq: u64,
    pub stalled: bool,
}

impl Client {
    /// Begins to connect.
    pub fn connect(node: SocketAddr, receive_buffer: Option<usize>) -> Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(node), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
            // By the long segments of the loopback the other side would be given a send buffer of a megabyte and more.
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
        // One that cannot be told so is gone already.
        let _ = SockRef::from(&self.socket).set_linger(Some(std::time::Duration::ZERO));
    }

    /// Writes what is pending. False: some of it is left.
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
            // Thousands of clients hold a buffer only while they need one.
            self.pending = Vec::new();
        }
        Ok(self.pending.is_empty())
    }
}
