//! Frames of docs/PROTOCOL.md over Socket.IO: an outgoing frame becomes an event that asks for an ack, and acks and
//! events become frames. A client that knows only frames can use it in place of the WebSocket of `/v1/ws`.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::packet::{SocketIoKind, SocketIoPacket};
use super::transport::{EngineConnection, SocketIoTransport};
use crate::client::socket::Incoming;
use crate::client::{ClientError, Closed};
use crate::engine_io::EngineMessage;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection of one user in the main namespace.
pub(crate) struct SocketIoFrames {
    connection: EngineConnection,
    next_ack: u64,
    /// The `ref` of each frame that waits for its ack.
    references: HashMap<u64, Value>,
    /// The content of the event `close`, which comes before the end.
    close: Option<Closed>,
}

impl SocketIoFrames {
    /// Connects with this token. `bases` are the addresses of the nodes with the path: the handshake goes to the first,
    /// and each later request of the session to the next.
    ///
    /// # Errors
    /// When the connection or the token is refused.
    pub(crate) async fn open(
        bases: &[String],
        transport: SocketIoTransport,
        token: &str,
    ) -> Result<SocketIoFrames, ClientError> {
        let opening = async {
            let connection = EngineConnection::open(bases, transport).await?;
            let mut frames =
                SocketIoFrames { connection, next_ack: 0, references: HashMap::new(), close: None };
            frames.connect(token).await?;
            Ok::<_, ClientError>(frames)
        };
        let opened = timeout(HANDSHAKE_TIMEOUT, opening).await;
        opened.unwrap_or_else(|_| Err(ClientError::Silent(format!("handshake with {bases:?}"))))
    }

    async fn connect(&mut self, token: &str) -> Result<(), ClientError> {
        let connect = SocketIoPacket::new(SocketIoKind::Connect, "/", None, json!({ "token": token }));
        self.connection.send(EngineMessage::Text(connect.to_string()));
        loop {
            let message = self.connection.next().await;
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
    pub(crate) fn send(&mut self, frame: &str) -> Result<(), ClientError> {
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
        self.connection.send(EngineMessage::Text(packet.to_string()));
        Ok(())
    }

    /// Waits for the next frame. The call may be cancelled.
    pub(crate) async fn next_message(&mut self) -> Incoming {
        match self.connection.next().await {
            EngineMessage::Closed(closed) => Incoming::Closed(self.close.take().unwrap_or(closed)),
            EngineMessage::Binary(_) => self.ended("the server sent a binary message"),
            EngineMessage::Text(text) => match SocketIoPacket::parse(&text) {
                Some(packet) => self.handle_packet(packet),
                None => self.ended(&format!("not a packet: {text}")),
            },
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

    /// Leaves the namespace, closes the session, and waits for its end.
    pub(crate) async fn close(&mut self) {
        self.connection.send(EngineMessage::Text("41".to_owned()));
        self.connection.send(EngineMessage::Closed(Closed { code: None, reason: String::new() }));
        while !matches!(self.connection.next().await, EngineMessage::Closed(_)) {}
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
