//! Parses the body of a poll, and checks its limits.

use std::{collections::HashMap, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;
use tidings_shared::{
    command_fields::optional,
    error::{ErrorCode, Refusal},
    ids::{Cursor, RoomId},
};

/// Maximum number of rooms in one poll, the same as for one connection.
const MAX_ROOMS: usize = 1000;
const MAX_COMMANDS: usize = 100;
const DEFAULT_TIMEOUT_MS: u64 = 25_000;
const MAX_TIMEOUT_MS: u64 = 30_000;

/// The parsed body of a poll. `timeout` is at most 30 s, and 25 s if the body has none.
#[derive(Debug)]
pub(super) struct PollRequest {
    /// The rooms with their cursors, sorted by room id. `None` means that the poll starts at the room's head.
    pub cursors: Vec<(RoomId, Option<Cursor>)>,
    pub commands: Vec<Box<RawValue>>,
    pub timeout: Duration,
    pub rooms_version: Option<String>,
}

/// The fields of the body, not parsed yet, so that a refusal can name the invalid field.
#[derive(Deserialize)]
struct RawBody<'a> {
    #[serde(borrow, default)]
    cursors: Option<&'a RawValue>,
    #[serde(borrow, default)]
    commands: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timeout_ms: Option<&'a RawValue>,
    #[serde(borrow, default)]
    rooms_version: Option<&'a RawValue>,
}

impl PollRequest {
    /// Parses the body of a poll. Refuses a bad body as `bad_request` or `too_large`, with the name of the field.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let bad = |message: String| Refusal::new(ErrorCode::BadRequest, message);
        let text = std::str::from_utf8(body).map_err(|_| bad("the body is not UTF-8".to_owned()))?;
        // Serde would also parse a struct from an array, but the protocol requires an object.
        if !text.trim_start().starts_with('{') {
            return Err(bad("expected one JSON object".to_owned()));
        }
        let body: RawBody<'_> =
            serde_json::from_str(text).map_err(|error| bad(format!("not a JSON object: {error}")))?;
        let cursors: HashMap<RoomId, Option<Cursor>> =
            optional(body.cursors, "cursors", "a map from room to cursor {epoch, seq} or null")?
                .unwrap_or_default();
        let commands: Vec<Box<RawValue>> =
            optional(body.commands, "commands", "a list of client frames")?.unwrap_or_default();
        check_count(cursors.len(), "cursors", MAX_ROOMS)?;
        check_count(commands.len(), "commands", MAX_COMMANDS)?;
        let timeout_ms: Option<u64> = optional(body.timeout_ms, "timeout_ms", "milliseconds")?;
        let mut cursors: Vec<_> = cursors.into_iter().collect();
        cursors.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Self {
            cursors,
            commands,
            timeout: Duration::from_millis(timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS).min(MAX_TIMEOUT_MS)),
            rooms_version: optional(body.rooms_version, "rooms_version", "a string")?,
        })
    }
}

fn check_count(count: usize, field: &'static str, max: usize) -> Result<(), Refusal> {
    if count <= max {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::TooLarge, format!("`{field}` holds more than {max} entries"))
        .with_field(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_poll_has_default_timeout() {
        let request = PollRequest::parse(b"{}").unwrap();
        assert!(request.cursors.is_empty() && request.commands.is_empty() && request.rooms_version.is_none());
        assert_eq!(request.timeout, Duration::from_secs(25));
        let long =
            PollRequest::parse(br#"{"timeout_ms":99999999,"cursors":{"b":null,"a":{"epoch":"1","seq":2}}}"#);
        let long = long.unwrap();
        assert_eq!((long.timeout, long.cursors.len()), (Duration::from_secs(30), 2));
        assert_eq!(long.cursors[0].1, Some(Cursor { epoch: "1".into(), seq: tidings_shared::ids::Seq(2) }));
    }

    #[test]
    fn invalid_field_is_named_in_refusal() {
        let many: Vec<String> = (0..=MAX_ROOMS).map(|n| format!("\"r{n}\":null")).collect();
        let many = format!("{{\"cursors\":{{{}}}}}", many.join(","));
        let cases = [
            ("", ErrorCode::BadRequest, None),
            ("[]", ErrorCode::BadRequest, None),
            ("{", ErrorCode::BadRequest, None),
            (r#"{"cursors":[]}"#, ErrorCode::BadRequest, Some("cursors")),
            (r#"{"cursors":{"a b":null}}"#, ErrorCode::BadRequest, Some("cursors")),
            (r#"{"cursors":{"a":7}}"#, ErrorCode::BadRequest, Some("cursors")),
            (r#"{"commands":{}}"#, ErrorCode::BadRequest, Some("commands")),
            (r#"{"timeout_ms":-1}"#, ErrorCode::BadRequest, Some("timeout_ms")),
            (r#"{"rooms_version":7}"#, ErrorCode::BadRequest, Some("rooms_version")),
            (many.as_str(), ErrorCode::TooLarge, Some("cursors")),
        ];
        for (body, code, field) in cases {
            let refusal = PollRequest::parse(body.as_bytes()).unwrap_err();
            assert_eq!((refusal.code, refusal.field.as_deref()), (code, field), "{body}");
        }
    }
}
