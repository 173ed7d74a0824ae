//! Names that an application gives to rooms and messages, and their ids here. A room's id is a prefix and the escaped
//! name, or a hash of the name if the id would be too long. A message's id is its position `ROOM~SEQ`. So ids need no
//! memory and are the same on every node. Only to find the name of a hash, each worker remembers names. Pure.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value};
use tidings_shared::limits::MAX_ROOM_ID_CHARS;

/// Separates the prefix from a hash. No escaped name begins with it, because two hex digits follow each `:` there.
const HASH_MARK: &str = "::";
/// With 16 bytes of SHA-256 nobody can make two names with one hash, so no name leads to the room of another name.
const HASH_BYTES: usize = 16;
/// A longer name is not hashed. Its id is too long, so the name is refused and needs no space in the cache.
const MAX_HASHED_NAME_BYTES: usize = 512;
/// Each of the two caches of a worker holds at least this number of the names that were used last, and at most twice as
/// many (3 MiB).
const MIN_CACHED_NAMES: usize = 2_048;

thread_local! {
    /// One for each thread, because the thread of a connection's worker translates all its commands and frames.
    static NAME_CACHE: RefCell<NameCache> = RefCell::default();
    /// The names in commands, for their answers and for rooms that joins create. They have a cache of their own, so
    /// that commands that fail push out no name of a joined room.
    static COMMAND_NAMES: RefCell<NameCache> = RefCell::default();
}

/// The names of rooms whose ids are hashes, by id.
#[derive(Default)]
struct NameCache {
    recent: HashMap<String, String>,
    /// The names before the recent ones. Those that are used again become recent.
    older: HashMap<String, String>,
}

impl NameCache {
    fn keep(&mut self, id: &str, name: String) {
        if self.recent.len() >= MIN_CACHED_NAMES {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(id.to_owned(), name);
    }

    fn find(&mut self, id: &str) -> Option<String> {
        if let Some(name) = self.older.remove(id) {
            self.keep(id, name);
        }
        self.recent.get(id).cloned()
    }
}

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
    /// The id of the room that a command names. A number counts as its digits. Keeps the name of a hash for answers.
    pub fn to_id(&self, name: &str) -> String {
        let id = self.derive_id(name);
        if self.is_hash(&id) {
            COMMAND_NAMES.with_borrow_mut(|names| names.keep(&id, name.to_owned()));
        }
        id
    }

    fn derive_id(&self, name: &str) -> String {
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
        if id.len() <= MAX_ROOM_ID_CHARS || name.len() > MAX_HASHED_NAME_BYTES {
            return id;
        }
        hashed_id(prefix, name)
    }

    /// The name of the room with this id. A room without the prefix is not of the application, and keeps its id.
    pub fn to_name(&self, id: &str) -> Value {
        let name = self.own_name(id).unwrap_or_else(|| id.to_owned());
        match name.parse::<u64>() {
            Ok(number) if self.numbers && number.to_string() == name => Value::from(number),
            _ => Value::String(name),
        }
    }

    /// The name of the room with this id, if the room is one of the application. A hash is the id of a name only if this
    /// worker has seen the name.
    fn own_name(&self, id: &str) -> Option<String> {
        if self.is_hash(id) {
            let joined = NAME_CACHE.with_borrow_mut(|names| names.find(id));
            return joined.or_else(|| COMMAND_NAMES.with_borrow_mut(|names| names.find(id)));
        }
        unescape(id.strip_prefix(self.prefix.as_deref()?)?)
    }

    fn is_hash(&self, id: &str) -> bool {
        let prefix = self.prefix.as_deref();
        prefix.and_then(|prefix| id.strip_prefix(prefix)).is_some_and(|rest| rest.starts_with(HASH_MARK))
    }

    /// Keeps the name of a room whose id is a hash, if the object has the fields `room` and `name`, as in
    /// `room:joined`. A room that could not be joined has no field `name`.
    fn keep_name(&self, object: &Map<String, Value>) {
        let (Some(Value::String(id)), Some(name)) = (object.get("room"), object.get("name")) else { return };
        if !self.is_hash(id) {
            return;
        }
        let hashed = name.as_str().filter(|name| self.derive_id(name) == *id).map(str::to_owned);
        // If the room has another name now, only the command that joined it has the name of the hash.
        if let Some(name) = hashed.or_else(|| COMMAND_NAMES.with_borrow_mut(|names| names.find(id))) {
            NAME_CACHE.with_borrow_mut(|names| names.keep(id, name));
        }
    }

