//! Parses the commands of clients. A command is one JSON object in one text frame.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    command_fields::{bounded, check_depth, check_readable, object, optional, required},
    error::{ErrorCode, Refusal},
    ids::{Cursor, RoomId, Seq, UserId},
    limits::{MAX_PRESENCE_USERS, MAX_ROOMS_PER_JOIN, MAX_SIGNAL_BYTES},
    message::{
        Draft,
        change::{Change, ChangeKind},
    },
    telemetry::TraceContext,
};

/// Longest `ref`, in characters.
const MAX_REF_CHARS: usize = 64;

/// The result of parsing a client frame. `ref`, room and trace context are available even if other fields are invalid.
#[derive(Debug)]
pub struct Parsed {
    /// The value of `ref`, which the answer repeats.
    pub reference: Option<String>,
    /// The value of `room`, which an error repeats.
    pub room: Option<RoomId>,
    pub trace: Option<TraceContext>,
    pub frame: Result<Command, Refusal>,
}

impl Parsed {
    /// A frame of which nothing is known except why it is refused.
    pub fn refused(refusal: Refusal) -> Self {
        Self { reference: None, room: None, trace: None, frame: Err(refusal) }
    }
}

/// The rooms of a `room:join`, with the cursors after which the client wants to receive events. `Mine` means all rooms
/// of which the user is a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinTarget {
    One { room: RoomId, after: Option<Cursor> },
    Many { rooms: Vec<RoomId>, after: HashMap<RoomId, Cursor> },
    Mine { after: HashMap<RoomId, Cursor> },
}

/// A command of a client whose fields are checked. `presence` of a `Join` says whether the client wants to receive
/// changes of presence.
#[derive(Debug)]
pub enum Command {
    Auth { token: String },
    Join { target: JoinTarget, presence: bool },
    Leave { rooms: Vec<RoomId> },
    PresenceSet { status: Status },
    PresenceGet { users: Vec<UserId> },
    Ping,
    InRoom { room: RoomId, command: RoomCommand },
}

impl Command {
    /// The command for one room, if it is one.
    pub fn in_room(&self) -> Option<&RoomCommand> {
        if let Self::InRoom { command, .. } = self { Some(command) } else { None }
    }
}

/// A command for one room. It takes effect after all earlier commands of its connection for the same room.
#[derive(Debug)]
pub enum RoomCommand {
    Send(Box<Draft>),
    Change(Box<Change>),
    Mark { seq: Seq, delivered: bool },
    Typing { started: bool },
    Signal { to: Option<UserId>, data: Box<RawValue> },
}

/// The status that a user sets for one connection.
// The discriminants are chosen so that `Option<Status>` has the order of presence: offline (`None`), away, online.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = OwnStatus))]
pub enum Status {
    Online = 2,
    Away = 1,
}

/// The fields that a frame of any type may have. They are read even if other fields are invalid.
#[derive(Deserialize)]
struct CommonFields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, rename = "ref")]
    reference: Option<&'a RawValue>,
    #[serde(borrow)]
    room: Option<&'a RawValue>,
    #[serde(borrow)]
    traceparent: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct AuthForm {
    token: String,
}

#[derive(Deserialize)]
struct JoinForm {
    room: Option<RoomId>,
    rooms: Option<Rooms>,
    after: Option<After>,
    presence: Option<bool>,
}

#[derive(Deserialize)]
struct LeaveForm {
    room: Option<RoomId>,
    rooms: Option<Vec<RoomId>>,
}

/// A list of room ids or `"mine"`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of room ids or \"mine\"")]
enum Rooms {
    List(Vec<RoomId>),
    Mine(Mine),
}

#[derive(Deserialize)]
enum Mine {
    #[serde(rename = "mine")]
    Mine,
}

/// The cursor of one room, or a map from room to cursor. A cursor that is null counts as absent.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a cursor {epoch, seq} or a map from room to cursor")]
enum After {
    One(Cursor),
    Many(HashMap<RoomId, Option<Cursor>>),
}

