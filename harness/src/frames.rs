//! The server's frames as types. Written only from the protocol page and not from the services' types, so that mistakes
//! in those are noticed.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A position in a room's log and its epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// Opaque.
    pub epoch: String,
    /// Place in the log.
    pub seq: u64,
}

/// The first answer on a connection.
#[derive(Debug, Clone, Deserialize)]
pub struct Connected {
    /// Id of the connection.
    pub connection: String,
    /// The user of the token.
    pub user: String,
    /// Display name.
    pub name: Option<String>,
    /// The node's name.
    pub node: String,
    /// When the token ends.
    pub expires_at: String,
    /// Pings come this often.
    pub heartbeat_ms: u64,
    /// Version of the user's room list.
    pub rooms_version: String,
    /// Limits of this connection.
    pub limits: Limits,
}

/// Limits told at connecting.
#[derive(Debug, Clone, Deserialize)]
pub struct Limits {
    /// Characters of a message.
    pub max_message_chars: u64,
    /// Bytes of a frame.
    pub max_frame_bytes: u64,
    /// Sustained rate of messages.
    pub messages_per_second: f64,
}

/// The answer to a durable command.
#[derive(Debug, Clone, Deserialize)]
pub struct Ack {
    /// The room.
    pub room: String,
    /// Its place in the log (the first's when it is a duplicate).
    pub seq: u64,
    /// The epoch of that seq.
    pub epoch: String,
    /// When.
    pub at: String,
    /// `accepted` or `stored`.
    pub stage: String,
    /// Whether the client id was accepted before.
    pub duplicate: bool,
    /// Message id.
    pub id: Option<String>,
    /// The client id.
    pub client_id: Option<String>,
}

/// An `error` frame.
#[derive(Debug, Clone, Deserialize)]
pub struct ErrorFrame {
    /// The ref of the frame it answers.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// One of the codes of the protocol.
    pub code: String,
    /// For people.
    pub message: String,
    /// Finer cause within the code.
    pub reason: Option<String>,
    /// Which field was wrong.
    pub field: Option<String>,
    /// Try again after this.
    pub retry_after_ms: Option<u64>,
    /// Which room it is about.
    pub room: Option<String>,
}

/// A person as frames name them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Person {
    /// User id.
    pub id: String,
    /// Display name.
    pub name: Option<String>,
    /// Picture URL.
    pub picture: Option<String>,
}

/// `message:new`
#[derive(Debug, Clone, Deserialize)]
pub struct MessageNew {
    /// The room.
    pub room: String,
    /// Its place in the log.
    pub seq: u64,
    /// When.
    pub at: String,
    /// Message id.
    pub id: String,
    /// The sender's own id of it.
    pub client_id: String,
    /// Who sent it.
    pub sender: Person,
    /// `text` by default.
    pub kind: String,
    /// What was said.
    pub content: String,
    /// The seq it replies to.
    pub reply_to: Option<u64>,
    /// Present when deleted.
    #[serde(default)]
    pub deleted: bool,
}

/// The answer to a join.
#[derive(Debug, Clone, Deserialize)]
pub struct Joined {
    /// Those joined.
    pub rooms: Vec<JoinedRoom>,
    /// Those refused.
    #[serde(default)]
    pub failed: Vec<FailedRoom>,
    /// Of `mine`: whether there are more.
    #[serde(default)]
    pub more: bool,
}

/// A room joined.
#[derive(Debug, Clone, Deserialize)]
pub struct JoinedRoom {
    /// The room.
    pub room: String,
    /// direct, private or public.
    pub kind: String,
    /// Its name.
    pub name: Option<String>,
    /// My role.
    pub role: String,
    /// The head when joined.
    pub head: Cursor,
    /// What I have read.
    pub read_seq: u64,
    /// How many members.
    pub members: u64,
}

/// A room not joined.
#[derive(Debug, Clone, Deserialize)]
pub struct FailedRoom {
    /// The room.
    pub room: String,
    /// Why.
    pub code: String,
}

/// `room:caught_up`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CaughtUp {
    /// The room.
    pub room: String,
    /// The epoch of `seq`.
    pub epoch: String,
    /// Everything up to here has been sent.
    pub seq: u64,
}

/// `room:gap`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Gap {
    /// The room.
    pub room: String,
    /// Good up to this seq.
    pub after: u64,
    /// Read over HTTP up to here; live goes on above.
    pub head: Cursor,
}

