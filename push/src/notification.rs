//! The content of a notification. Pure. It has at most [`MAX_PAYLOAD_BYTES`], because push services accept no more than
//! 4,096 bytes with the encryption.

use clap::ValueEnum;
use serde::Serialize;

use crate::store::notice::NoticedMessage;

/// Longest payload before the encryption, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 3_000;
/// Longest title, and longest name of a sender, in bytes.
const MAX_NAME_BYTES: usize = 200;
/// Longest excerpt of a message, in bytes.
const MAX_BODY_BYTES: usize = 1_000;

/// How much a notification contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ContentLevel {
    /// Only room, seq and unread count.
    None,
    /// Also the names of room and sender.
    Names,
    /// Also the text of the message.
    Text,
}

/// A notification, as the device gets it.
#[derive(Debug, Serialize)]
struct Payload<'a> {
    r#type: &'static str,
    room: &'a str,
    seq: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a str>,
    unread: i64,
}

/// Writes the notification of a message as JSON.
pub fn payload(room: &str, message: &NoticedMessage, level: ContentLevel) -> String {
    let sender = message.sender.as_deref().filter(|_| level != ContentLevel::None);
    let sender = sender.map(|name| truncate(name, MAX_NAME_BYTES));
    let is_direct = message.room_kind == "direct";
    let room_name = message.room_name.as_deref().map(|name| truncate(name, MAX_NAME_BYTES));
    let title = if is_direct { sender } else { room_name.or(sender) };
    let text = message.content.as_str();
    let body =
        Some(truncate(text, MAX_BODY_BYTES)).filter(|text| level == ContentLevel::Text && !text.is_empty());
    let mut payload = Payload {
        r#type: "message",
        room,
        seq: message.seq,
        title: title.filter(|_| level != ContentLevel::None),
        body,
        sender,
        unread: message.unread,
    };
    let json = write(&payload);
    if json.len() <= MAX_PAYLOAD_BYTES {
        return json;
    }
    // Characters that JSON escapes may make the text six times as long.
    payload.body = None;
    let json = write(&payload);
    if json.len() <= MAX_PAYLOAD_BYTES {
        return json;
    }
    (payload.title, payload.sender) = (None, None);
    write(&payload)
}

fn write(payload: &Payload) -> String {
    serde_json::to_string(payload).unwrap_or_default()
}

/// The beginning of a text with at most `limit` bytes, which ends between two characters.
fn truncate(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rfind(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn message() -> NoticedMessage {
        NoticedMessage {
            seq: 7,
            content: "hello".to_owned(),
            sender: Some("Alice".to_owned()),
            room_kind: "private".to_owned(),
            room_name: Some("Team".to_owned()),
            is_mention: false,
            unread: 3,
        }
    }

    fn value(message: &NoticedMessage, level: ContentLevel) -> Value {
        serde_json::from_str(&payload("r", message, level)).unwrap()
    }

    #[test]
    fn level_decides_which_fields_are_told() {
        let base = json!({ "type": "message", "room": "r", "seq": 7, "unread": 3 });
        assert_eq!(value(&message(), ContentLevel::None), base);
        let mut names = base.clone();
        (names["title"], names["sender"]) = (json!("Team"), json!("Alice"));
        assert_eq!(value(&message(), ContentLevel::Names), names);
        let mut text = names.clone();
        text["body"] = json!("hello");
        assert_eq!(value(&message(), ContentLevel::Text), text);
    }

    #[test]
    fn direct_room_is_named_after_the_sender() {
        let direct = NoticedMessage { room_kind: "direct".to_owned(), ..message() };
        assert_eq!(value(&direct, ContentLevel::Names)["title"], "Alice");
        let unnamed = NoticedMessage { room_name: None, sender: None, ..message() };
        assert!(value(&unnamed, ContentLevel::Names).get("title").is_none());
    }

    #[test]
    fn payload_is_bounded_whatever_the_text_is() {
        for text in ["x", "ä", "\u{1}", "\"", "😀"] {
            let long = text.repeat(10_000);
            let full = NoticedMessage {
                content: long.clone(),
                sender: Some(long.clone()),
                room_name: Some(long),
                ..message()
            };
            let payload = payload(&"r".repeat(256), &full, ContentLevel::Text);
            assert!(payload.len() <= MAX_PAYLOAD_BYTES, "{text}: {}", payload.len());
            assert_eq!(serde_json::from_str::<Value>(&payload).unwrap()["seq"], 7);
        }
    }
}
