//! Parses the body of a poll, and checks its limits.

use std::{collections::HashMap, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;
use tidings_shared::{
    command_fields::object,
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

#[derive(Deserialize)]
struct PollForm {
    cursors: Option<HashMap<RoomId, Option<Cursor>>>,
    commands: Option<Vec<Box<RawValue>>>,
    timeout_ms: Option<u64>,
    rooms_version: Option<String>,
}

impl PollRequest {
    /// Parses the body of a poll. Refuses a bad body as `bad_request` or `too_large`, with the name of the field.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(body)
            .map_err(|_| Refusal::new(ErrorCode::BadRequest, "the body is not UTF-8"))?;
        let PollForm { cursors, commands, timeout_ms, rooms_version } = object(text)?;
        let (cursors, commands) = (cursors.unwrap_or_default(), commands.unwrap_or_default());
        check_count(cursors.len(), "cursors", MAX_ROOMS)?;
        check_count(commands.len(), "commands", MAX_COMMANDS)?;
        let mut cursors: Vec<_> = cursors.into_iter().collect();
        cursors.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let timeout = Duration::from_millis(timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS).min(MAX_TIMEOUT_MS));
        Ok(Self { cursors, commands, timeout, rooms_version })
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