    /// The name that the room with this id gets if a join creates it; `None` if joins do not create this room.
    pub fn name_to_create(&self, id: &str) -> Option<String> {
        self.own_name(id).filter(|name| self.create && !name.is_empty())
    }

    /// Replaces the ids of rooms in a field `room`, and in a list of ids or of objects, by the names.
    pub fn rename(&self, frame: &mut Map<String, Value>) {
        self.keep_name(frame);
        if let Some(room) = frame.get_mut("room") {
            self.rename_id(room);
        }
        for field in ["rooms", "failed"] {
            for item in frame.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
                item.as_object().into_iter().for_each(|object| self.keep_name(object));
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

fn hashed_id(prefix: &str, name: &str) -> String {
    let mut id = format!("{prefix}{HASH_MARK}");
    for byte in &digest(&SHA256, name.as_bytes()).as_ref()[..HASH_BYTES] {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
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
    fn long_name_becomes_hash_that_leads_back_to_it() {
        let names = RoomNames { create: true, ..with_prefix("app-") };
        let pair = "0190a5c0-0000-7000-8000-000000000000_0190a5c0-0000-7000-8000-000000000001";
        for name in ["двенадцатьбу", pair, &"x".repeat(512)] {
            let id = names.to_id(name);
            assert_eq!((id.len(), &id[..6]), (38, "app-::"), "{name}");
            assert_eq!(names.to_id(name), id);
            assert_eq!(names.to_name(&id), name);
            assert_eq!(names.name_to_create(&id).as_deref(), Some(name));
            assert_eq!(message_position(&message_id(&id, 7)), Some((id.as_str(), 7)));
        }
        assert_ne!(names.to_id(pair), names.to_id(&pair.replace("00_", "02_")));
        assert!(names.to_id(&"x".repeat(513)).len() > 500, "too long for a room");
        assert_eq!(names.to_id("x".repeat(60).as_str()), format!("app-{}", "x".repeat(60)));
    }

    fn long(number: usize) -> String {
        format!("{number}{}", "x".repeat(100))
    }

    /// Translates the answer to a join, in which the room has `name`.
    fn join(names: &RoomNames, id: &str, name: &Value) -> Value {
        let mut joined = json!({ "rooms": [{ "room": id, "name": name }], "failed": [] });
        names.rename(joined.as_object_mut().unwrap());
        joined["rooms"][0]["room"].clone()
    }

    fn cached() -> [usize; 4] {
        let sizes = |cache: &NameCache| (cache.recent.len(), cache.older.len());
        let (joined, commands) = (NAME_CACHE.with_borrow(sizes), COMMAND_NAMES.with_borrow(sizes));
        [joined.0, joined.1, commands.0, commands.1]
    }

    #[test]
    fn name_of_hash_is_learned_from_frame_and_kept_while_used() {
        let names = with_prefix("app-");
        let id = names.to_id(&long(0));
        // Another worker has not seen the name.
        COMMAND_NAMES.set(NameCache::default());
        assert_eq!(names.to_name(&id), id.as_str());
        assert_eq!(join(&names, &id, &json!(long(0))), long(0));
        for number in 1..5 * MIN_CACHED_NAMES {
            join(&names, &names.to_id(&long(number)), &json!(long(number)));
            if number % 1000 == 0 {
                assert_eq!(names.to_name(&id), long(0), "{number}");
            }
        }
        assert!(cached().into_iter().all(|size| size <= MIN_CACHED_NAMES), "{:?}", cached());
    }

    #[test]
    fn names_in_failed_commands_push_out_no_joined_room() {
        let names = with_prefix("app-");
        // The second and the third room have another name and no name.
        let joined = [json!(long(0)), json!("renamed"), Value::Null];
        let ids = [0, 1, 2].map(|number| names.to_id(&long(number)));
        for (number, name) in joined.iter().enumerate() {
            assert_eq!(join(&names, &ids[number], name), long(number));
        }
        for number in 3..5 * MIN_CACHED_NAMES {
            let id = names.to_id(&long(number));
            let mut failed = json!({ "rooms": [], "failed": [{ "room": id, "code": "not_found" }] });
            names.rename(failed.as_object_mut().unwrap());
            assert_eq!(failed["failed"][0]["room"], long(number));
        }
        for (number, id) in ids.iter().enumerate() {
            assert_eq!(names.to_name(id), long(number));
        }
        assert!(cached().into_iter().all(|size| size <= MIN_CACHED_NAMES), "{:?}", cached());
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
