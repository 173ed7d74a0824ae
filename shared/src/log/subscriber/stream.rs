//! The stream of the pub/sub connection. It passes the messages of each read to the handler, as one batch, straight
//! from its read buffer. It returns the replies to commands and the confirmations of Redis one at a time. It writes
//! commands while it reads, so that neither side waits for the other.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    ops::Range,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use redis::ConnectionAddr;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use super::{
    Event, EventHandler,
    protocol::Reply,
    resp::{self, FoundValue, MAX_VALUE_BYTES, MessageRanges},
};
use crate::log::RedisClient;

/// Free space in the buffer before a read of the socket.
const READ_BYTES: usize = 64 * 1024;

/// A connection to a server, with or without TLS.
pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Connects to the address of a client, with TLS if the address asks for it.
pub async fn open(client: &RedisClient) -> io::Result<Box<dyn Socket>> {
    match client.get_connection_info().addr() {
        ConnectionAddr::Tcp(host, port) => Ok(Box::new(open_tcp(host, *port).await?)),
        ConnectionAddr::TcpTls { host, port, .. } => {
            let tls = client.tls().ok_or_else(|| io::Error::other("the client has no settings for TLS"))?;
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            let tcp = open_tcp(host, *port).await?;
            Ok(Box::new(TlsConnector::from(tls.clone()).connect(name, tcp).await?))
        }
        ConnectionAddr::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        _ => Err(io::Error::other("unknown kind of address")),
    }
}

async fn open_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    // All addresses of the host are tried at the same time, because some may not answer. The Redis client does the
    // same.
    let mut attempts: JoinSet<io::Result<TcpStream>> =
        tokio::net::lookup_host((host, port)).await?.map(TcpStream::connect).collect();
    let mut failure = io::Error::other("the name of the host has no address");
    while let Some(attempt) = attempts.join_next().await {
        match attempt.map_err(io::Error::other).flatten() {
            Ok(stream) => return stream.set_nodelay(true).map(|()| stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Reads and writes a socket, and extracts the published messages from the bytes that it reads.
pub struct HintStream<S> {
    socket: S,
    handler: EventHandler,
    /// Encoded commands, which [`HintStream::next_reply`] writes.
    pub output: BytesMut,
    /// Bytes that were read and that do not make a complete value yet.
    input: BytesMut,
    /// Replies that were read and not returned yet.
    replies: VecDeque<Reply>,
    /// The messages of a read. The list is kept, so that its memory is used again.
    messages: Vec<MessageRanges>,
}

impl<S> HintStream<S> {
    pub fn new(socket: S, handler: EventHandler) -> Self {
        let (output, input) = (BytesMut::new(), BytesMut::new());
        Self { socket, handler, output, input, replies: VecDeque::new(), messages: Vec::new() }
    }

    /// Passes all complete messages to the handler, and moves all complete replies to `replies`.
    fn take_values(&mut self) -> io::Result<()> {
        let mut at = 0;
        while let Some((found, end)) = resp::find_value(&self.input, at).map_err(io::Error::other)? {
            let text = |range: Range<usize>| String::from_utf8_lossy(&self.input[range]).into_owned();
            match found {
                FoundValue::Message(message) => self.messages.push(message),
                FoundValue::Subscribed(channel) => self.replies.push_back(Reply::Subscribed(text(channel))),
                FoundValue::Unsubscribed(channel) => {
                    self.replies.push_back(Reply::Unsubscribed(text(channel)));
                }
                FoundValue::Error(error) => self.replies.push_back(Reply::Error(text(error))),
                FoundValue::Text(string) => self.replies.push_back(Reply::Text(text(string))),
                FoundValue::Other => {}
            }
            at = end;
        }
        if !self.messages.is_empty() {
            (self.handler)(Event::Messages(Messages { input: &self.input, messages: self.messages.iter() }));
            self.messages.clear();
        }
        self.input.advance(at);
        if at > 2 * READ_BYTES {
            // The buffer has grown for a large value. A new buffer releases this memory.
            self.input = BytesMut::from(&self.input[..]);
            self.messages = Vec::new();
        }
        if self.input.len() > MAX_VALUE_BYTES {
            return Err(io::Error::other("a value from Redis is too large"));
        }
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> HintStream<S> {
    /// Returns the next reply. Until then, writes `output`, and passes messages to the handler. Fails at the end of the
    /// socket. If a caller drops the future, no byte and no reply is lost.
    pub async fn next_reply(&mut self) -> io::Result<Reply> {
        loop {
            if let Some(reply) = self.replies.pop_front() {
                return Ok(reply);
            }
            self.read().await?;
            self.take_values()?;
        }
    }

    /// Reads the socket once, and writes `output` while it waits.
    async fn read(&mut self) -> io::Result<()> {
        if self.input.capacity() - self.input.len() < READ_BYTES / 2 {
            self.input.reserve(READ_BYTES);
        }
        let read = poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = self.poll_output(cx) {
                return Poll::Ready(Err(error));
            }
            pin!(self.socket.read_buf(&mut self.input)).poll(cx)
        });
        match read.await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "Redis closed the connection")),
            _ => Ok(()),
        }
    }

    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
        }
        // A TLS stream may hold bytes that it has accepted and not sent.
        Pin::new(&mut self.socket).poll_flush(cx)
    }
}

/// The messages of one read, each as its channel and its payload, in the order in which Redis sent them. They borrow
/// the read buffer. The handler must copy a payload that it keeps, so that no queue keeps a whole read buffer alive.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    input: &'a [u8],
    messages: std::slice::Iter<'a, MessageRanges>,
}

impl<'a> Iterator for Messages<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let MessageRanges { channel, payload } = self.messages.next()?;
            // All our channels are UTF-8.
            if let Ok(channel) = std::str::from_utf8(&self.input[channel.clone()]) {
                return Some((channel, &self.input[payload.clone()]));
            }
        }
    }
}

#[cfg(test)]
mod tests;
