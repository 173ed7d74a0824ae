//! The stream of the pub/sub connection. It passes the messages of each read to the handler, as one batch, straight
//! from its read buffer. All other values, such as answers and confirmations, go to the Redis client, which reads and
//! writes through this stream as through a socket. So the Redis client parses no message.

use std::{
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use redis::ConnectionAddr;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use super::{
    Event, EventHandler,
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
    /// Bytes that were read and that do not make a complete value yet.
    input: BytesMut,
    /// Complete values that are no messages, which the Redis client reads next.
    replies: BytesMut,
    /// The messages of a read. The list is kept, so that its memory is used again.
    messages: Vec<MessageRanges>,
}

impl<S> HintStream<S> {
    pub fn new(socket: S, handler: EventHandler) -> Self {
        let (input, replies, messages) = (BytesMut::new(), BytesMut::new(), Vec::new());
        Self { socket, handler, input, replies, messages }
    }

    /// Passes all complete messages to the handler, and moves all other complete values to the replies.
    fn take_values(&mut self) -> io::Result<()> {
        let mut at = 0;
        while let Some((found, end)) = resp::find_value(&self.input, at).map_err(io::Error::other)? {
            match found {
                FoundValue::Message(message) => self.messages.push(message),
                FoundValue::Other => self.replies.extend_from_slice(&self.input[at..end]),
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

impl<S: AsyncRead + Unpin> AsyncRead for HintStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.replies.is_empty() {
            if this.input.capacity() - this.input.len() < READ_BYTES / 2 {
                this.input.reserve(READ_BYTES);
            }
            // The end of the socket is passed on as the end of this stream.
            if ready!(pin!(this.socket.read_buf(&mut this.input)).poll(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
            this.take_values().inspect_err(|error| tracing::warn!(%error, "pub/sub connection lost"))?;
        }
        let length = this.replies.len().min(target.remaining());
        target.put_slice(&this.replies[..length]);
        this.replies.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HintStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
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
