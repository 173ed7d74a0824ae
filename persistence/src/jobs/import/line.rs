//! Parses and checks a line of an import: one JSON object for a user, a room, a member, a message or a read mark. Pure. A
//! line that passes the checks can be imported as it is. A repeated line gets the same client ids.

mod message;
mod original_time;
mod skipped;

use serde::Deserialize;
use sha1::{Digest, Sha1};
use tidings_shared::ids::{RoomId, UserId};
use tidings_shared::limits::MAX_CLIENT_ID_CHARS;
use tidings_shared::role;

use super::refusal::{LineRefusal, RefusalCode};
use crate::http::creation;
use crate::writer::rooms::{self, NewRoom};
use original_time::OriginalTime;

pub use message::{IMPORTED_KEY, ImportChange, ImportMessage};
pub use skipped::SkippedMessage;

/// The client id of an imported message is `import:` and the original id. If that text has more than 64 characters or
/// is not printable ASCII, the client id is `import-sha1:` and the SHA-1 of the original id.
const CLIENT_ID_PREFIX: &str = "import:";
const HASH_PREFIX: &str = "import-sha1:";

/// What the lines of an import are checked against.
#[derive(Debug, Clone, Copy)]
pub struct LineRules {
    /// Longest message text, in Unicode scalar values.
    pub max_message_chars: usize,
    /// The latest time that a line may have, ms since 1970.
    pub latest_ms: i64,
}

/// How much a time may be after the present time, or before the time of the message before it in the room, because the
/// clocks of machines differ.
pub const CLOCK_TOLERANCE_MS: i64 = 10 * 60 * 1000;

#[derive(Debug)]
pub enum ImportLine {
    User {
        user: UserId,
        name: Option<String>,
        picture: Option<String>,
    },
    /// `has_id`: whether the line contained an id. Only a direct room may omit the id, because its members identify it.
    Room {
        room: Box<NewRoom>,
        has_id: bool,
    },
    Member {
        room: RoomId,
        user: UserId,
        role: String,
    },
    Message(Box<ImportMessage>),
    /// The user has read all messages of the room up to the time `upto_ms`.
    Read {
        room: RoomId,
        user: UserId,
        upto_ms: i64,
        /// When the user read them.
        at_ms: i64,
    },
}

#[derive(Deserialize)]
struct LineType<'a> {
    r#type: &'a str,
}

#[derive(Deserialize)]
struct UserLine {
    id: UserId,
    name: Option<String>,
    picture: Option<String>,
}

#[derive(Deserialize)]
struct RoomLine {
    id: Option<serde::de::IgnoredAny>,
    created_by: UserId,
    created_at: Option<OriginalTime>,
}

#[derive(Deserialize)]
struct MemberLine {
    room: RoomId,
    user: UserId,
    role: Option<String>,
}

#[derive(Deserialize)]
struct ReadLine {
    room: RoomId,
    user: UserId,
    upto: OriginalTime,
    at: Option<OriginalTime>,
}

/// An id of the other system, which may be text or a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum OriginalId {
    Text(String),
    Number(serde_json::Number),
}

impl OriginalId {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

/// Parses one line as `T`.
fn parse_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, LineRefusal> {
    serde_json::from_str(text).map_err(|error| LineRefusal::new(RefusalCode::BadLine, error))
}

impl ImportLine {
    /// Parses one line. The error says what is wrong with the line.
    pub fn parse(text: &str, rules: &LineRules) -> Result<Self, LineRefusal> {
        let line = Self::parse_fields(text, rules)?;
        let may_be_new = match &line {
            Self::User { user, .. } | Self::Member { user, .. } | Self::Read { user, .. } => {
                user.may_be_new()
            }
            Self::Room { room, .. } => room.members.iter().all(|(user, _)| user.may_be_new()),
            Self::Message(message) => message.users().all(UserId::may_be_new),
        };
        if !may_be_new {
            return Err(LineRefusal::new(RefusalCode::BadField, "a user id holds a bidi control"));
        }
        Ok(line)
    }

    fn parse_fields(text: &str, rules: &LineRules) -> Result<Self, LineRefusal> {
        match parse_json::<LineType<'_>>(text)?.r#type {
            "user" => {
                let UserLine { id, name, picture } = parse_json(text)?;
                Ok(Self::User { user: id, name, picture })
            }
            "room" => parse_room(parse_json(text)?, text, rules),
            "member" => {
                let MemberLine { room, user, role } = parse_json(text)?;
                let role = role.unwrap_or_else(|| role::MEMBER.to_owned());
                if !role::is_valid(&role) {
                    return Err(LineRefusal::new(RefusalCode::BadField, format!("{role:?} is not a role")));
                }
                Ok(Self::Member { room, user, role })
            }
            "message" => Ok(Self::Message(Box::new(ImportMessage::parse(text, rules)?))),
            "read" => {
                let ReadLine { room, user, upto, at } = parse_json(text)?;
                let upto_ms = upto.checked_ms("upto", rules.latest_ms)?;
                let at_ms = at.map_or(Ok(upto_ms), |at| at.checked_ms("at", rules.latest_ms))?;
                Ok(Self::Read { room, user, upto_ms, at_ms })
            }
            other => {
                let reason = format!("type {other:?} is not user, room, member, message or read");
                Err(LineRefusal::new(RefusalCode::BadLine, reason))
            }
        }
    }
}