/// The position of a mark, or of the message that a change is about.
#[derive(Deserialize)]
pub struct SeqForm {
    pub seq: Seq,
}

#[derive(Deserialize)]
struct ReactionForm {
    emoji: String,
}

/// The status that a user sets.
#[derive(Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = PresenceSet))]
pub struct StatusForm {
    pub status: Status,
}

#[derive(Deserialize)]
struct UsersForm {
    users: Vec<UserId>,
}

#[derive(Deserialize)]
struct SignalForm {
    to: Option<UserId>,
    data: Option<Box<RawValue>>,
}

/// Parses one text frame. [`Parsed::frame`] contains the refusal of an invalid frame.
pub fn parse(text: &str, max_message_chars: usize) -> Parsed {
    parse_with(object(text), text, max_message_chars)
}

/// Parses a command whose type is not in its object but beside it, as in an event of Socket.IO. A field `type` of the
/// object is ignored.
pub fn parse_event<'a>(kind: &'a RawValue, text: &'a str, max_message_chars: usize) -> Parsed {
    let common = object(text).map(|common| CommonFields { kind: Some(kind), ..common });
    parse_with(common, text, max_message_chars)
}

fn parse_with(common: Result<CommonFields<'_>, Refusal>, text: &str, max_message_chars: usize) -> Parsed {
    match common.and_then(|common| Ok((parse_reference(&common)?, common))) {
        Ok((reference, common)) => {
            let room = required(common.room, "room", "a room id");
            // A malformed trace context is ignored.
            let trace = common
                .traceparent
                .and_then(|json| TraceContext::parse(serde_json::from_str(json.get()).ok()?));
            let frame = required(common.kind, "type", "a string")
                .and_then(|kind: String| parse_command(&kind, room.clone(), text, max_message_chars));
            Parsed { reference, room: room.ok(), trace, frame }
        }
        Err(refusal) => Parsed::refused(refusal),
    }
}

fn parse_reference(common: &CommonFields<'_>) -> Result<Option<String>, Refusal> {
    let reference: Option<String> = optional(common.reference, "ref", "a string of up to 64 characters")?;
    if reference.as_ref().is_some_and(|reference| reference.chars().count() > MAX_REF_CHARS) {
        return Err(Refusal::bad_field("ref", "`ref` must be a string of up to 64 characters"));
    }
    Ok(reference)
}

/// Parses the fields of a command of this type. If the room of a command for one room is invalid, the refusal names the
/// room, even if other fields are invalid too.
fn parse_command(
    kind: &str,
    room: Result<RoomId, Refusal>,
    text: &str,
    max_chars: usize,
) -> Result<Command, Refusal> {
    let in_room = |parse: &dyn Fn() -> Result<RoomCommand, Refusal>| {
        room.clone().and_then(|room| Ok(Command::InRoom { room, command: parse()? }))
    };
    let change = |kind| {
        in_room(&|| {
            let target = object::<SeqForm>(text)?.seq;
            let change = match kind {
                ChangeKind::Edit => Change::edit(target, object(text)?, max_chars)?,
                ChangeKind::Delete => Change::delete(target, object(text)?)?,
                ChangeKind::AddReaction | ChangeKind::RemoveReaction => {
                    Change::reaction(kind, target, object::<ReactionForm>(text)?.emoji, object(text)?)?
                }
            };
            Ok(RoomCommand::Change(Box::new(change)))
        })
    };
    let mark =
        |delivered| in_room(&|| Ok(RoomCommand::Mark { seq: object::<SeqForm>(text)?.seq, delivered }));
    match kind {
        "auth" => Ok(Command::Auth { token: object::<AuthForm>(text)?.token }),
        "room:join" => parse_join(object(text)?),
        "room:leave" => parse_leave(object(text)?),
        "message:send" => {
            in_room(&|| Ok(RoomCommand::Send(Box::new(Draft::from_form(object(text)?, max_chars)?))))
        }
        "message:edit" => change(ChangeKind::Edit),
        "message:delete" => change(ChangeKind::Delete),
        "reaction:add" => change(ChangeKind::AddReaction),
        "reaction:remove" => change(ChangeKind::RemoveReaction),
        "message:read" => mark(false),
        "message:delivered" => mark(true),
        "typing:start" => in_room(&|| Ok(RoomCommand::Typing { started: true })),
        "typing:stop" => in_room(&|| Ok(RoomCommand::Typing { started: false })),
        "presence:set" => Ok(Command::PresenceSet { status: object::<StatusForm>(text)?.status }),
        "presence:get" => {
            let users = bounded(object::<UsersForm>(text)?.users, "users", MAX_PRESENCE_USERS)?;
            Ok(Command::PresenceGet { users })
        }
        "signal" => in_room(&|| parse_signal(object(text)?)),
        "ping" => Ok(Command::Ping),
        _ => Err(Refusal::new(ErrorCode::BadRequest, "unknown `type`").with_field("type")),
    }
}

