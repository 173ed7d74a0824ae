//! The message that an endpoint gets: an id that stays the same over all attempts, and a body in the form of Standard
//! Webhooks. Pure.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings_persistence::query::feed::{FeedEntry, FeedGap, LogRange};
use tidings_persistence::query::json::wire_time;
use tidings_shared::ids::RoomId;

/// The type of a message that names events which no longer exist.
pub const GAP: &str = "feed:gap";
/// The type of the message that an admin sends to try an endpoint.
pub const TEST: &str = "webhook:test";

/// A message to an endpoint.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub id: String,
    pub body: String,
}

/// The fields of an event that the body repeats.
#[derive(Deserialize)]
struct EventFields<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    at: Cow<'a, str>,
}

#[derive(Serialize)]
struct Body<'a, D: Serialize> {
    r#type: &'a str,
    timestamp: &'a str,
    data: D,
}

/// The part of the log that an entry of the feed shows.
///
/// # Errors
/// When the entry has another form. It must not be skipped, because then its event would be lost.
pub fn range_of(entry: &FeedEntry) -> Result<LogRange, serde_json::Error> {
    if let Some(gap) = &entry.gap {
        let room = RoomId::parse(&gap.room).map_err(serde_json::Error::custom)?;
        return Ok(LogRange { room, after: gap.after, upto: gap.upto });
    }
    let event = entry.event.as_ref().map_or("null", |event| event.get());
    let EventPosition { room, seq } = serde_json::from_str(event)?;
    Ok(LogRange { room, after: seq - 1, upto: seq })
}

#[derive(Deserialize)]
struct EventPosition {
    room: RoomId,
    seq: i64,
}

/// The message of a range of a log. `entries` are those of some ranges of the same room. None if there is nothing to
/// send.
///
/// # Errors
/// When the entry of the range, or an entry whose range is unknown, has another form.
pub fn message_of(
    range: &LogRange,
    entries: &[FeedEntry],
    now: DateTime<Utc>,
) -> Result<Option<Message>, serde_json::Error> {
    let is_of_range = |entry: &&FeedEntry| {
        range_of(entry).is_ok_and(|shown| range.after < shown.upto && shown.upto <= range.upto)
    };
    let Some(entry) = entries.iter().rfind(is_of_range) else {
        return entries.iter().try_for_each(|entry| range_of(entry).map(drop)).map(|()| None);
    };
    match (&entry.event, &entry.gap) {
        (Some(event), _) => {
            let EventFields { r#type, at } = serde_json::from_str(event.get())?;
            let data: &RawValue = event;
            let body = serde_json::to_string(&Body { r#type: &r#type, timestamp: &at, data })?;
            Ok(Some(Message { id: message_id(&range.room, range.upto, ""), body }))
        }
        (None, Some(gap)) => Ok(Some(gap_message(&range.room, gap, now)?)),
        (None, None) => Ok(None),
    }
}

fn gap_message(room: &RoomId, gap: &FeedGap, now: DateTime<Utc>) -> Result<Message, serde_json::Error> {
    let body = serde_json::to_string(&Body { r#type: GAP, timestamp: &wire_time(&now), data: gap })?;
    Ok(Message { id: message_id(room, gap.upto, "_gap"), body })
}

/// The message that tries an endpoint. `number` makes its id unique.
pub fn test_message(webhook: &str, number: &str, now: DateTime<Utc>) -> Result<Message, serde_json::Error> {
    let data = serde_json::json!({ "webhook": webhook });
    let body = serde_json::to_string(&Body { r#type: TEST, timestamp: &wire_time(&now), data })?;
    Ok(Message { id: format!("msg_test_{number}"), body })
}

/// The id of a message. It has no full stop, because the signed text separates its parts by full stops. `~` is not part
/// of room ids, so two rooms have different ids.
fn message_id(room: &RoomId, seq: i64, suffix: &str) -> String {
    format!("msg_{}_{seq}{suffix}", room.as_str().replace('.', "~d").replace(':', "~c"))
}

#[cfg(test)]
mod tests {
    use tidings_persistence::query::json::RawJson;

    use super::*;

    fn range(room: &str) -> LogRange {
        LogRange { room: RoomId::parse(room).unwrap(), after: 6, upto: 7 }
    }

    fn message(entry: FeedEntry) -> Message {
        message_of(&range("a.b:c"), &[entry], DateTime::UNIX_EPOCH).unwrap().unwrap()
    }

    #[test]
    fn event_is_passed_on_byte_for_byte() {
        let event = r#"{"type":"message:new","room":"a.b:c","seq":7,"at":"2026-01-01T00:00:00.000Z","metadata":{"n":1.50}}"#;
        let event = RawJson::new(event.to_owned()).unwrap();
        let sent = message(FeedEntry { partition: 0, event: Some(event), gap: None });
        assert_eq!(sent.id, "msg_a~db~cc_7");
        let head =
            r#"{"type":"message:new","timestamp":"2026-01-01T00:00:00.000Z","data":{"type":"message:new","#;
        assert!(sent.body.starts_with(head) && sent.body.contains(r#""n":1.50"#), "{}", sent.body);
    }

    #[test]
    fn gap_has_an_id_of_its_own() {
        let gap = FeedGap { room: "a.b:c".to_owned(), after: 6, upto: 7 };
        let sent = message(FeedEntry { partition: 0, event: None, gap: Some(gap) });
        assert_eq!(sent.id, "msg_a~db~cc_7_gap");
        assert!(sent.body.contains(r#""data":{"room":"a.b:c","after":6,"upto":7}"#), "{}", sent.body);
    }

    #[test]
    fn entry_of_another_range_is_not_sent() {
        let gap = FeedGap { room: "r".to_owned(), after: 7, upto: 8 };
        let other = FeedEntry { partition: 0, event: None, gap: Some(gap) };
        assert_eq!(message_of(&range("r"), &[other], DateTime::UNIX_EPOCH).unwrap(), None);
    }

    #[test]
    fn event_of_unknown_form_is_an_error_and_is_not_skipped() {
        let event = Some(RawJson::new(r#"{"type":"x","room":"r"}"#.to_owned()).unwrap());
        let entry = FeedEntry { partition: 0, event, gap: None };
        assert!(range_of(&entry).is_err());
        assert!(message_of(&range("r"), &[entry], DateTime::UNIX_EPOCH).is_err());
    }

    #[test]
    fn range_without_entry_sends_no_message() {
        assert_eq!(message_of(&range("r"), &[], DateTime::UNIX_EPOCH).unwrap(), None);
    }
}
