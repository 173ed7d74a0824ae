//! A client of Socket.IO 5: events and acks in namespaces, over WebSocket, long polling, or an upgrade from one to the
//! other. It uses one connection and answers pings. It never reconnects or retries, because the tests do that.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::client::{ClientError, Closed};
use crate::engine_io::EngineMessage;
use crate::names::UserNames;

mod frames;
mod packet;
mod transport;

pub(crate) use frames::SocketIoFrames;
pub use packet::{SocketIoKind, SocketIoPacket};
use transport::EngineConnection;
pub use transport::SocketIoTransport;

/// The path of Socket.IO on a gateway.
pub const SOCKET_IO_PATH: &str = "/socket.io/";

/// Time limit for an answer. The server answers with an error after 30 s at the latest.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

/// One Engine.IO connection with any number of namespaces.
pub struct SocketIo {
    connection: EngineConnection,
    /// Packets that no call has taken yet, in the order of arrival.
    held: VecDeque<SocketIoPacket>,
    closed: Option<Closed>,
    /// Those of the last token.
    names: UserNames,
    next_ack: u64,
}

impl SocketIo {
    /// Opens a connection to a node with this URL, which has no path. No namespace is connected yet.
    ///
    /// # Errors
    /// When the handshake of Engine.IO fails.
    pub async fn open(url: &str, via: SocketIoTransport) -> Result<SocketIo, ClientError> {
        Self::open_over(&[url.to_owned()], via).await
    }

    /// Like [`SocketIo::open`], but each request of the session goes to the next of these nodes, as with a balancer
    /// without sticky sessions.
    ///
    /// # Errors
    /// When the handshake of Engine.IO fails.
    pub async fn open_over(urls: &[String], via: SocketIoTransport) -> Result<SocketIo, ClientError> {
        let bases: Vec<String> = urls.iter().map(|url| format!("{url}{SOCKET_IO_PATH}")).collect();
        let connection = EngineConnection::open(&bases, via).await?;
        let names = UserNames::default();
        Ok(SocketIo { connection, held: VecDeque::new(), closed: None, names, next_ack: 0 })
    }

    /// Opens a connection and connects the main namespace with this token.
    ///
    /// # Errors
    /// When the namespace is refused, as [`SocketIo::connect`] does.
    pub async fn connect_with_token(
        url: &str,
        via: SocketIoTransport,
        token: &str,
    ) -> Result<SocketIo, ClientError> {
        let mut client = Self::open(url, via).await?;
        client.connect("/", &json!({ "token": token })).await?;
        Ok(client)
    }

    /// Connects a namespace, and returns the content of the answer.
    ///
    /// # Errors
    /// When the namespace is refused: [`ClientError::Refused`] with the content of the refusal and the status 0.
    pub async fn connect(&mut self, namespace: &str, auth: &Value) -> Result<Value, ClientError> {
        if let Some(token) = auth["token"].as_str() {
            self.names = UserNames::of_token(token);
        }
        self.send_packet(&SocketIoPacket::new(SocketIoKind::Connect, namespace, None, auth.clone()));
        let is_answer = |packet: &SocketIoPacket| {
            packet.namespace == namespace
                && matches!(packet.kind, SocketIoKind::Connect | SocketIoKind::ConnectError)
        };
        let answer = self.next_matching_packet(ANSWER_TIMEOUT, is_answer).await?;
        if answer.kind == SocketIoKind::Connect {
            return Ok(answer.data);
        }
        Err(ClientError::Refused { status: 0, body: answer.data, retry_after_s: None })
    }

    /// Sends an event to the main namespace, and does not ask for an ack.
    pub fn emit(&self, event: &str, argument: &Value) {
        self.send_packet(&SocketIoPacket::new(SocketIoKind::Event, "/", None, json!([event, argument])));
    }

    /// Sends an event to the main namespace, and returns the argument of its ack, also if it is an error.
    pub async fn ask(&mut self, event: &str, argument: &Value) -> Result<Value, ClientError> {
        self.ask_in("/", event, argument).await
    }

    /// Like [`SocketIo::ask`], in another namespace.
    pub async fn ask_in(
        &mut self,
        namespace: &str,
        event: &str,
        argument: &Value,
    ) -> Result<Value, ClientError> {
        let id = self.next_ack;
        self.next_ack += 1;
        let content = json!([event, argument]);
        self.send_packet(&SocketIoPacket::new(SocketIoKind::Event, namespace, Some(id), content));
        let is_ack = |packet: &SocketIoPacket| {
            packet.kind == SocketIoKind::Ack && packet.namespace == namespace && packet.id == Some(id)
        };
        Ok(self.next_matching_packet(ANSWER_TIMEOUT, is_ack).await?.take_argument(0))
    }

