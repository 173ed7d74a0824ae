//! The record of an event. The append script writes it to the ingest stream and to the tail, and publishes it. A record
//! has one header line with the fields that a gateway needs, so that gateways parse no JSON. After the header line
//! follows the finished JSON, which is sent to clients unchanged.
//!
//! ```text
//! 1 ␟ epoch ␟ seq ␟ at_ms ␟ room ␟ type ␟ sender ␟ client_id ␟ id ␟ visibility ␟ membership ␟ traceparent \n {json}
//! ```
//! `␟` is U+001F, which no identifier can contain. A record with the seq 0 is not an event: it is live-only (typing,
//! signal, receipt), or contains read and delivered marks.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use thiserror::Error;

pub use crate::visibility::{Visibility, is_visible_to};

use crate::{
    events::{MESSAGE_NEW, MESSAGE_VOID},
    ids::{Epoch, Seq},
    visibility::LIST_SEPARATOR,
};

/// Version of the header's layout, which is the first field of the header.
pub const FORMAT_VERSION: &str = "1";
/// The type of a record that contains read and delivered marks instead of an event.
pub const TYPE_MARKS: &str = "marks";
const FIELD_SEPARATOR: char = '\u{1f}';

/// The id of an entry in an ingest stream, `<milliseconds>-<counter>`, ordered by milliseconds, then counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IngestId {
    pub ms: u64,
    /// Counter within the millisecond.
    pub n: u64,
}

impl FromStr for IngestId {
    type Err = RecordError;
    fn from_str(text: &str) -> Result<Self, RecordError> {
        let (ms, n) = text.split_once('-').ok_or(RecordError("ingest id"))?;
        let part = |digits: &str| digits.parse().map_err(|_| RecordError("ingest id"));
        Ok(Self { ms: part(ms)?, n: part(n)? })
    }
}

impl fmt::Display for IngestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.n)
    }
}

