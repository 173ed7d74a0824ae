//! Frames of docs/PROTOCOL.md over Socket.IO: an outgoing frame becomes an event that asks for an ack, and acks and
//! events become frames. A client that knows only frames can use it in place of the WebSocket of `/v1/ws`.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::packet::{SocketIoKind, SocketIoPacket};
use crate::client::socket::Incoming;
use crate::client::{ClientError, Closed};
use crate::engine_io::{EngineMessage, EngineSocket};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection of one user in the main namespace, over WebSocket.
pub(crate) struct SocketIoFrames {
    engine: EngineSocket,
    next_ack: u64,
    /// The `ref` of each frame that waits for its ack.
    references: HashMap<u64, Value>,
    /// The content of the event `close`, which comes before the end.
    close: Option<Closed>,
}

impl SocketIoFrames {
    /// Connects with this token. Example of a `url`: `ws://127.0.0.1:8080/socket.io/`.
    ///
    /// # Errors
    /// When the connection or the token is refused.
    pub(crate) async fn open(url: &str, token: &str) -> Result<SocketIoFrames, ClientError> {
        let engine = EngineSocket::open(&format!("{url}?EIO=4&transport=websocket")).await?;
        let mut frames = SocketIoFrames { engine, next_ack: 0, references: HashMap::new(), close: None };
        let connected = timeout(HANDSHAKE_TIMEOUT, frames.connect(token)).await;
        connected.unwrap_or_else(|_| Err(ClientError::Silent(format!("handshake with {url}"))))?;
        Ok(frames)
    }

    async fn connect(&mut self, token: &str) -> Result<(), ClientError> {
        let connect = SocketIoPacket::new(SocketIoKind::Connect, "/", None, json!({ "token": token }));
        self.engine.send(&connect.to_string()).await?;
        loop {
            let message = self.engine.next_answering_pings().await;
            if let EngineMessage::Closed(closed) = message {
                return Err(ClientError::Closed(closed));
            }
            let Some(packet) = SocketIoPacket::parse(message.text()) else { continue };
            match packet.kind {
                SocketIoKind::Connect => return Ok(()),
                SocketIoKind::ConnectError => return Err(refusal(&packet.data)),
                _ => return Err(ClientError::Broken(format!("{packet} in place of the answer to CONNECT"))),
            }
        }
    }

    /// Sends a frame.
    pub(crate) async fn send(&mut self, frame: &str) -> Result<(), ClientError> {
        let parsed = serde_json::from_str(frame);
        let mut frame: Value = parsed.map_err(|error| ClientError::Broken(format!("{error}: {frame}")))?;
        let (event, reference) = (frame["type"].take(), frame["ref"].take());
        if let Some(fields) = frame.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
        }
        let mut id = None;
        if !reference.is_null() {
            self.references.insert(self.next_ack, reference);
            id = Some(self.next_ack);
            self.next_ack += 1;
        }
        let packet = SocketIoPacket::new(SocketIoKind::Event, "/", id, json!([event, frame]));
        self.engine.send(&packet.to_string()).await
    }

    /// Waits for the next frame. A packet of Engine.IO itself only shows that the connection works. The call may be
    /// cancelled.
    pub(crate) async fn next_message(&mut self) -> Incoming {
        let message = self.engine.next_answering_pings().await;
        let text = match &message {
            EngineMessage::Closed(closed) => {
                return Incoming::Closed(self.close.take().unwrap_or_else(|| closed.clone()));
            }
            EngineMessage::Binary(_) => return self.ended("the server sent a binary message"),
            EngineMessage::Text(text) => text,
        };
        match text.as_bytes().first() {
            Some(b'4') => match SocketIoPacket::parse(text) {
                Some(packet) => self.handle_packet(packet),
                None => self.ended(&format!("not a packet: {text}")),
            },
            Some(b'1') => self.ended("the server ended the session"),
            _ => Incoming::Alive,
        }
    }

    fn handle_packet(&mut self, mut packet: SocketIoPacket) -> Incoming {
        match packet.kind {
            SocketIoKind::Ack => {
                let reference = packet.id.and_then(|id| self.references.remove(&id));
                let Some(reference) = reference else {
                    return self.ended(&format!("unexpected ack: {packet}"));
                };
                let mut frame = packet.take_argument(0);
                if frame.get("ref").is_some() {
                    return self.ended(&format!("an ack shows its ref: {frame}"));
                }
                if frame.is_object() {
                    frame["ref"] = reference;
                }
                Incoming::Text(frame.to_string())
            }
            SocketIoKind::Event if packet.event() == "close" => {
                let code = packet.data[1]["code"].as_u64().and_then(|code| u16::try_from(code).ok());
                let reason = packet.data[1]["reason"].as_str().unwrap_or_default().to_owned();
                self.close = Some(Closed { code, reason });
                Incoming::Alive
            }
            SocketIoKind::Event => {
                let frame = packet.take_argument(1);
                if frame["type"] != packet.event() {
                    return self.ended(&format!("{} has the frame {frame}", packet.event()));
                }
                Incoming::Text(frame.to_string())
            }
            SocketIoKind::Disconnect => self.ended("the namespace was disconnected"),
            _ => self.ended(&format!("an unexpected packet: {packet}")),
        }
    }

    /// The end of the connection: the content of the event `close` if it came, else this reason.
    fn ended(&mut self, reason: &str) -> Incoming {
        let closed = self.close.take();
        Incoming::Closed(closed.unwrap_or_else(|| Closed { code: None, reason: reason.to_owned() }))
    }

    /// Leaves the namespace and closes the WebSocket.
    pub(crate) async fn close(&mut self) {
        // This fails if the connection has ended already.
        let _ = self.engine.send("41").await;
        self.engine.close().await;
    }
}

/// The refusal of a token as the handshake of `/v1/ws` reports it.
fn refusal(content: &Value) -> ClientError {
    let body = content["data"].clone();
    let status = match body["code"].as_str() {
        Some("unauthorized") => 401,
        Some("forbidden") => 403,
        _ => 503,
    };
    ClientError::Refused { status, body, retry_after_s: None }
}
