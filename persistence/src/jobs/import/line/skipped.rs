//! Reads the line of a message that an earlier run has finished. The message is not written again. Only its identifying
//! fields are read, because later lines may reply to it.

use serde::Deserialize;
use tidings_shared::ids::{RoomId, UserId};

use super::{LineType, OriginalId, client_id};

/// The fields that identify a message that an earlier run imported.
#[derive(Debug, PartialEq, Eq)]
pub struct SkippedMessage {
    pub room: RoomId,
    pub sender: UserId,
    /// The id of the message in the other system.
    pub id: String,
    pub client_id: String,
}

impl SkippedMessage {
    /// Reads a message line without its content. Returns None for any other line.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let LineType { r#type: "message" } = serde_json::from_str(text).ok()? else { return None };
        let MessageIdLine { room, sender, id } = serde_json::from_str(text).ok()?;
        let id = id.into_text();
        Some(Self { room, sender, client_id: client_id(&id), id })
    }
}

#[derive(Deserialize)]
struct MessageIdLine {
    room: RoomId,
    sender: UserId,
    id: OriginalId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::import::line::{ImportLine, LineRules};

    #[test]
    fn skipped_message_has_the_client_id_of_its_import() {
        let text = r#"{"type":"message","room":"r","id":17,"sender":"alice","content":"x","later":[1]}"#;
        let skipped = SkippedMessage::parse(text).unwrap();
        let rules = LineRules { max_message_chars: 9, latest_ms: 0 };
        let Ok(ImportLine::Message(message)) = ImportLine::parse(text, &rules) else { panic!() };
        assert_eq!((&skipped.client_id, &skipped.id), (&message.client_id, &message.id));
        assert_eq!((&skipped.room, &skipped.sender), (&message.room, &message.sender));
        for other in ["", "[]", r#"{"type":"user","id":"a"}"#, r#"{"type":"message","room":"r","id":1}"#] {
            assert_eq!(SkippedMessage::parse(other), None, "{other}");
        }
    }
}
