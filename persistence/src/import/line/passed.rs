//! A line that was imported before: of a message what is needed to find it again, for those that answer it.

use serde::Deserialize;
use tidings_shared::ids::{RoomId, UserId};

use super::{Kind, Original, client_id};

/// A message as far as is needed to find it again.
#[derive(Debug, PartialEq, Eq)]
pub struct Passed {
    pub room: RoomId,
    pub sender: UserId,
    /// Its id in the other system.
    pub id: String,
    pub client_id: String,
}

impl Passed {
    /// Reads the line of a message whose contents are not looked at; None when it is another line.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Kind { r#type: "message" } = serde_json::from_str(text).ok()? else { return None };
        let PassedLine { room, sender, id } = serde_json::from_str(text).ok()?;
        let id = id.text();
        Some(Self { room, sender, client_id: client_id(&id), id })
    }
}

#[derive(Deserialize)]
struct PassedLine {
    room: RoomId,
    sender: UserId,
    id: Original,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::line::Line;

    #[test]
    fn a_message_that_is_passed_is_found_by_the_client_id_that_it_was_imported_with() {
        let text = r#"{"type":"message","room":"r","id":17,"sender":"alice","content":"x","later":[1]}"#;
        let passed = Passed::parse(text).unwrap();
        let Ok(Line::Message(message)) = Line::parse(text, 9) else { panic!() };
        assert_eq!((&passed.client_id, &passed.id), (&message.client_id, &message.id));
        assert_eq!((&passed.room, &passed.sender), (&message.room, &message.sender));
        for other in ["", "[]", r#"{"type":"user","id":"a"}"#, r#"{"type":"message","room":"r","id":1}"#] {
            assert_eq!(Passed::parse(other), None, "{other}");
        }
    }
}
