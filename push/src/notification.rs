//! The content of a notification. Pure. It has at most [`MAX_PAYLOAD_BYTES`], because push services accept no more than
//! 4,096 bytes with the encryption.

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};
use tidings_shared::grapheme;

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

/// The text of a notification that must not contain the message.
const NEW_MESSAGE: &str = "New message";

/// A notification of a message. Its JSON is what a browser gets.
#[derive(Debug, Serialize)]
pub struct Notification<'a> {
    r#type: &'static str,
    pub room: &'a str,
    pub seq: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a str>,
    pub unread: i64,
}

/// What an app gets.
#[derive(Debug)]
pub enum AppMessage<'a> {
    /// Show a notification. One of the same room is replaced.
    Show(&'a Notification<'a>),
    /// Remove the notification of the room if its seq is at most this one: the user has read the message elsewhere.
    Clear { room: &'a str, seq: i64 },
}

impl<'a> Notification<'a> {
    /// The notification of a message, with at most [`MAX_PAYLOAD_BYTES`] as JSON.
    pub fn new(room: &'a str, message: &'a NoticedMessage, level: ContentLevel) -> Self {
        let sender = message.sender.as_deref().filter(|_| level != ContentLevel::None);
        let sender = sender.map(|name| shorten(name, MAX_NAME_BYTES));
        let is_direct = message.room_kind == "direct";
        let room_name = message.room_name.as_deref().map(|name| shorten(name, MAX_NAME_BYTES));
        let title = if is_direct { sender } else { room_name.or(sender) };
        let text = message.content.as_str();
        let body = Some(shorten(text, MAX_BODY_BYTES))
            .filter(|text| level == ContentLevel::Text && !text.is_empty());
        let mut notification = Self {
            r#type: "message",
            room,
            seq: message.seq,
            title: title.filter(|_| level != ContentLevel::None),
            body,
            sender,
            unread: message.unread,
        };
        // Characters that JSON escapes may make the text six times as long.
        if notification.json().len() > MAX_PAYLOAD_BYTES {
            notification.body = None;
        }
        if notification.json().len() > MAX_PAYLOAD_BYTES {
            (notification.title, notification.sender) = (None, None);
        }
        notification
    }

    /// The notification as JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The title and the text that a phone shows without the app. They contain title, sender and body once each.
    pub fn alert(&self) -> (&str, Option<String>) {
        let Some(title) = self.title else { return (NEW_MESSAGE, None) };
        let text = self.body.unwrap_or(NEW_MESSAGE);
        let sender = self.sender.filter(|sender| *sender != title);
        (title, Some(sender.map_or_else(|| text.to_owned(), |sender| format!("{sender}: {text}"))))
    }
}

impl AppMessage<'_> {
    pub fn room(&self) -> &str {
        match self {
            Self::Show(notification) => notification.room,
            Self::Clear { room, .. } => room,
        }
    }

    /// The data for the app, without what the alert shows.
    pub fn data(&self) -> Value {
        match self {
            Self::Show(Notification { room, seq, unread, .. }) => {
                json!({ "type": "message", "room": room, "seq": seq, "unread": unread })
            }
            Self::Clear { room, seq } => json!({ "type": "clear", "room": room, "seq": seq }),
        }
    }
}

/// The beginning of a text with at most `limit` bytes. Cuts no character that users see, such as an emoji of several
/// code points, unless this one alone is longer than the limit.
fn shorten(text: &str, limit: usize) -> &str {
    &text[..grapheme::floor_boundary(text, limit)]
}

#[cfg(test)]
mod tests {
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
        serde_json::from_str(&Notification::new("r", message, level).json()).unwrap()
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
            let room = "r".repeat(64);
            let notification = Notification::new(&room, &full, ContentLevel::Text);
            let payload = notification.json();
            assert!(payload.len() <= MAX_PAYLOAD_BYTES, "{text}: {}", payload.len());
            assert_eq!(serde_json::from_str::<Value>(&payload).unwrap()["seq"], 7);
            // Push services of apps count data and alert, and accept 4,096 bytes.
            let app =
                json!({ "alert": notification.alert(), "data": AppMessage::Show(&notification).data() });
            assert!(app.to_string().len() <= MAX_PAYLOAD_BYTES + 100, "{text}: {app}");
        }
    }

    #[test]
    fn cut_text_ends_between_visible_characters() {
        for emoji in ["👩🏿‍❤️‍💋‍👨🏽", "🇩🇪", "e\u{301}", "👍🏽"] {
            let content = format!("{}{emoji}", "x".repeat(MAX_BODY_BYTES - emoji.len() + 1));
            let long = NoticedMessage { content, ..message() };
            let body = value(&long, ContentLevel::Text)["body"].as_str().unwrap().to_owned();
            assert_eq!(body, "x".repeat(MAX_BODY_BYTES - emoji.len() + 1), "{emoji}");
        }
    }

    #[test]
    fn names_lose_characters_that_change_the_direction() {
        let spoofed = NoticedMessage {
            sender: Some("\u{202e}Alice\u{2066}".to_owned()),
            room_name: Some("Te\u{202d}am".to_owned()),
            ..message()
        };
        let spoofed = spoofed.without_bidi_controls();
        assert_eq!(value(&spoofed, ContentLevel::Text)["sender"], "Alice");
        assert_eq!(value(&spoofed, ContentLevel::Text)["title"], "Team");
    }

    #[test]
    fn alert_shows_what_the_level_allows() {
        let alert = |message: &NoticedMessage, level| {
            let notification = Notification::new("r", message, level);
            let (title, text) = notification.alert();
            (title.to_owned(), text)
        };
        let shown = |title: &str, text: &str| (title.to_owned(), Some(text.to_owned()));
        assert_eq!(alert(&message(), ContentLevel::None), ("New message".to_owned(), None));
        assert_eq!(alert(&message(), ContentLevel::Names), shown("Team", "Alice: New message"));
        assert_eq!(alert(&message(), ContentLevel::Text), shown("Team", "Alice: hello"));
        let direct = NoticedMessage { room_kind: "direct".to_owned(), ..message() };
        assert_eq!(alert(&direct, ContentLevel::Text), shown("Alice", "hello"));
    }
}
