//! Names that an application gives to rooms and messages, and their ids here. A room's id is a prefix and the escaped
//! name. A message's id is its position `ROOM~SEQ`, so it needs no memory and is the same on every node. Pure.

use std::fmt::Write;

use serde_json::{Map, Value};

/// Characters of a room id that stand for themselves in an escaped name.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

/// The names of rooms.
#[derive(Debug, Default)]
pub(super) struct RoomNames {
    /// What the ids of the application's rooms begin with. Without a prefix, names are ids and stay as they are.
    pub prefix: Option<String>,
    /// Whether a name of digits is sent as a number.
    pub numbers: bool,
    /// Whether a join creates a missing room. Needs a prefix, so that clients cannot make rooms of other applications.
    pub create: bool,
}

impl RoomNames {
    /// The id of the room with this name. A number counts as its digits.
    pub fn to_id(&self, name: &str) -> String {
        let Some(prefix) = &self.prefix else { return name.to_owned() };
        let mut id = prefix.clone();
        for byte in name.bytes() {
            if is_plain(byte) {
                id.push(char::from(byte));
            } else {
                // Writing to a string cannot fail.
                let _ = write!(id, ":{byte:02X}");
            }
        }
        id
    }

    /// The name of the room with this id. A room without the prefix is not of the application, and keeps its id.
    pub fn to_name(&self, id: &str) -> Value {
        let name = self.own_name(id).unwrap_or_else(|| id.to_owned());
        match name.parse::<u64>() {
            Ok(number) if self.numbers && number.to_string() == name => Value::from(number),
            _ => Value::String(name),
        }
    }

    /// The name of the room with this id, if the room is one of the application.
    fn own_name(&self, id: &str) -> Option<String> {
        unescape(id.strip_prefix(self.prefix.as_deref()?)?)
    }

    /// The name that the room with this id gets if a join creates it; `None` if joins do not create this room.
    pub fn name_to_create(&self, id: &str) -> Option<String> {
        self.own_name(id).filter(|name| self.create && !name.is_empty())
    }

    /// Replaces the ids of rooms in a field `room`, and in a list of ids or of objects, by the names.
    pub fn rename(&self, frame: &mut Map<String, Value>) {
        if let Some(room) = frame.get_mut("room") {
            self.rename_id(room);
        }
        for field in ["rooms", "failed"] {
            for item in frame.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
                match item.get_mut("room") {
                    Some(room) => self.rename_id(room),
                    None => self.rename_id(item),
                }
            }
        }
    }

    fn rename_id(&self, value: &mut Value) {
        if let Some(id) = value.as_str() {
            *value = self.to_name(id);
        }
    }
}

fn unescape(escaped: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), escaped.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        if *first == b':' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

/// The id of the message at this position of a room.
pub(super) fn message_id(room: &str, seq: u64) -> String {
    format!("{room}~{seq}")
}

/// The room and the position of a message with this id.
pub(super) fn message_position(id: &str) -> Option<(&str, u64)> {
    // `~` occurs in no room id.
    let (room, seq) = id.split_once('~')?;
    Some((room, seq.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn with_prefix(prefix: &str) -> RoomNames {
        RoomNames { prefix: Some(prefix.to_owned()), ..RoomNames::default() }
    }

    #[test]
    fn name_becomes_id_with_prefix_and_escapes() {
        let names = with_prefix("app-");
        assert_eq!(names.to_id("general"), "app-general");
        assert_eq!(names.to_id("Tea time: é"), "app-Tea:20time:3A:20:C3:A9");
        assert_eq!(names.to_name("app-Tea:20time:3A:20:C3:A9"), "Tea time: é");
        assert_eq!(names.to_name("other"), "other");
        assert_eq!(names.to_name("app-:ZZ"), "app-:ZZ");
        assert_eq!(RoomNames::default().to_id("room:7"), "room:7");
    }

    #[test]
    fn names_of_digits_are_numbers_on_request() {
        let numbers = RoomNames { prefix: Some(String::new()), numbers: true, create: false };
        assert_eq!(numbers.to_name("42"), json!(42));
        for text in ["042", "4 2", "x"] {
            assert_eq!(numbers.to_name(&numbers.to_id(text)), json!(text));
        }
    }

    #[test]
    fn only_named_rooms_below_the_prefix_are_created() {
        let names = RoomNames { create: true, ..with_prefix("app-") };
        assert_eq!(names.name_to_create("app-tea:20time").as_deref(), Some("tea time"));
        for id in ["other", "app-", "app-:ZZ", "app"] {
            assert_eq!(names.name_to_create(id), None, "{id}");
        }
        assert_eq!(with_prefix("app-").name_to_create("app-tea"), None);
    }

    #[test]
    fn rooms_are_renamed_wherever_a_frame_names_them() {
        let names = with_prefix("x-");
        for (frame, expected) in [
            (json!({ "room": "x-a", "seq": 1 }), json!({ "room": "a", "seq": 1 })),
            (json!({ "rooms": ["x-a", "b"] }), json!({ "rooms": ["a", "b"] })),
            (
                json!({ "rooms": [{ "room": "x-a" }], "failed": [{ "room": "x-b", "code": "forbidden" }] }),
                json!({ "rooms": [{ "room": "a" }], "failed": [{ "room": "b", "code": "forbidden" }] }),
            ),
        ] {
            let mut renamed = frame.as_object().unwrap().clone();
            names.rename(&mut renamed);
            assert_eq!(Value::Object(renamed), expected);
        }
    }

    #[test]
    fn message_id_contains_its_position() {
        assert_eq!(message_position(&message_id("app-a:20b", 41)), Some(("app-a:20b", 41)));
        for other in ["", "a", "a~", "a~-1", "a~x", "0190a5c0-0000-7000-8000-000000000000"] {
            assert_eq!(message_position(other), None, "{other}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn id_of_a_name_leads_back_to_the_name(name in ".{0,20}", prefix in "[a-z:-]{0,4}") {
            let names = with_prefix(&prefix);
            let id = names.to_id(&name);
            prop_assert!(id.bytes().all(|byte| is_plain(byte) || byte == b':'));
            prop_assert_eq!(names.to_name(&id), name.as_str());
        }
    }
}
