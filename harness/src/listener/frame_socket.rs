//! The connection of a listener: the WebSocket of `/v1/ws`, or Socket.IO if the URL has its path. Both carry the same
//! frames.

use tokio_tungstenite::tungstenite::Message;

use crate::client::ClientError;
use crate::client::socket::{self, Incoming, TokenBy, WebSocket};
use crate::socket_io::{SOCKET_IO_PATH, SocketIoFrames};

pub(super) enum FrameSocket {
    WebSocket(WebSocket),
    SocketIo(SocketIoFrames),
}

impl FrameSocket {
    /// Connects to a gateway with this token.
    pub(super) async fn open(url: &str, token: &str) -> Result<FrameSocket, ClientError> {
        if url.ends_with(SOCKET_IO_PATH) {
            return Ok(FrameSocket::SocketIo(SocketIoFrames::open(url, token).await?));
        }
        Ok(FrameSocket::WebSocket(socket::open(url, token, TokenBy::Header, &[]).await?))
    }

    /// Waits for the next message. The call may be cancelled.
    pub(super) async fn next_message(&mut self) -> Incoming {
        match self {
            FrameSocket::WebSocket(socket) => socket::next_message(socket).await,
            FrameSocket::SocketIo(frames) => frames.next_message().await,
        }
    }

    /// Sends a frame.
    pub(super) async fn send(&mut self, frame: String) -> Result<(), ClientError> {
        match self {
            FrameSocket::WebSocket(socket) => socket::send(socket, Message::text(frame)).await,
            FrameSocket::SocketIo(frames) => frames.send(&frame).await,
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