/// The error of a malformed record or ingest id. Its text names the part that is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("malformed record: {0}")]
pub struct RecordError(pub &'static str);

macro_rules! header_fields {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// The fields of a record's header from `room` on. The caller of the append script provides them.
        #[derive(Debug, Clone, Default)]
        pub struct Header<'a> {
            $($(#[$doc])* pub $name: &'a str,)+
        }

        impl Header<'_> {
            /// The fields in their order, separated by U+001F, as `header_rest` of the scripts.
            pub fn encode(&self) -> String {
                let mut separator = [0; 4];
                [$(self.$name),+].join(&*FIELD_SEPARATOR.encode_utf8(&mut separator))
            }
        }

        /// The index of each text field in the header.
        #[allow(non_camel_case_types, reason = "the names of the fields")]
        enum HeaderField {
            $($name),+
        }

        /// The number of text fields.
        const FIELD_COUNT: usize = [$(HeaderField::$name as usize),+].len();

        impl Record {
            $($(#[$doc])*
            pub fn $name(&self) -> &str {
                self.field(HeaderField::$name)
            })+
        }
    };
}

header_fields! {
    room,
    /// The wire type of the event, such as `message:new`, or [`TYPE_MARKS`].
    kind,
    sender,
    client_id,
    id,
    visibility,
    /// `user ␞ role` if the event changes a membership, else empty; the role is [`crate::role::REMOVED`] for a removal.
    membership,
    /// W3C trace context of the command that caused the event.
    traceparent,
}

/// A parsed record from a tail, an ingest stream or a channel. Its text fields are ranges of the record's bytes.
#[derive(Debug, Clone)]
pub struct Record {
    bytes: Bytes,
    pub epoch: Epoch,
    pub seq: Seq,
    pub at_ms: i64,
    /// Offset of the end of each text field. The first text field begins at `first_begin`, each further text field
    /// begins one byte after the end of the previous one.
    ends: [u32; FIELD_COUNT],
    first_begin: u32,
}

impl Record {
    /// Splits a published payload into its records. A payload of several records begins with a line of their lengths in
    /// bytes: `2 ␟ length ␟ length … \n record record …`. A payload whose lengths do not fit is refused as a whole.
    pub fn split_payload(payload: Bytes) -> Result<Vec<Bytes>, RecordError> {
        if !payload.starts_with(b"2\x1f") {
            return Ok(vec![payload]);
        }
        let line_end = payload.iter().position(|b| *b == b'\n').ok_or(RecordError("no line of lengths"))?;
        let line = std::str::from_utf8(&payload[2..line_end]).map_err(|_| RecordError("lengths"))?;
        let mut at = line_end + 1;
        let mut record = |length: &str| {
            let end = at.checked_add(length.parse().ok()?).filter(|end| *end <= payload.len())?;
            Some(payload.slice(std::mem::replace(&mut at, end)..end))
        };
        let records: Option<Vec<Bytes>> = line.split(FIELD_SEPARATOR).map(&mut record).collect();
        records.filter(|_| at == payload.len()).ok_or(RecordError("lengths"))
    }

    /// Parses the header of a record, but not its JSON.
    pub fn parse(bytes: Bytes) -> Result<Self, RecordError> {
        let line_end = bytes.iter().position(|b| *b == b'\n').ok_or(RecordError("no header line"))?;
        let line = std::str::from_utf8(&bytes[..line_end]).map_err(|_| RecordError("header is not UTF-8"))?;
        let mut fields = line.split(FIELD_SEPARATOR);
        let mut next = |what| fields.next().ok_or(RecordError(what));
        if next("version")? != FORMAT_VERSION {
            return Err(RecordError("unknown version"));
        }
        let epoch = Epoch(next("epoch")?.parse().map_err(|_| RecordError("epoch"))?);
        let seq = Seq(next("seq")?.parse().map_err(|_| RecordError("seq"))?);
        let at_ms = next("at")?.parse().map_err(|_| RecordError("at"))?;
        let offset = |field: &str| field.as_ptr() as usize - line.as_ptr() as usize;
        let position = |at: usize| u32::try_from(at).map_err(|_| RecordError("header too long"));
        let mut ends = [0_u32; FIELD_COUNT];
        let mut first_begin = 0;
        for (index, end) in ends.iter_mut().enumerate() {
            let field = fields.next().ok_or(RecordError("missing field"))?;
            if index == 0 {
                first_begin = position(offset(field))?;
            }
            *end = position(offset(field) + field.len())?;
        }
        if ends[FIELD_COUNT - 1] as usize != line_end {
            return Err(RecordError("too many fields"));
        }
        Ok(Self { bytes, epoch, seq, at_ms, ends, first_begin })
    }

    fn field(&self, field: HeaderField) -> &str {
        let index = field as usize;
        let begin = if index == 0 { self.first_begin } else { self.ends[index - 1] + 1 };
        std::str::from_utf8(&self.bytes[begin as usize..self.ends[index] as usize]).unwrap_or_default()
    }

    /// The user whose membership this event changes, if any, and the new role or [`crate::role::REMOVED`].
    pub fn member_change(&self) -> Option<(&str, &str)> {
        self.membership().split_once(LIST_SEPARATOR)
    }

    /// Whether the record is not an event and has no seq: typing, signals, receipts and marks.
    pub fn is_live_only(&self) -> bool {
        self.seq == Seq(0)
    }

    /// The JSON that is sent to clients.
    pub fn json(&self) -> &[u8] {
        &self.bytes[self.ends[FIELD_COUNT - 1] as usize + 1..]
    }

    /// The bytes of the whole record as Redis holds it: header line and JSON.
    pub fn raw(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether a user with this role may see this event. A sender always sees own messages and voids. A change of a
    /// message has exactly the audience of the message, which may exclude the user who made the change.
    #[must_use]
    pub fn is_visible_to(&self, user: &str, role: &str) -> bool {
        let visibility = self.visibility();
        let author = || if matches!(self.kind(), MESSAGE_NEW | MESSAGE_VOID) { self.sender() } else { "" };
        visibility.is_empty() || is_visible_to(visibility, author(), user, role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(header: &Header<'_>) -> Bytes {
        Bytes::from(format!("1\u{1f}7\u{1f}42\u{1f}1700000000123\u{1f}{}\n{{\"a\":1}}", header.encode()))
    }

    #[test]
    fn record_round_trips_field_by_field() {
        let visibility = Visibility { users: vec!["bob,c;d".into()], roles: vec!["admin".into()] };
        let field = visibility.encode();
        let header = Header {
            room: "r",
            kind: "message:new",
            sender: "al=ice",
            client_id: "c 1",
            id: "i",
            visibility: &field,
            membership: "",
            traceparent: "00-ab",
        };
        let read = Record::parse(record(&header)).unwrap();
        assert_eq!((read.epoch, read.seq, read.at_ms), (Epoch(7), Seq(42), 1_700_000_000_123));
        assert_eq!(
            [
                read.room(),
                read.kind(),
                read.sender(),
                read.client_id(),
                read.id(),
                read.membership(),
                read.traceparent()
            ],
            ["r", "message:new", "al=ice", "c 1", "i", "", "00-ab"]
        );
        assert_eq!(Visibility::decode(read.visibility()), visibility);
        assert_eq!(read.json(), b"{\"a\":1}");
    }

    #[test]
    fn private_change_is_visible_to_audience_of_message_only() {
        let visibility = Visibility { users: vec!["bob".into()], roles: vec!["admin".into()] }.encode();
        let sees = |kind, user, role| {
            let header = Header { kind, sender: "alice", visibility: &visibility, ..Header::default() };
            Record::parse(record(&header)).unwrap().is_visible_to(user, role)
        };
        for kind in ["message:edited", "message:deleted", "reaction:added", "reaction:removed"] {
            assert!(sees(kind, "alice", "admin") && sees(kind, "bob", "guest"), "{kind}");
            assert!(!sees(kind, "alice", "guest"), "{kind}: alice lost the role that showed her the message");
        }
        assert!(sees("message:new", "alice", "guest") && sees("message:void", "alice", "guest"));
    }

    #[test]
    fn payload_of_several_records_is_split() {
        let one = record(&Header::default());
        assert_eq!(Record::split_payload(one.clone()).unwrap(), std::slice::from_ref(&one));
        let both = Bytes::from(["2\x1f3\x1f2\nabcde".as_bytes()].concat());
        assert_eq!(Record::split_payload(both.clone()).unwrap(), ["abc", "de"]);
        for end in 2..both.len() {
            assert!(Record::split_payload(both.slice(..end)).is_err(), "{end}");
        }
        assert!(Record::split_payload(Bytes::from_static(b"2\x1f18446744073709551615\nab")).is_err());
    }

    #[test]
    fn malformed_record_is_an_error() {
        let good = record(&Header::default());
        assert!(Record::parse(good.clone()).is_ok());
        for end in 0..good.len() - 7 {
            assert!(Record::parse(good.slice(..end)).is_err(), "{end}");
        }
        assert!(
            Record::parse(Bytes::from_static(b"2\x1f1\x1f1\x1f1\x1f\x1f\x1f\x1f\x1f\x1f\x1f\x1f\n{}"))
                .is_err()
        );
    }
}
