//! The server's frames as types. They are written from docs/PROTOCOL.md and share no code with the services, so that
//! tests notice where the services differ from the protocol.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A position in a room's log and its epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// The id of the epoch, which clients must not interpret.
    pub epoch: String,
    /// The position in the log.
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
    /// When the token expires.
    pub expires_at: String,
    /// Interval of the server's pings, in milliseconds.
    pub heartbeat_ms: u64,
    /// Version of the user's room list.
    pub rooms_version: String,
    /// Limits of this connection.
    pub limits: Limits,
}

/// The limits in the `connected` frame.
#[derive(Debug, Clone, Deserialize)]
pub struct Limits {
    /// Limit of the characters of a message.
    pub max_message_chars: u64,
    pub max_frame_bytes: u64,
    /// Sustained rate of messages per user.
    pub messages_per_second: f64,
}

/// The answer to a durable command.
#[derive(Debug, Clone, Deserialize)]
pub struct Ack {
    pub room: String,
    /// Seq of the event. For a duplicate, the seq of the first event.
    pub seq: u64,
    /// The epoch of that seq.
    pub epoch: String,
    /// Time of the event.
    pub at: String,
    /// `accepted` or `stored`.
    pub stage: String,
    /// Whether the client id was accepted before.
    pub duplicate: bool,
    /// Message id.
    pub id: Option<String>,
    pub client_id: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ErrorFrame {
    /// The ref of the command that failed.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// One of the codes of the protocol.
    pub code: String,
    /// A text for people.
    pub message: String,
    /// Finer cause within the code.
    pub reason: Option<String>,
    /// The invalid field.
    pub field: Option<String>,
    /// Milliseconds after which the client may retry.
    pub retry_after_ms: Option<u64>,
    /// The room that the error concerns.
    pub room: Option<String>,
}

/// A user in a frame.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Person {
    /// User id.
    pub id: String,
    /// Display name.
    pub name: Option<String>,
    /// Picture URL.
    pub picture: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct MessageNew {
    pub room: String,
    /// Seq of the event in the room's log.
    pub seq: u64,
    /// Time of the event.
    pub at: String,
    /// Message id.
    pub id: String,
    /// The client id, which the sender has chosen.
    pub client_id: String,
    pub sender: Person,
    /// `text` by default.
    pub kind: String,
    /// The text of the message.
    pub content: String,
    /// Seq of the message to which this message replies.
    pub reply_to: Option<u64>,
    /// Whether the message is deleted.
    #[serde(default)]
    pub deleted: bool,
}

/// The answer to a join.
#[derive(Debug, Clone, Deserialize)]
pub struct Joined {
    /// The joined rooms.
    pub rooms: Vec<JoinedRoom>,
    /// The refused rooms.
    #[serde(default)]
    pub failed: Vec<FailedRoom>,
    /// Whether a join of `mine` left out rooms of the user.
    #[serde(default)]
    pub more: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct JoinedRoom {
    pub room: String,
    /// direct, private or public.
    pub kind: String,
    /// The room's name.
    pub name: Option<String>,
    /// The user's role.
    pub role: String,
    /// The room's head at the join.
    pub head: Cursor,
    /// The user's read mark.
    pub read_seq: u64,
    pub members: u64,
}

/// A room that was not joined.
#[derive(Debug, Clone, Deserialize)]
pub struct FailedRoom {
    pub room: String,
    /// The error code.
    pub code: String,
}

/// `room:caught_up`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CaughtUp {
    pub room: String,
    /// The epoch of `seq`.
    pub epoch: String,
    /// All events up to this seq were sent.
    pub seq: u64,
}

/// `room:gap`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Gap {
    pub room: String,
    /// The client keeps its events up to this seq.
    pub after: u64,
    /// The client reads the events up to this head over HTTP; live events follow above it.
    pub head: Cursor,
}

