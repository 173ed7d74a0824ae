//! The connection of a listener: the WebSocket of `/v1/ws`, or Socket.IO. Both carry the same frames.

use tokio_tungstenite::tungstenite::Message;

use crate::client::ClientError;
use crate::client::socket::{self, Incoming, TokenBy, WebSocket};
use crate::listener::Nodes;
use crate::socket_io::SocketIoFrames;

pub(super) enum FrameSocket {
    WebSocket(Box<WebSocket>),
    SocketIo(SocketIoFrames),
}

impl FrameSocket {
    /// Connects to the gateway with this number.
    pub(super) async fn open(nodes: &Nodes, gateway: usize, token: &str) -> Result<FrameSocket, ClientError> {
        if let Some(transport) = nodes.socket_io {
            let bases = nodes.socket_io_bases(gateway);
            return Ok(FrameSocket::SocketIo(SocketIoFrames::open(&bases, transport, token).await?));
        }
        let socket = socket::open(nodes.gateway(gateway), token, TokenBy::Header, &[]).await?;
        Ok(FrameSocket::WebSocket(Box::new(socket)))
    }

    /// Waits for the next message. The call may be cancelled.
    pub(super) async fn next_message(&mut self) -> Incoming {
        match self {
            FrameSocket::WebSocket(socket) => socket::next_message(&mut **socket).await,
            FrameSocket::SocketIo(frames) => frames.next_message().await,
        }
    }

    /// Sends a frame.
    pub(super) async fn send(&mut self, frame: String) -> Result<(), ClientError> {
        match self {
            FrameSocket::WebSocket(socket) => socket::send(&mut **socket, Message::text(frame)).await,
            FrameSocket::SocketIo(frames) => frames.send(&frame),
        }
    }

    /// Closes the connection.
    pub(super) async fn close(&mut self) {
        match self {
            FrameSocket::WebSocket(socket) => {
                // This fails if the connection has ended already.
                let _ = socket.close(None).await;
            }
            FrameSocket::SocketIo(frames) => frames.close().await,
        }
    }
}
