//! Opaque cursors of lists: the packed position at which a page ended. Pure.
//! Unpacking refuses texts that packing cannot have made.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};

/// A time in the year 200,000, later than every time in the system. PostgreSQL's range of times ends even later.
pub(super) const LATEST_TIME: DateTime<Utc> =
    DateTime::from_timestamp(6_249_000_000_000, 0).expect("within the range of chrono");
/// Separates the parts of a cursor. No id contains a control character.
const SEPARATOR: char = '\u{1f}';

/// The last room of a page of a list that is ordered by last activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActivityCursor {
    pub updated_at: DateTime<Utc>,
    pub room: String,
}

impl ActivityCursor {
    /// Packs the cursor into the text that clients send back.
    #[must_use]
    pub fn pack(&self) -> String {
        // Microseconds, because PostgreSQL keeps times in microseconds.
        URL_SAFE_NO_PAD.encode(format!("{}{SEPARATOR}{}", self.updated_at.timestamp_micros(), self.room))
    }

    /// Unpacks a cursor; None for a text that [`ActivityCursor::pack`] cannot have made.
    #[must_use]
    pub fn unpack(text: &str) -> Option<Self> {
        let (micros, room) =
            decode_text(text)?.split_once(SEPARATOR).map(|(a, b)| (a.to_owned(), b.to_owned()))?;
        if room.is_empty() || room.contains(char::is_control) {
            return None;
        }
        // Refuses times before 1970. The system writes none, and PostgreSQL would refuse a forged time before 4713 BC.
        let micros = micros.parse().ok().filter(|micros| *micros >= 0)?;
        Some(Self { updated_at: DateTime::from_timestamp_micros(micros)?, room })
    }
}

/// The last result of a page. If a page ends early, the cursor is a whole second instead of a result. So a cursor never
/// contains the position of a message that the viewer may not see, and needs no encryption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchCursor {
    pub at: DateTime<Utc>,
    /// The room of the message; empty for a position before the first message with the time `at`.
    pub room: String,
    pub seq: i64,
}

impl SearchCursor {
    /// The position just before the messages of the time `at`. A search from here returns these and older messages.
    #[must_use]
    pub fn starting_at(at: DateTime<Utc>) -> Self {
        Self { at, room: String::new(), seq: 0 }
    }

    /// Packs the cursor into the text that clients send back.
    #[must_use]
    pub fn pack(&self) -> String {
        let (micros, seq) = (self.at.timestamp_micros(), self.seq);
        URL_SAFE_NO_PAD.encode(format!("s{SEPARATOR}{micros}{SEPARATOR}{seq}{SEPARATOR}{}", self.room))
    }

    /// Unpacks a cursor; None for a text that [`SearchCursor::pack`] cannot have made.
    #[must_use]
    pub fn unpack(text: &str) -> Option<Self> {
        let text = decode_text(text)?;
        let mut parts = text.split(SEPARATOR);
        let (kind, micros, seq) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let room = parts.next().filter(|room| !room.contains(char::is_control))?.to_owned();
        let is_valid = kind == "s" && micros >= 0 && seq >= 0 && parts.next().is_none();
        let at = DateTime::from_timestamp_micros(micros).filter(|at| is_valid && *at < LATEST_TIME)?;
        Some(Self { at, room, seq })
    }
}

/// Packs the id after which a list ordered by id continues.
#[must_use]
pub fn pack_id(id: &str) -> String {
    URL_SAFE_NO_PAD.encode(id)
}

/// Unpacks an id; None for a text that [`pack_id`] cannot have made.
#[must_use]
pub fn unpack_id(text: &str) -> Option<String> {
    decode_text(text).filter(|id| !id.is_empty() && !id.contains(char::is_control))
}

fn decode_text(text: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activity_cursor_is_unpacked_unchanged() {
        let cursor = ActivityCursor {
            updated_at: DateTime::from_timestamp_micros(1_763_628_170_123_456).unwrap(),
            room: "a:b-c_d.e".into(),
        };
        assert_eq!(ActivityCursor::unpack(&cursor.pack()), Some(cursor));
    }

    #[test]
    fn search_cursor_is_unpacked_unchanged() {
        let at = DateTime::from_timestamp_micros(1_763_628_170_123_456).unwrap();
        for cursor in [SearchCursor { at, room: "a:b".into(), seq: 7 }, SearchCursor::starting_at(at)] {
            assert_eq!(SearchCursor::unpack(&cursor.pack()), Some(cursor));
        }
        for bad in [
            "s\u{1f}1\u{1f}1",
            "s\u{1f}-1\u{1f}1\u{1f}r",
            "s\u{1f}9223372036854775807\u{1f}1\u{1f}r",
            "x\u{1f}1\u{1f}1\u{1f}r",
            "s\u{1f}1\u{1f}1\u{1f}r\u{1f}",
            "s\u{1f}1\u{1f}1\u{1f}\0",
        ] {
            assert_eq!(SearchCursor::unpack(&URL_SAFE_NO_PAD.encode(bad)), None, "{bad:?}");
        }
    }

    #[test]
    fn id_cursor_is_unpacked_unchanged_for_any_user_id() {
        for id in ["alice", "|trey|", "Zoë/…", "a,b"] {
            assert_eq!(unpack_id(&pack_id(id)).as_deref(), Some(id));
        }
    }

    #[test]
    fn foreign_cursor_is_refused() {
        for bad in ["", "!", "YWxpY2U", "====", "MTIz", &URL_SAFE_NO_PAD.encode("x\u{1f}room")] {
            assert_eq!(ActivityCursor::unpack(bad), None, "{bad:?}");
        }
        for micros in ["-1", "99999999999999999999", "9223372036854775807"] {
            let text = URL_SAFE_NO_PAD.encode(format!("{micros}\u{1f}room"));
            assert_eq!(ActivityCursor::unpack(&text), None, "{micros}");
        }
        assert_eq!(ActivityCursor::unpack(&URL_SAFE_NO_PAD.encode("1\u{1f}a\0b")), None);
        for bad in ["", "é", "a b", &URL_SAFE_NO_PAD.encode([0xff, 0xfe]), &URL_SAFE_NO_PAD.encode("a\0")] {
            assert_eq!(unpack_id(bad), None, "{bad:?}");
        }
    }
}
