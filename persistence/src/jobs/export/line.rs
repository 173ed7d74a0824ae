//! Converts rows into lines that `import` reads. Pure.
//!
//! An import stores the original time and id of a room or message in its metadata, under one key. The export writes the
//! original time into the line, and omits the key. A key that a client wrote itself is kept: a message counts as
//! imported only if its client id is derived from the original id.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings_shared::message::events::Audience;

use crate::jobs::import::{self, line::IMPORTED_KEY};
use crate::jobs::sql::export::{ExportedMember, ExportedMessage, ExportedRoom, ExportedUser};
use crate::query::json::wire_time;

/// A line of the export: a user, a room, a member or a message.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ExportLine<'a> {
    User(&'a ExportedUser),
    Room {
        id: &'a str,
        kind: &'a str,
        created_by: &'a str,
        created_at: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<Metadata<'a>>,
        members: Vec<RoomLineMember<'a>>,
    },
    Member {
        room: &'a str,
        user: &'a str,
        role: &'a str,
    },
    Message {
        room: &'a str,
        at: String,
        #[serde(flatten)]
        message: &'a ExportedMessage,
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<Metadata<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        visible_to: Option<Audience<'a>>,
    },
}

#[derive(Debug, Serialize)]
pub struct RoomLineMember<'a> {
    user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
}

/// The metadata in a line of the export.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Metadata<'a> {
    Unchanged(&'a RawValue),
    WithoutImported(BTreeMap<String, &'a RawValue>),
}

/// The part that an import adds to the metadata of a room.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportedRoomMetadata {
    at: String,
}

/// The part that an import adds to the metadata of a message.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportedMessageMetadata {
    id: String,
    at: Option<String>,
    #[serde(rename = "reply_to")]
    _reply_to: Option<String>,
}

impl<'a> ExportLine<'a> {
    /// The line of a room. It names `owner` as the creator, because an import makes the creator the owner.
    pub fn of_room(room: &'a ExportedRoom, owner: &'a str, members: &'a [ExportedMember]) -> Self {
        let direct = room.kind == "direct";
        let others = members.iter().filter(|member| member.user_id != owner);
        let named = |member: &'a ExportedMember| RoomLineMember {
            user: &member.user_id,
            role: (!direct).then_some(member.role.as_str()),
        };
        let (metadata, at) =
            without_imported(Some(&room.metadata), |ImportedRoomMetadata { at }| Some(Some(at)));
        Self::Room {
            id: &room.id,
            kind: &room.kind,
            created_by: owner,
            created_at: at.unwrap_or_else(|| wire_time(&room.created_at)),
            name: room.name.as_deref(),
            metadata,
            members: others.map(named).collect(),
        }
    }

    /// The line of a message. `room` is the room's id.
    pub fn of_message(room: &'a str, message: &'a ExportedMessage) -> Self {
        let imported = |imported: ImportedMessageMetadata| {
            (message.client_id == import::line::client_id(&imported.id)).then_some(imported.at)
        };
        let (metadata, at) = without_imported(message.metadata.as_deref(), imported);
        let (users, roles) = (message.visible_users.as_deref(), message.visible_roles.as_deref());
        let mut audience = Audience { users: users.unwrap_or_default(), roles: roles.unwrap_or_default() };
        if audience.users.is_empty() && audience.roles.is_empty() {
            // All users who could see the message are erased, so the line names the sender. An import refuses an empty
            // list of users, and without a list everyone in the room would see the message.
            audience.users = std::slice::from_ref(&message.sender);
        }
        Self::Message {
            room,
            at: at.unwrap_or_else(|| wire_time(&message.at)),
            message,
            metadata,
            visible_to: (users.is_some() || roles.is_some()).then_some(audience),
        }
    }
}

/// Returns the metadata without the part that an import added, and the original time from that part. `original_time`
/// returns None if no import wrote the part.
fn without_imported<T: DeserializeOwned>(
    metadata: Option<&RawValue>,
    original_time: impl FnOnce(T) -> Option<Option<String>>,
) -> (Option<Metadata<'_>>, Option<String>) {
    let Some(given) = metadata else { return (None, None) };
    let mut rest: BTreeMap<String, &RawValue> = serde_json::from_str(given.get()).unwrap_or_default();
    if rest.is_empty() {
        return (None, None);
    }
    let imported = rest.remove(IMPORTED_KEY).and_then(|imported| serde_json::from_str(imported.get()).ok());
    match imported.and_then(original_time) {
        Some(at) => ((!rest.is_empty()).then_some(Metadata::WithoutImported(rest)), at),
        None => (Some(Metadata::Unchanged(given)), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::sql::export::sample_message;
    use crate::query::json::RawJson;

    fn message(client_id: &str, metadata: &str) -> serde_json::Value {
        let raw = |text: &str| RawJson::new(text.to_owned()).unwrap();
        let message = ExportedMessage {
            metadata: Some(raw(metadata)),
            client_id: client_id.into(),
            ..sample_message()
        };
        serde_json::to_value(ExportLine::of_message("r", &message)).unwrap()
    }

    #[test]
    fn only_metadata_written_by_import_is_removed() {
        let now = "1970-01-01T00:00:00.000Z";
        let imported = r#"{"a":1,"imported":{"id":"7","at":"2019","reply_to":"6"}}"#;
        let id = "7".repeat(65);
        let (hashed, long) = (import::line::client_id(&id), imported.replace(r#""7""#, &format!("{id:?}")));
        for (client_id, metadata, at) in [
            ("import:7", imported, "2019"),
            (hashed.as_str(), long.as_str(), "2019"),
            ("import-sha1:00", long.as_str(), now),
            ("mine", imported, now),
            ("import:8", imported, now),
            ("import:7", r#"{"imported":{"id":"7","at":"2019","more":1}}"#, now),
            ("import:7", r#"{"imported":7}"#, now),
        ] {
            let line = message(client_id, metadata);
            let stays = at == now;
            assert_eq!(
                (&line["at"], line["metadata"]["imported"].is_null()),
                (&at.into(), !stays),
                "{client_id}"
            );
            if stays {
                assert_eq!(line["metadata"], serde_json::from_str::<serde_json::Value>(metadata).unwrap());
            }
        }
        assert!(message("import:7", r#"{"imported":{"id":"7"}}"#).get("metadata").is_none());
    }
}
