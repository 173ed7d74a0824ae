//! Types of identifiers and positions. Their forms are defined in docs/PROTOCOL.md, "Forms". A service checks the form
//! of an identifier once, when it parses a request.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::{MAX_CLIENT_ID_CHARS, MAX_ROOM_ID_CHARS, MAX_SEQ, MAX_USER_ID_CHARS};

/// Why a text is not a valid identifier. The error does not contain the text, because the text may be private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a valid {what}: {rule}")]
pub struct IdError {
    /// The kind of identifier: `user id`, `room id`, `client id`.
    pub what: &'static str,
    /// The rule that the text breaks.
    pub rule: &'static str,
}

/// Whether a character embeds, overrides or isolates a direction of writing. In a name it can reverse the text around
/// the name.
#[must_use]
pub const fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the form of a text, and returns it as an identifier.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err(IdError { what: $what, rule: $rule }) }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// The id of a person or machine that may connect: 1 to 128 characters, no control characters, no white space, not
    /// `.` or `..`.
    UserId,
    "user id",
    "1 to 128 characters without control characters or white space, not `.` or `..`",
    |text| {
        !text.is_empty()
            && text.chars().count() <= MAX_USER_ID_CHARS
            && text != "."
            && text != ".."
            && !text.chars().any(|c| c.is_control() || c.is_whitespace())
    }
);

text_id!(
    /// The id of a room: 1 to 64 characters of `A-Z a-z 0-9 . _ - :`, not `.` or `..`; a UUIDv7 unless an admin chose
    /// it.
    RoomId,
    "room id",
    "1 to 64 characters of A-Z a-z 0-9 . _ - :, not `.` or `..`",
    |text| {
        (1..=MAX_ROOM_ID_CHARS).contains(&text.len())
            && text != "."
            && text != ".."
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':'))
    }
);

text_id!(
    /// The client's id for a command, unique per (room, sender): 1 to 64 printable ASCII characters.
    ClientId,
    "client id",
    "1 to 64 printable ASCII characters",
    |text| (1..=MAX_CLIENT_ID_CHARS).contains(&text.len()) && text.bytes().all(|b| (0x20..0x7f).contains(&b))
);

text_id!(
    /// The id of a file of the files service: a UUIDv7 (RFC 9562) in lower case with hyphens. Each file has one text, so
    /// texts can be compared.
    FileId,
    "file id",
    "a UUIDv7 in lower case with hyphens",
    |text| uuid::Uuid::try_parse(text)
        .is_ok_and(|id| id.get_version_num() == 7 && id.get_variant() == uuid::Variant::RFC4122 && id.hyphenated().to_string() == text)
);

impl FileId {
    /// Creates a new file id.
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().to_string().into())
    }
}

impl UserId {
    /// Whether a new user may have this id: an id with bidi controls looks like another one. Users of earlier versions may
    /// have such ids, and keep them.
    #[must_use]
    pub fn may_be_new(&self) -> bool {
        !self.0.chars().any(is_bidi_control)
    }
}

impl RoomId {
    /// Creates a new room id. It is a UUIDv7 (RFC 9562), so that room ids sort by the time of creation.
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().to_string().into())
    }
}

impl ClientId {
    /// Creates a new client id, for a command whose client has not chosen one. It is a UUIDv7 (RFC 9562).
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7().to_string().into())
    }

    /// The time in a client id, in milliseconds since the Unix epoch, if the id is a UUIDv7 (RFC 9562, 5.7).
    pub fn uuid_v7_at_ms(&self) -> Option<u64> {
        let id = uuid::Uuid::try_parse(&self.0).ok()?;
        if id.get_version_num() != 7 {
            return None;
        }
        let (seconds, nanos) = id.get_timestamp()?.to_unix();
        Some(seconds * 1000 + u64::from(nanos) / 1_000_000)
    }
}

/// A position in a room's log. The durable events of a room have the seqs 1, 2, 3 … without gaps; 0 is the head of a
/// room without events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64")]
pub struct Seq(pub u64);

impl TryFrom<u64> for Seq {
    type Error = IdError;
    /// Accepts at most 2^53 - 1, the largest integer that every JSON parser represents exactly.
    fn try_from(seq: u64) -> Result<Self, IdError> {
        if seq <= MAX_SEQ.cast_unsigned() {
            Ok(Self(seq))
        } else {
            Err(IdError { what: "seq", rule: "an integer below 2^53" })
        }
    }
}

impl Seq {
    /// The seq of the event that follows in the room's log.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of an epoch, which is one lifetime of the data in Redis. PostgreSQL assigns the numbers. On the wire an
/// epoch is a decimal string, which clients must treat as opaque.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Parses the wire form; returns `None` if the text is not a form that a server writes.
    pub fn parse(text: &str) -> Option<Self> {
        let canonical =
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
        if canonical { text.parse().ok().map(Self) } else { None }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Epoch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A client's position in a room, such as `{"epoch": "7", "seq": 41}`. The epoch is kept as the client sent it, because
/// a cursor of an unknown epoch is not an error: it is answered with a gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub epoch: String,
    pub seq: Seq,
}

impl Cursor {
    /// Makes the wire form of a position.
    pub fn new(epoch: Epoch, seq: Seq) -> Self {
        Self { epoch: epoch.to_string(), seq }
    }
}

/// Whether a text has the form of message kinds and role names: 1 to 32 characters of `a-z 0-9 _ -`.
pub fn is_label(text: &str) -> bool {
    (1..=crate::limits::MAX_LABEL_CHARS).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_user_ids_are_refused() {
        for bad in ["", ".", "..", "a b", "a\u{7}", "tab\t", &"x".repeat(129), "nb\u{a0}sp"] {
            assert!(UserId::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "|trey|", "Zoë", "firebase:abc/def", &"é".repeat(128)] {
            assert!(UserId::parse(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn new_user_id_has_no_bidi_controls() {
        let may_be_new = |id: &str| UserId::parse(id).unwrap().may_be_new();
        assert!(may_be_new("Zoë") && may_be_new("דן") && may_be_new("a\u{200f}b"));
        for c in ['\u{202a}', '\u{202c}', '\u{202e}', '\u{2066}', '\u{2069}'] {
            assert!(!may_be_new(&format!("a{c}b")), "{c:?}");
        }
    }

    #[test]
    fn invalid_room_ids_are_refused() {
        for bad in ["", ".", "..", "a b", "é", "a/b", &"x".repeat(65)] {
            assert!(RoomId::parse(bad).is_err(), "{bad:?}");
        }
        assert!(RoomId::parse("ubuntu-2004:a_b.c").is_ok());
    }

    #[test]
    fn uuid_v7_client_id_contains_its_creation_time() {
        let id = ClientId::parse("017f22e2-79b0-7cc3-98c4-dc0c0c07398f").unwrap(); // RFC 9562, appendix A.6
        assert_eq!(id.uuid_v7_at_ms(), Some(0x017F_22E2_79B0));
        assert_eq!(ClientId::parse("c232ab00-9414-11ec-b3c8-9f6bdeced846").unwrap().uuid_v7_at_ms(), None);
        assert_eq!(ClientId::parse("hello").unwrap().uuid_v7_at_ms(), None);
    }

    #[test]
    fn only_canonical_decimals_are_epochs() {
        assert_eq!(Epoch::parse("7"), Some(Epoch(7)));
        for bad in ["", "0", "07", "-1", "+1", "x", "99999999999999999999999"] {
            assert_eq!(Epoch::parse(bad), None, "{bad:?}");
        }
    }
}
