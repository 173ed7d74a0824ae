//! Parses records that change a room itself: its name, its metadata, whether it is archived, its slow mode. Pure.
//! Refuses a malformed record. The reason never quotes the record.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use tidings_shared::{ids::RoomId, log::Record};

/// The type of an event that changes a room.
pub use tidings_shared::events::ROOM_UPDATED;

/// The combined effect of the updates of a room in one batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomUpdate {
    /// The new name, None if unchanged. An empty text removes the name.
    pub name: Option<String>,
    /// The new metadata as the JSON text of an object, None if unchanged.
    pub metadata: Option<String>,
    pub archived: Option<bool>,
    pub slow_mode_s: Option<u16>,
    /// When the last update was appended, ms since 1970.
    pub at_ms: i64,
}

#[derive(Deserialize)]
struct UpdateFields<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    archived: Option<bool>,
    slow_mode_s: Option<u16>,
}

/// Merges a record that follows the stored head into `updates`. Ignores records of other event types.
pub fn merge(
    updates: &mut BTreeMap<RoomId, RoomUpdate>,
    room: &RoomId,
    record: &Record,
) -> Result<(), &'static str> {
    if record.kind() != ROOM_UPDATED {
        return Ok(());
    }
    let body: UpdateFields<'_> = serde_json::from_slice(record.json())
        .map_err(|_| "an update of a room whose body has an unexpected form")?;
    let update = updates.entry(room.clone()).or_default();
    update.name = body.name.map(Cow::into_owned).or(update.name.take());
    update.metadata = body.metadata.map(|json| json.get().to_owned()).or(update.metadata.take());
    update.archived = body.archived.or(update.archived);
    update.slow_mode_s = body.slow_mode_s.or(update.slow_mode_s);
    update.at_ms = update.at_ms.max(record.at_ms);
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidings_shared::log::record::Header;

    use super::*;

    fn merge_all(bodies: &[&str]) -> Result<RoomUpdate, &'static str> {
        let room = RoomId::parse("r").unwrap();
        let mut updates = BTreeMap::new();
        for (seq, body) in (1..).zip(bodies) {
            let header = Header { room: "r", kind: ROOM_UPDATED, ..Header::default() }.encode();
            let raw = format!("1\u{1f}1\u{1f}{seq}\u{1f}{seq}00\u{1f}{header}\n{body}");
            merge(&mut updates, &room, &Record::parse(Bytes::from(raw)).unwrap())?;
        }
        Ok(updates.remove(&room).unwrap())
    }

    #[test]
    fn last_update_of_each_field_wins() {
        let update = merge_all(&[
            r#"{"name":"a","metadata":{"b": 1},"by":"alice"}"#,
            r#"{"name":"","archived":true,"slow_mode_s":30}"#,
            r#"{"slow_mode_s":0}"#,
            r#"{"archived":false,"metadata":{"c":2.0}}"#,
        ]);
        let expected = RoomUpdate {
            name: Some(String::new()),
            metadata: Some(r#"{"c":2.0}"#.to_owned()),
            archived: Some(false),
            slow_mode_s: Some(0),
            at_ms: 400,
        };
        assert_eq!(update, Ok(expected));
        assert!(merge_all(&[r#"{"name":7}"#]).is_err() && merge_all(&["[]x"]).is_err());
    }
}