fn parse_signal(SignalForm { to, data }: SignalForm) -> Result<RoomCommand, Refusal> {
    // `data` is sent to receivers with its text unchanged.
    let data = data.ok_or_else(|| Refusal::bad_field("data", "`data` is missing"))?;
    if data.get().len() > MAX_SIGNAL_BYTES {
        return Err(Refusal::too_large("data", format!("`data` is over {MAX_SIGNAL_BYTES} bytes")));
    }
    check_depth(data.get(), "data")?;
    check_readable(data.get(), "data")?;
    Ok(RoomCommand::Signal { to, data })
}

fn parse_join(JoinForm { room, rooms, after, presence }: JoinForm) -> Result<Command, Refusal> {
    let one = |after| match after {
        None => Ok(None),
        Some(After::One(cursor)) => Ok(Some(cursor)),
        Some(After::Many(_)) => Err(Refusal::bad_field("after", "`after` must be a cursor {epoch, seq}")),
    };
    let many = |after| match after {
        None => Ok(HashMap::new()),
        Some(After::Many(cursors)) => {
            Ok(cursors.into_iter().filter_map(|(room, cursor)| Some((room, cursor?))).collect())
        }
        Some(After::One(_)) => Err(Refusal::bad_field("after", "`after` must be a map from room to cursor")),
    };
    let target = match (room, rooms) {
        (Some(room), None) => JoinTarget::One { room, after: one(after)? },
        (None, Some(Rooms::Mine(_))) => JoinTarget::Mine { after: many(after)? },
        (None, Some(Rooms::List(rooms))) => JoinTarget::Many { rooms: distinct(rooms)?, after: many(after)? },
        _ => return Err(room_or_rooms()),
    };
    Ok(Command::Join { target, presence: presence.unwrap_or(true) })
}

fn parse_leave(LeaveForm { room, rooms }: LeaveForm) -> Result<Command, Refusal> {
    match (room, rooms) {
        (Some(room), None) => Ok(Command::Leave { rooms: vec![room] }),
        (None, Some(rooms)) => Ok(Command::Leave { rooms: distinct(rooms)? }),
        _ => Err(room_or_rooms()),
    }
}

fn room_or_rooms() -> Refusal {
    Refusal::bad_field("room", "give either `room` or `rooms`")
}

/// The rooms of a list, each once. Refuses a list that is too long.
fn distinct(rooms: Vec<RoomId>) -> Result<Vec<RoomId>, Refusal> {
    let mut rooms = bounded(rooms, "rooms", MAX_ROOMS_PER_JOIN)?;
    let mut seen = std::collections::HashSet::new();
    rooms.retain(|room| seen.insert(room.clone()));
    Ok(rooms)
}
