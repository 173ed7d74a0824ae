//! What a client sends: one JSON object per text frame, typed here.

use std::collections::HashMap;

use super::fields::{self, Fields, optional, required};
use crate::{
    error::{ErrorCode, Refusal},
    ids::{Cursor, RoomId, Seq},
    message::Draft,
};

/// Longest `ref`, characters.
const MAX_REF_CHARS: usize = 64;
/// Rooms in one `room:join`.
pub const MAX_ROOMS_PER_JOIN: usize = 200;

/// A frame as far as it could be read: its `ref` is known even when the rest is wrong.
#[derive(Debug)]
pub struct Parsed {
    pub reference: Option<String>,
    /// The room that the frame names, for the error's `room`.
    pub room: Option<RoomId>,
    pub frame: Result<Command, Refusal>,
}

/// Which rooms a `room:join` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinTarget {
    One { room: RoomId, after: Option<Cursor> },
    Many { rooms: Vec<RoomId>, after: HashMap<RoomId, Cursor> },
    Mine { after: HashMap<RoomId, Cursor> },
}

/// A client's command.
#[derive(Debug)]
pub enum Command {
    Auth { token: String },
    Join(JoinTarget),
    Leave { rooms: Vec<RoomId> },
    Send { room: RoomId, draft: Box<Draft> },
    Read { room: RoomId, seq: Seq },
    Ping,
}

/// The name of a command's frame, also the value of the metric label `type`.
pub type ClientFrame = &'static str;

impl Command {
    #[must_use]
    pub fn frame(&self) -> ClientFrame {
        match self {
            Self::Auth { .. } => "auth",
            Self::Join(_) => "room:join",
            Self::Leave { .. } => "room:leave",
            Self::Send { .. } => "message:send",
            Self::Read { .. } => "message:read",
            Self::Ping => "ping",
        }
    }
}

/// Reads one text frame. Never fails: what is wrong is in [`Parsed::frame`].
#[must_use]
pub fn parse(text: &str, max_message_chars: usize) -> Parsed {
    let fields = match Fields::parse(text) {
        Ok(fields) => fields,
        Err(refusal) => return Parsed { reference: None, room: None, frame: Err(refusal) },
    };
    let reference = match optional::<String>(fields.reference, "ref", "a string of up to 64 characters") {
        Ok(Some(reference)) if reference.chars().count() > MAX_REF_CHARS => {
            let refusal = Refusal::bad_field("ref", "`ref` must be a string of up to 64 characters");
            return Parsed { reference: None, room: None, frame: Err(refusal) };
        }
        Ok(reference) => reference,
        Err(refusal) => return Parsed { reference: None, room: None, frame: Err(refusal) },
    };
    Parsed { reference, room: fields.room().ok(), frame: command(&fields, max_message_chars) }
}

fn command(fields: &Fields<'_>, max_message_chars: usize) -> Result<Command, Refusal> {
    let kind: String = required(fields.kind_of_frame, "type", "a string")?;
    match kind.as_str() {
        "auth" => Ok(Command::Auth { token: required(fields.token, "token", "a string")? }),
        "room:join" => join(fields).map(Command::Join),
        "room:leave" => leave(fields),
        "message:send" => {
            let room = fields.room()?;
            Ok(Command::Send { room, draft: Box::new(Draft::from_fields(fields, max_message_chars)?) })
        }
        "message:read" => Ok(Command::Read { room: fields.room()?, seq: fields.seq()? }),
        "ping" => Ok(Command::Ping),
        _ => Err(Refusal::new(ErrorCode::BadRequest, "unknown `type`").with_field("type")),
    }
}

const CURSOR: &str = "a cursor {epoch, seq}";
const CURSORS: &str = "a map from room to cursor {epoch, seq}";
const ROOMS: &str = "a list of room ids or \"mine\"";