fn parse_room(line: RoomLine, text: &str, rules: &LineRules) -> Result<ImportLine, LineRefusal> {
    let mut room = creation::parse_new_room(text, &line.created_by, true, RoomId::generate())?;
    // The audit log gets no entry, because the room was created in another system.
    room.by_admin = false;
    let has_id = line.id.is_some();
    if !has_id && room.kind != rooms::RoomKind::Direct {
        let reason = "id is missing: without it each repetition would create the room again";
        return Err(LineRefusal::new(RefusalCode::BadField, reason));
    }
    if let Some(at) = line.created_at {
        room.created_at_ms = Some(at.checked_ms("created_at", rules.latest_ms)?);
    }
    Ok(ImportLine::Room { room: Box::new(room), has_id })
}

/// The client id for an original id. It depends only on the original id, so a repeated import does not append the
/// message again.
pub fn client_id(original: &str) -> String {
    let printable = original.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if printable && original.len() + CLIENT_ID_PREFIX.len() <= MAX_CLIENT_ID_CHARS {
        return format!("{CLIENT_ID_PREFIX}{original}");
    }
    let hash = Sha1::digest(original.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{HASH_PREFIX}{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ImportLine, LineRefusal> {
        ImportLine::parse(text, &LineRules { max_message_chars: 5, latest_ms: 1_600_000_000_000 })
    }

    #[test]
    fn each_original_id_has_one_client_id() {
        assert_eq!(client_id("a"), "import:a");
        let long = "x".repeat(58);
        for id in ["é", &long] {
            assert!(client_id(id).starts_with(HASH_PREFIX) && client_id(id) == client_id(id), "{id}");
            assert!(tidings_shared::ids::ClientId::parse(&client_id(id)).is_ok());
        }
        assert_ne!(client_id("é"), client_id("è"));
        assert_eq!(client_id(&"x".repeat(57)).len(), 64);
    }

    #[test]
    fn user_room_and_member_lines_are_read() {
        assert!(matches!(
            parse(r#"{"type":"user","id":"alice","name":"Alice"}"#),
            Ok(ImportLine::User { name: Some(name), picture: None, .. }) if name == "Alice"
        ));
        assert!(matches!(
            parse(r#"{"type":"member","room":"r","user":"bob"}"#),
            Ok(ImportLine::Member { role, .. }) if role == "member"
        ));
        let text = r#"{"type":"room","id":"general","kind":"private","name":"General","created_by":"alice",
            "created_at":"2018-01-01T00:00:00Z","members":[{"user":"bob","role":"admin"}]}"#;
        let Ok(ImportLine::Room { room, has_id }) = parse(text) else { panic!() };
        assert_eq!((room.id.as_str(), room.members.len(), has_id), ("general", 2, true));
        assert_eq!(room.created_at_ms, Some(1_514_764_800_000));
        assert_eq!(room.metadata, "{}");
    }

    #[test]
    fn read_line_names_the_time_up_to_which_the_user_has_read() {
        let text = r#"{"type":"read","room":"r","user":"bob","upto":"2018-01-01T00:00:00.5+01:00"}"#;
        let Ok(ImportLine::Read { upto_ms, at_ms, .. }) = parse(text) else { panic!() };
        assert_eq!((upto_ms, at_ms), (1_514_761_200_500, 1_514_761_200_500));
        let text = r#"{"type":"read","room":"r","user":"bob","upto":100000000007,"at":100000000009}"#;
        assert!(matches!(
            parse(text),
            Ok(ImportLine::Read { upto_ms: 100_000_000_007, at_ms: 100_000_000_009, .. })
        ));
    }

    #[test]
    fn direct_room_line_needs_no_id() {
        let text = r#"{"type":"room","kind":"direct","created_by":"a","members":[{"user":"b"}]}"#;
        assert!(matches!(parse(text), Ok(ImportLine::Room { has_id: false, .. })));
    }

    #[test]
    fn invalid_line_is_refused_with_code_and_reason() {
        use RefusalCode::{BadField, BadLine, BadTime};
        for (text, code, expected) in [
            ("", BadLine, "EOF"),
            ("[]", BadLine, "expected"),
            (r#"{"type":"dance"}"#, BadLine, "dance"),
            (r#"{"type":"user"}"#, BadLine, "id"),
            (r#"{"type":"user","id":"a b"}"#, BadLine, "user id"),
            (r#"{"type":"member","room":"r","user":"bob","role":"removed"}"#, BadField, "removed"),
            (r#"{"type":"room","id":"a/b","kind":"private","created_by":"a"}"#, BadField, "id"),
            (r#"{"type":"room","kind":"group","created_by":"a"}"#, BadField, "kind"),
            (r#"{"type":"room","kind":"private","created_by":"a"}"#, BadField, "id is missing"),
            (r#"{"type":"room","id":null,"kind":"public","created_by":"a"}"#, BadField, "id is missing"),
            (
                r#"{"type":"room","id":"r","kind":"public","created_by":"a","created_at":"May"}"#,
                BadTime,
                "created_at",
            ),
            (r#"{"type":"read","room":"r","user":"a"}"#, BadLine, "upto"),
            (r#"{"type":"user","id":"a\u202eb"}"#, BadField, "bidi"),
            (r#"{"type":"message","room":"r","id":1,"sender":"a\u2066","content":"x"}"#, BadField, "bidi"),
            (r#"{"type":"read","room":"r","user":"a","upto":1600000000001}"#, BadTime, "future"),
        ] {
            let refusal = parse(text).unwrap_err();
            assert!(refusal.code == code && refusal.reason.contains(expected), "{text}: {refusal}");
        }
    }
}
