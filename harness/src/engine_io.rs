//! An Engine.IO 4 client, written from the protocol's page: packets on a WebSocket, and single requests of long
//! polling. It uses one session. It retries nothing, and answers pings only where a comment says so.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::client::socket::{self, WebSocket};
use crate::client::{ClientError, Closed, TokenBy};

mod polling;

pub use polling::{EngineAnswer, EnginePolling, PACKET_SEPARATOR};

const PING: &str = "2";
const PONG: &str = "3";

/// A packet, or the end of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineMessage {
    /// A packet with its type, such as `4hello`.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    Closed(Closed),
}

impl EngineMessage {
    /// The text of a text packet; empty for others.
    pub fn text(&self) -> &str {
        match self {
            EngineMessage::Text(text) => text,
            _ => "",
        }
    }
}

/// A WebSocket of an Engine.IO session.
pub struct EngineSocket {
    socket: WebSocket,
    pong_due: bool,
    flush_due: bool,
}

impl EngineSocket {
    /// Opens a WebSocket. `url` contains the query.
    ///
    /// # Errors
    /// When the server refuses the handshake: with its answer.
    pub async fn open(url: &str) -> Result<EngineSocket, ClientError> {
        let socket = socket::open(url, "", TokenBy::Nothing, &[]).await?;
        Ok(EngineSocket { socket, pong_due: false, flush_due: false })
    }

    /// Sends a packet.
    pub async fn send(&mut self, packet: &str) -> Result<(), ClientError> {
        socket::send(&mut self.socket, Message::text(packet)).await
    }

    /// Sends a binary message.
    pub async fn send_binary(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        socket::send(&mut self.socket, Message::binary(bytes.to_vec())).await
    }

    /// Closes the WebSocket without a packet.
    pub async fn close(&mut self) {
        // This fails if the connection has ended already.
        let _ = self.socket.close(None).await;
    }

    /// Waits for the next packet, also a ping.
    pub async fn next(&mut self) -> EngineMessage {
        loop {
            return match self.socket.next().await {
                Some(Ok(Message::Text(text))) => EngineMessage::Text(text.as_str().to_owned()),
                Some(Ok(Message::Binary(bytes))) => EngineMessage::Binary(bytes.to_vec()),
                Some(Ok(Message::Close(Some(frame)))) => EngineMessage::Closed(Closed {
                    code: Some(frame.code.into()),
                    reason: frame.reason.as_str().to_owned(),
                }),
                Some(Ok(Message::Close(None))) => closed("empty close frame"),
                Some(Ok(_)) => continue,
                Some(Err(error)) => closed(&error.to_string()),
                None => closed("end of stream"),
            };
        }
    }

    /// Like [`EngineSocket::next`], but answers a ping before it returns the ping. The call may be cancelled; the next
    /// call continues.
    pub async fn next_answering_pings(&mut self) -> EngineMessage {
        loop {
            if self.pong_due {
                // Unlike `send`, `feed` does not wait after it has taken the packet. So a cancelled call neither loses
                // the pong nor sends it twice.
                if let Err(error) = self.socket.feed(Message::text(PONG)).await {
                    return closed(&error.to_string());
                }
                (self.pong_due, self.flush_due) = (false, true);
            }
            if self.flush_due {
                if let Err(error) = self.socket.flush().await {
                    return closed(&error.to_string());
                }
                self.flush_due = false;
                return EngineMessage::Text(PING.to_owned());
            }
            match self.next().await {
                EngineMessage::Text(packet) if packet == PING => self.pong_due = true,
                message => return message,
            }
        }
    }
}

fn closed(reason: &str) -> EngineMessage {
    EngineMessage::Closed(Closed { code: None, reason: reason.to_owned() })
}