fn join(fields: &Fields<'_>) -> Result<JoinTarget, Refusal> {
    // Presence is not pushed yet; the field is checked so that a client's mistake shows early.
    let _presence: Option<bool> = optional(fields.presence, "presence", "true or false")?;
    let after =
        || optional::<HashMap<RoomId, Cursor>>(fields.after, "after", CURSORS).map(Option::unwrap_or_default);
    match (fields.room, fields.rooms) {
        (Some(_), None) => {
            Ok(JoinTarget::One { room: fields.room()?, after: optional(fields.after, "after", CURSOR)? })
        }
        (None, Some(rooms)) if rooms.get() == "\"mine\"" => Ok(JoinTarget::Mine { after: after()? }),
        (None, Some(_)) => Ok(JoinTarget::Many { rooms: rooms(fields)?, after: after()? }),
        _ => Err(Refusal::bad_field("room", "give either `room` or `rooms`")),
    }
}

fn leave(fields: &Fields<'_>) -> Result<Command, Refusal> {
    match (fields.room, fields.rooms) {
        (Some(_), None) => Ok(Command::Leave { rooms: vec![fields.room()?] }),
        (None, Some(_)) => Ok(Command::Leave { rooms: rooms(fields)? }),
        _ => Err(Refusal::bad_field("room", "give either `room` or `rooms`")),
    }
}

fn rooms(fields: &Fields<'_>) -> Result<Vec<RoomId>, Refusal> {
    let rooms: Vec<RoomId> = required(fields.rooms, "rooms", ROOMS)?;
    let mut rooms = fields::bounded(rooms, "rooms", MAX_ROOMS_PER_JOIN)?;
    let mut seen = std::collections::HashSet::new();
    rooms.retain(|room| seen.insert(room.clone()));
    Ok(rooms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_frame_keeps_its_ref_and_names_the_field() {
        let cases = [
            ("{", None, None),
            ("[]", None, None),
            ("7", None, None),
            (r#"{"ref":"r"}"#, Some("r"), Some("type")),
            (r#"{"type":7,"ref":"r"}"#, Some("r"), Some("type")),
            (r#"{"type":"room:dance","ref":"r"}"#, Some("r"), Some("type")),
            (r#"{"type":"ping","ref":7}"#, None, Some("ref")),
            (r#"{"type":"room:join","ref":"r"}"#, Some("r"), Some("room")),
            (r#"{"type":"room:join","ref":"r","room":"a b"}"#, Some("r"), Some("room")),
            (r#"{"type":"room:join","ref":"r","room":"a","after":7}"#, Some("r"), Some("after")),
            (r#"{"type":"room:join","ref":"r","rooms":7}"#, Some("r"), Some("rooms")),
            (r#"{"type":"message:read","ref":"r","room":"a"}"#, Some("r"), Some("seq")),
            (r#"{"type":"message:read","ref":"r","room":"a","seq":-1}"#, Some("r"), Some("seq")),
            (r#"{"type":"auth","ref":"r"}"#, Some("r"), Some("token")),
        ];
        for (text, reference, field) in cases {
            let parsed = parse(text, 1000);
            let refusal = parsed.frame.unwrap_err();
            assert_eq!(refusal.code, ErrorCode::BadRequest, "{text}");
            assert_eq!((parsed.reference.as_deref(), refusal.field.as_deref()), (reference, field), "{text}");
        }
    }

    #[test]
    fn joins_of_one_many_and_mine_are_told_apart() {
        let join = |text: &str| match parse(text, 1000).frame.unwrap() {
            Command::Join(target) => target,
            other => panic!("{other:?}"),
        };
        let room = |id: &str| RoomId::parse(id).unwrap();
        let cursor = Cursor { epoch: "7".into(), seq: Seq(41) };
        assert_eq!(
            join(r#"{"type":"room:join","room":"a","after":{"epoch":"7","seq":41},"unknown":[]}"#),
            JoinTarget::One { room: room("a"), after: Some(cursor.clone()) }
        );
        assert_eq!(
            join(r#"{"type":"room:join","rooms":["a","b","a"],"after":{"b":{"epoch":"7","seq":41}}}"#),
            JoinTarget::Many {
                rooms: vec![room("a"), room("b")],
                after: HashMap::from([(room("b"), cursor)])
            }
        );
        assert_eq!(
            join(r#"{"type":"room:join","rooms":"mine"}"#),
            JoinTarget::Mine { after: HashMap::new() }
        );
    }
}