/// `message:void`
#[derive(Debug, Clone, Deserialize)]
pub struct MessageVoid {
    /// The room.
    pub room: String,
    /// Its own place in the log.
    pub seq: u64,
    /// The seq of the record that is void.
    pub target: u64,
    /// Its client id.
    pub client_id: Option<String>,
    /// `duplicate` or `rejected`.
    pub reason: String,
    /// Where the message stands.
    pub of: Option<u64>,
    /// The message to read again, if the void record was a change of it.
    pub message: Option<u64>,
}

/// `draining`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Draining {
    /// The delay.
    pub reconnect_after_ms: u64,
}

/// A frame from the server.
#[derive(Debug, Clone)]
pub enum ServerFrame {
    /// First answer.
    Connected(Connected),
    /// Answer to a durable command.
    Ack(Ack),
    /// Refusal.
    Error(ErrorFrame),
    /// Answer to a join.
    Joined(Joined),
    /// Replay complete.
    CaughtUp(CaughtUp),
    /// Read over HTTP.
    Gap(Gap),
    /// A message.
    Message(MessageNew),
    /// A message taken back.
    Void(MessageVoid),
    /// Reconnect after this delay.
    Draining(Draining),
    /// Any other log event (it has a `seq`), or any other frame; also a malformed one.
    Other(Value),
}

impl ServerFrame {
    /// Reads a frame.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn parse(text: &str) -> Result<ServerFrame, serde_json::Error> {
        let head: Head = serde_json::from_str(text)?;
        Ok(read(&head.kind, text))
    }

    /// The frame of this JSON.
    pub fn from_value(value: Value) -> ServerFrame {
        let kind = value["type"].as_str().unwrap_or_default().to_owned();
        read(&kind, value)
    }

    /// Its `type` on the wire.
    pub fn kind(&self) -> &str {
        match self {
            ServerFrame::Connected(_) => "connected",
            ServerFrame::Ack(_) => "ack",
            ServerFrame::Error(_) => "error",
            ServerFrame::Joined(_) => "room:joined",
            ServerFrame::CaughtUp(_) => "room:caught_up",
            ServerFrame::Gap(_) => "room:gap",
            ServerFrame::Message(_) => "message:new",
            ServerFrame::Void(_) => "message:void",
            ServerFrame::Draining(_) => "draining",
            ServerFrame::Other(value) => value["type"].as_str().unwrap_or_default(),
        }
    }

    /// The room and seq of a log event.
    pub fn place(&self) -> Option<(&str, u64)> {
        match self {
            ServerFrame::Message(message) => Some((&message.room, message.seq)),
            ServerFrame::Void(void) => Some((&void.room, void.seq)),
            ServerFrame::Other(value) if is_log_event(self.kind()) => {
                Some((value["room"].as_str()?, value["seq"].as_u64()?))
            }
            _ => None,
        }
    }
}

/// The fields that distinguish frames and answers.
#[derive(Debug, Deserialize)]
pub(crate) struct Head<'a> {
    #[serde(rename = "type", borrow, default)]
    pub(crate) kind: Cow<'a, str>,
    #[serde(rename = "ref", borrow, default)]
    pub(crate) reference: Option<Cow<'a, str>>,
}

/// The source of a frame: text from the wire, or JSON from a page.
trait Source {
    fn typed<T: DeserializeOwned>(&self) -> Option<T>;
    fn value(self) -> Value;
}

impl Source for &str {
    fn typed<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self).ok()
    }

    fn value(self) -> Value {
        serde_json::from_str(self).unwrap_or_default()
    }
}

impl Source for Value {
    fn typed<T: DeserializeOwned>(&self) -> Option<T> {
        T::deserialize(self).ok()
    }

    fn value(self) -> Value {
        self
    }
}

fn read(kind: &str, source: impl Source) -> ServerFrame {
    let frame = match kind {
        "connected" => source.typed().map(ServerFrame::Connected),
        "ack" => source.typed().map(ServerFrame::Ack),
        "error" => source.typed().map(ServerFrame::Error),
        "room:joined" => source.typed().map(ServerFrame::Joined),
        "room:caught_up" => source.typed().map(ServerFrame::CaughtUp),
        "room:gap" => source.typed().map(ServerFrame::Gap),
        "message:new" => source.typed().map(ServerFrame::Message),
        "message:void" => source.typed().map(ServerFrame::Void),
        "draining" => source.typed().map(ServerFrame::Draining),
        _ => None,
    };
    frame.unwrap_or_else(|| ServerFrame::Other(source.value()))
}

/// Whether this type is an event of a room's log. `room:removed` has a `seq` too, but is not in the log.
fn is_log_event(kind: &str) -> bool {
    matches!(kind, "void" | "member:added" | "member:changed" | "member:removed" | "room:updated")
        || kind.starts_with("message:")
        || kind.starts_with("reaction:")
}
