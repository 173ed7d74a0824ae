//! Parses and checks a line of an import: one JSON object for a user, a room, a member or a message. Pure. A line that
//! passes the checks can be appended as it is. A repeated line gets the same client id.

mod skipped;

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use sha1::{Digest, Sha1};
use tidings_persistence::http::creation;
use tidings_persistence::writer::rooms::{self, NewRoom};
use tidings_shared::command_fields::Fields;
use tidings_shared::ids::{RoomId, Seq, UserId};
use tidings_shared::limits::{MAX_CLIENT_ID_CHARS, MAX_METADATA_BYTES};
use tidings_shared::message::Draft;
use tidings_shared::role;

pub use skipped::SkippedMessage;

/// Key in the metadata of a room or message under which an import keeps the original id and time.
pub const IMPORTED_KEY: &str = "imported";
/// The client id of an imported message is `import:` and the original id. If that text has more than 64 characters or
/// is not printable ASCII, the client id is `import-sha1:` and the SHA-1 of the original id.
const CLIENT_ID_PREFIX: &str = "import:";
const HASH_PREFIX: &str = "import-sha1:";

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
}

/// A message of another system.
#[derive(Debug)]
pub struct ImportMessage {
    pub room: RoomId,
    pub sender: UserId,
    /// The id of the message in the other system.
    pub id: String,
    /// The original id of the message that this message replies to.
    pub reply_to: Option<String>,
    pub client_id: String,
    /// JSON text: the metadata of the message with the original id and time added.
    metadata: String,
    /// The text of the line. Its remaining fields have the same names as in the frame that sends a message.
    line: String,
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
    created_at: Option<String>,
}

#[derive(Deserialize)]
struct MemberLine {
    room: RoomId,
    user: UserId,
    role: Option<String>,
}

#[derive(Deserialize)]
struct MessageLine {
    room: RoomId,
    sender: UserId,
    id: OriginalId,
    at: Option<String>,
    reply_to: Option<OriginalId>,
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

impl ImportLine {
    /// Parses one line. The error says what is wrong with the line.
    pub fn parse(text: &str, max_message_chars: usize) -> Result<Self, String> {
        fn parse_json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
            serde_json::from_str(text).map_err(|error| error.to_string())
        }
        match parse_json::<LineType<'_>>(text)?.r#type {
            "user" => {
                let UserLine { id, name, picture } = parse_json(text)?;
                Ok(Self::User { user: id, name, picture })
            }
            "room" => parse_room(parse_json(text)?, text),
            "member" => {
                let MemberLine { room, user, role } = parse_json(text)?;
                let role = role.unwrap_or_else(|| role::MEMBER.to_owned());
                if !role::is_valid(&role) {
                    return Err(format!("{role:?} is not a role"));
                }
                Ok(Self::Member { room, user, role })
            }
            "message" => {
                let message = parse_message(parse_json(text)?, text)?;
                // The draft is checked here, so that an error is reported with its line number.
                message.draft(None, max_message_chars)?;
                Ok(Self::Message(Box::new(message)))
            }
            other => Err(format!("type {other:?} is not user, room, member or message")),
        }
    }
}

fn parse_room(line: RoomLine, text: &str) -> Result<ImportLine, String> {
    let read = creation::parse_new_room(text, &line.created_by, true, RoomId::generate());
    let mut room = read.map_err(|refusal| refusal.message)?;
    let has_id = line.id.is_some();
    if !has_id && room.kind != rooms::RoomKind::Direct {
        return Err("id is missing: without it each repetition would create the room again".to_owned());
    }
    if let Some(at) = line.created_at {
        let imported = serde_json::json!({ "at": at }).to_string();
        room.metadata = with_imported(Some(&room.metadata), &imported)?;
    }
    Ok(ImportLine::Room { room: Box::new(room), has_id })
}

fn parse_message(line: MessageLine, text: &str) -> Result<ImportMessage, String> {
    let (id, reply_to) = (line.id.into_text(), line.reply_to.map(OriginalId::into_text));
    if id.is_empty() {
        return Err("id is empty".to_owned());
    }
    let client_id = client_id(&id);
    let mut imported = serde_json::json!({ "id": id });
    if let Some(at) = line.at {
        imported["at"] = at.into();
    }
    if let Some(reply_to) = &reply_to {
        imported["reply_to"] = reply_to.as_str().into();
    }
    let given = parse_fields(text)?.metadata;
    let metadata = with_imported(given.map(RawValue::get), &imported.to_string())?;
    Ok(ImportMessage {
        room: line.room,
        sender: line.sender,
        id,
        reply_to,
        client_id,
        metadata,
        line: text.to_owned(),
    })
}

fn parse_fields(text: &str) -> Result<Fields<'_>, String> {
    Fields::parse(text).map_err(|refusal| refusal.message)
}