#[derive(Debug, Clone, Deserialize)]
pub struct MessageVoid {
    pub room: String,
    /// Seq of this event in the log.
    pub seq: u64,
    /// Seq of the record that became void.
    pub target: u64,
    /// The client id of the void record.
    pub client_id: Option<String>,
    /// `duplicate` or `rejected`.
    pub reason: String,
    /// For a duplicate: the seq of the stored message.
    pub of: Option<u64>,
    /// If the void record was a change of a message: the seq of this message, which clients must read again.
    pub message: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Draining {
    /// Milliseconds after which the client should reconnect.
    pub reconnect_after_ms: u64,
}

/// A frame from the server.
#[derive(Debug, Clone)]
pub enum ServerFrame {
    /// The first frame of a connection.
    Connected(Connected),
    /// The answer to a durable command.
    Ack(Ack),
    /// The refusal of a command.
    Error(ErrorFrame),
    /// The answer to a join.
    Joined(Joined),
    /// The replay is complete.
    CaughtUp(CaughtUp),
    /// A gap, which the client fills over HTTP.
    Gap(Gap),
    Message(MessageNew),
    /// A record became void.
    Void(MessageVoid),
    /// The node drains: the client reconnects after a delay.
    Draining(Draining),
    /// Any other frame, also a malformed one.
    Other(Value),
}

impl ServerFrame {
    /// Reads a frame.
    pub fn parse(text: &str) -> Result<ServerFrame, serde_json::Error> {
        let head: FrameHead = serde_json::from_str(text)?;
        Ok(parse_kind(&head.kind, text))
    }

    /// The frame of this JSON.
    pub fn from_value(value: Value) -> ServerFrame {
        let kind = value["type"].as_str().unwrap_or_default().to_owned();
        parse_kind(&kind, value)
    }

    /// The `type` of the frame.
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

    /// The room and seq of a log event; `None` for other frames.
    pub fn log_position(&self) -> Option<(&str, u64)> {
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
pub(crate) struct FrameHead<'a> {
    #[serde(rename = "type", borrow, default)]
    pub(crate) kind: Cow<'a, str>,
    #[serde(rename = "ref", borrow, default)]
    pub(crate) reference: Option<Cow<'a, str>>,
}

/// The source of a frame: text from the wire, or JSON from a page of the log.
trait FrameSource {
    fn parse_as<T: DeserializeOwned>(&self) -> Option<T>;
    fn into_value(self) -> Value;
}

impl FrameSource for &str {
    fn parse_as<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self).ok()
    }

    fn into_value(self) -> Value {
        serde_json::from_str(self).unwrap_or_default()
    }
}

impl FrameSource for Value {
    fn parse_as<T: DeserializeOwned>(&self) -> Option<T> {
        T::deserialize(self).ok()
    }

    fn into_value(self) -> Value {
        self
    }
}

fn parse_kind(kind: &str, source: impl FrameSource) -> ServerFrame {
    let frame = match kind {
        "connected" => source.parse_as().map(ServerFrame::Connected),
        "ack" => source.parse_as().map(ServerFrame::Ack),
        "error" => source.parse_as().map(ServerFrame::Error),
        "room:joined" => source.parse_as().map(ServerFrame::Joined),
        "room:caught_up" => source.parse_as().map(ServerFrame::CaughtUp),
        "room:gap" => source.parse_as().map(ServerFrame::Gap),
        "message:new" => source.parse_as().map(ServerFrame::Message),
        "message:void" => source.parse_as().map(ServerFrame::Void),
        "draining" => source.parse_as().map(ServerFrame::Draining),
        _ => None,
    };
    frame.unwrap_or_else(|| ServerFrame::Other(source.into_value()))
}

/// Whether frames of this type are events of a room's log. `room:removed` has a `seq` too, but is not in the log.
fn is_log_event(kind: &str) -> bool {
    matches!(kind, "void" | "member:added" | "member:changed" | "member:removed" | "room:updated")
        || kind.starts_with("message:")
        || kind.starts_with("reaction:")
}
