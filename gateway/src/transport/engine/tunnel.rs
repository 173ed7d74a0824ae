//! Forwards a WebSocket to the node of its session: sends the handshake again, and then copies bytes in both
//! directions. The other node answers the handshake, sends the heartbeats and closes the WebSocket.

use std::{io, pin::pin, time::Duration};

use actix_http::Request;
use bytes::Bytes;
use futures_util::future::{Either, select};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    error::EngineError,
    forward::{CONNECT_TIMEOUT, FORWARDED_HEADER, Forwarder},
    query,
};
use crate::transport::{refuse::send_refusal, tunnels::OpenTunnel};

/// Size of the buffer of one direction. Chat messages are short, and a node may have many tunnels.
const BUFFER_BYTES: usize = 4096;
/// Added to the time after which the other node closes a silent client. A tunnel without a byte for this sum ends.
const SILENCE_MARGIN: Duration = Duration::from_secs(5);
/// After one side has ended, the other side may send for this time.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// The socket of a client whose session is on another node.
pub(crate) struct TunnelSocket {
    pub socket: TcpStream,
    /// Bytes that followed the handshake.
    pub read: Vec<u8>,
    /// Bytes that must be sent before the answer to the handshake.
    pub unsent: Bytes,
    /// The head of the handshake: see [`forwarded_head`].
    pub head: Vec<u8>,
}

/// The headers of a handshake that the other node needs. Others may contain tokens, which are not sent further.
fn is_of_handshake(name: &str) -> bool {
    matches!(name, "host" | "connection" | "upgrade") || name.starts_with("sec-websocket-")
}

/// The head of a valid handshake with the header of a forwarded request.
pub(crate) fn forwarded_head(request: &Request) -> Vec<u8> {
    let target = query::forwarded_target(request.path(), request.uri().query().unwrap_or_default());
    let mut head = format!("GET {target} HTTP/1.1\r\n{FORWARDED_HEADER}: 1\r\n").into_bytes();
    for (name, value) in request.head().headers.iter().filter(|(name, _)| is_of_handshake(name.as_str())) {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

impl Forwarder {
    /// Connects the client to the process with this number, until one of them ends the connection or this node stops.
    /// If the process cannot be reached, the client gets the answer for an unknown session.
    pub(crate) async fn run_tunnel(&self, tunnel: OpenTunnel, instance: u64, client: TunnelSocket) {
        let TunnelSocket { mut socket, read, unsent, mut head } = client;
        head.extend_from_slice(&read);
        let node = match self.address_of(instance).await {
            None => {
                self.counters.forwarded_websockets_unknown.add(1);
                None
            }
            Some(address) => {
                let node = timeout(CONNECT_TIMEOUT, connect(&address, &head)).await;
                let node = node.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                let failed = |error: &io::Error| {
                    tracing::debug!(%address, %error, "an Engine.IO WebSocket cannot be forwarded");
                    self.counters.forwarded_websockets_failed.add(1);
                };
                node.inspect_err(failed).ok()
            }
        };
        let Some(mut node) = node else {
            return send_refusal(socket, &unsent, &EngineError::UnknownSession.refusal()).await;
        };
        self.counters.forwarded_websockets_connected.add(1);
        if socket.write_all(&unsent).await.is_err() {
            return;
        }
        tokio::select! {
            () = tunnel.wait_for_stop() => {}
            () = copy_both_ways(&mut socket, &mut node, self.silence + SILENCE_MARGIN) => {}
        }
    }
}

/// Connects to a node, and sends it the handshake.
async fn connect(address: &str, head: &[u8]) -> io::Result<TcpStream> {
    let mut node = TcpStream::connect(address).await?;
    node.set_nodelay(true)?;
    node.write_all(head).await?;
    Ok(node)
}

/// Copies in both directions until one side ends, and then the remaining bytes of the other side.
async fn copy_both_ways(client: &mut TcpStream, node: &mut TcpStream, silence: Duration) {
    let ((mut from_client, mut to_client), (mut from_node, mut to_node)) = (client.split(), node.split());
    let to = pin!(copy(&mut from_client, &mut to_node, silence));
    let back = pin!(copy(&mut from_node, &mut to_client, silence));
    // The result is ignored, because it does not matter whether the second side ends in time.
    match select(to, back).await {
        Either::Left(((), back)) => {
            let _ = timeout(END_TIMEOUT, back).await;
        }
        Either::Right(((), to)) => {
            let _ = timeout(END_TIMEOUT, to).await;
        }
    }
}

/// Copies until the end, an error, or `silence` without a byte. A working connection is never silent for that long,
/// because the node pings its clients.
async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), silence: Duration) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(Ok(read)) = timeout(silence, from.read(&mut buffer)).await {
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    // Fails if the other side has ended too.
    let _ = to.shutdown().await;
}