impl ImportMessage {
    /// The message as it is appended. `reply_to` is the seq of the message that this message replies to.
    pub fn draft(&self, reply_to: Option<Seq>, max_message_chars: usize) -> Result<Draft, String> {
        let json = |value: serde_json::Value| to_raw_value(&value).map_err(|error| error.to_string());
        let (client_id, reply_to) =
            (json(self.client_id.as_str().into())?, json(reply_to.map(|seq| seq.0).into())?);
        let metadata: &RawValue = serde_json::from_str(&self.metadata).map_err(|error| error.to_string())?;
        // `attempt: 1` saves a second look-up: the importer looks up the client id before it appends the message.
        let attempt = json(1.into())?;
        let fields = Fields {
            client_id: Some(&client_id),
            reply_to: Some(&reply_to),
            metadata: Some(metadata),
            attempt: Some(&attempt),
            ack: None,
            ..parse_fields(&self.line)?
        };
        Draft::from_fields(&fields, max_message_chars).map_err(|refusal| refusal.message)
    }
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

/// Adds the original id and time to the metadata, and keeps the other metadata as they are.
fn with_imported(metadata: Option<&str>, imported: &str) -> Result<String, String> {
    let given = metadata.filter(|metadata| *metadata != "null").unwrap_or("{}").trim();
    let object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(given).map_err(|_| "metadata is not an object".to_owned())?;
    if object.contains_key(IMPORTED_KEY) {
        return Err(format!("metadata already has the key {IMPORTED_KEY:?}"));
    }
    let open = given.strip_suffix('}').unwrap_or_default().trim_end();
    let comma = if object.is_empty() { "" } else { "," };
    let metadata = format!("{open}{comma}\"{IMPORTED_KEY}\":{imported}}}");
    if metadata.len() > MAX_METADATA_BYTES {
        return Err(format!(
            "metadata together with the original id and time are over {MAX_METADATA_BYTES} bytes"
        ));
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> ImportMessage {
        match ImportLine::parse(text, 1000).unwrap() {
            ImportLine::Message(message) => *message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn message_keeps_original_id_and_time_in_metadata() {
        let message = message(
            r#"{"type":"message","room":"r","id":"m 1","sender":"alice","at":"2019-05-06T07:08:09Z","content":"hi\n",
               "metadata":{"b":1.0, "a":2 },"reply_to":17,"kind":"note"}"#,
        );
        let draft = message.draft(Some(Seq(4)), 1000).unwrap();
        assert_eq!(
            (draft.client_id.as_str(), draft.kind.as_str(), draft.reply_to),
            ("import:m 1", "note", Some(Seq(4)))
        );
        assert!(draft.first_attempt);
        assert_eq!(
            draft.metadata.unwrap().get(),
            r#"{"b":1.0, "a":2,"imported":{"at":"2019-05-06T07:08:09Z","id":"m 1","reply_to":"17"}}"#
        );
        assert_eq!(message.reply_to.as_deref(), Some("17"));
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
            ImportLine::parse(r#"{"type":"user","id":"alice","name":"Alice"}"#, 9),
            Ok(ImportLine::User { name: Some(name), picture: None, .. }) if name == "Alice"
        ));
        assert!(matches!(
            ImportLine::parse(r#"{"type":"member","room":"r","user":"bob"}"#, 9),
            Ok(ImportLine::Member { role, .. }) if role == "member"
        ));
        let text = r#"{"type":"room","id":"general","kind":"private","name":"General","created_by":"alice",
            "created_at":"2018-01-01T00:00:00Z","members":[{"user":"bob","role":"admin"}]}"#;
        let Ok(ImportLine::Room { room, has_id }) = ImportLine::parse(text, 9) else { panic!() };
        assert_eq!((room.id.as_str(), room.members.len(), has_id), ("general", 2, true));
        assert_eq!(room.metadata, r#"{"imported":{"at":"2018-01-01T00:00:00Z"}}"#);
    }

    #[test]
    fn direct_room_line_needs_no_id() {
        let text = r#"{"type":"room","kind":"direct","created_by":"a","members":[{"user":"b"}]}"#;
        assert!(matches!(ImportLine::parse(text, 9), Ok(ImportLine::Room { has_id: false, .. })));
    }

    #[test]
    fn invalid_line_is_refused_with_its_reason() {
        for (text, expected) in [
            ("", "EOF"),
            ("[]", "expected"),
            (r#"{"type":"dance"}"#, "dance"),
            (r#"{"type":"user"}"#, "id"),
            (r#"{"type":"user","id":"a b"}"#, "user id"),
            (r#"{"type":"member","room":"r","user":"bob","role":"removed"}"#, "removed"),
            (r#"{"type":"room","id":"a/b","kind":"private","created_by":"a"}"#, "id"),
            (r#"{"type":"room","kind":"group","created_by":"a"}"#, "kind"),
            (r#"{"type":"room","kind":"private","created_by":"a"}"#, "id is missing"),
            (r#"{"type":"room","id":null,"kind":"public","created_by":"a"}"#, "id is missing"),
            (r#"{"type":"message","room":"r","id":"","sender":"a","content":"x"}"#, "id"),
            (r#"{"type":"message","room":"r","id":"1","sender":"a"}"#, "content"),
            (r#"{"type":"message","room":"r","id":"1","sender":"a","content":"abcdef"}"#, "over 5"),
            (
                r#"{"type":"message","room":"r","id":"1","sender":"a","content":"x","metadata":[]}"#,
                "metadata",
            ),
            (
                r#"{"type":"message","room":"r","id":"1","sender":"a","content":"x","metadata":{"imported":1}}"#,
                "imported",
            ),
        ] {
            let error = ImportLine::parse(text, 5).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