    /// The argument of the next event with this name in the main namespace. Other packets stay in the queue.
    pub async fn wait_for(&mut self, event: &str, time_limit: Duration) -> Result<Value, ClientError> {
        self.wait_for_in("/", event, time_limit).await
    }

    /// Like [`SocketIo::wait_for`], in another namespace.
    pub async fn wait_for_in(
        &mut self,
        namespace: &str,
        event: &str,
        time_limit: Duration,
    ) -> Result<Value, ClientError> {
        let is_event = |packet: &SocketIoPacket| packet.event() == event && packet.namespace == namespace;
        Ok(self.next_matching_packet(time_limit, is_event).await?.take_argument(1))
    }

    /// Joins a room and waits until its replay is complete. Returns the answer to the join.
    ///
    /// # Errors
    /// When the join is refused: with the error frame.
    pub async fn join(&mut self, room: &str) -> Result<Value, ClientError> {
        let joined = self.ask("room:join", &json!({ "room": room })).await?;
        if joined["type"] == "error" {
            return Err(ClientError::Broken(joined.to_string()));
        }
        self.wait_for("room:caught_up", ANSWER_TIMEOUT).await?;
        Ok(joined)
    }

    /// The next packet, whatever it is.
    pub async fn next_packet(&mut self, time_limit: Duration) -> Result<SocketIoPacket, ClientError> {
        self.next_matching_packet(time_limit, |_| true).await
    }

    /// The next packet of this kind in a namespace. Other packets stay in the queue.
    pub async fn next_packet_of(
        &mut self,
        kind: SocketIoKind,
        namespace: &str,
        time_limit: Duration,
    ) -> Result<SocketIoPacket, ClientError> {
        let is_wanted = |packet: &SocketIoPacket| packet.kind == kind && packet.namespace == namespace;
        self.next_matching_packet(time_limit, is_wanted).await
    }

    /// Sends a packet.
    pub fn send_packet(&self, packet: &SocketIoPacket) {
        if !self.names.is_identity() {
            let mut packet = packet.clone();
            self.names.value_to_wire(&mut packet.data);
            return self.send_message(EngineMessage::Text(packet.to_string()));
        }
        self.send_message(EngineMessage::Text(packet.to_string()));
    }

    /// Sends a message of Engine.IO unchanged. A text begins with its type.
    pub fn send_message(&self, message: EngineMessage) {
        self.connection.send(message);
    }

    /// Waits until the connection has ended, and drops packets that come before.
    ///
    /// # Errors
    /// When the server does not end the connection in this time.
    pub async fn until_closed(&mut self, time_limit: Duration) -> Result<Closed, ClientError> {
        match self.next_matching_packet(time_limit, |_| false).await {
            Err(ClientError::Closed(closed)) => Ok(closed),
            Err(error) => Err(error),
            Ok(packet) => Err(ClientError::Broken(format!("unexpected packet: {packet}"))),
        }
    }

    async fn next_matching_packet(
        &mut self,
        time_limit: Duration,
        is_wanted: impl Fn(&SocketIoPacket) -> bool,
    ) -> Result<SocketIoPacket, ClientError> {
        if let Some(position) = self.held.iter().position(&is_wanted) {
            return self
                .held
                .remove(position)
                .ok_or_else(|| ClientError::Broken("the held packet is missing".to_owned()));
        }
        if let Some(closed) = &self.closed {
            return Err(ClientError::Closed(closed.clone()));
        }
        let deadline = Instant::now() + time_limit;
        loop {
            let message = match timeout_at(deadline, self.connection.next()).await {
                Err(_) => {
                    let held: Vec<String> = self.held.iter().map(ToString::to_string).collect();
                    return Err(ClientError::Silent(format!(
                        "no expected packet within {time_limit:?}; received: {held:?}"
                    )));
                }
                Ok(message) => message,
            };
            match message {
                EngineMessage::Closed(closed) => {
                    self.closed = Some(closed.clone());
                    return Err(ClientError::Closed(closed));
                }
                EngineMessage::Binary(bytes) => {
                    return Err(ClientError::Broken(format!(
                        "unexpected binary message of {} bytes",
                        bytes.len()
                    )));
                }
                EngineMessage::Text(text) => {
                    let text = self.names.text_from_wire(text);
                    let packet = SocketIoPacket::parse(&text);
                    let packet =
                        packet.ok_or_else(|| ClientError::Broken(format!("not a packet: {text}")))?;
                    if is_wanted(&packet) {
                        return Ok(packet);
                    }
                    self.held.push_back(packet);
                }
            }
        }
    }
}
