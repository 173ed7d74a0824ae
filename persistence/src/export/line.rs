//! From rows to lines that `import` reads. What an earlier import kept of the original is told as the original again;
//! what anybody else wrote under the same key stays, unless
//! they chose the client id that an import would have given to it. Pure.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::import::{self, line::IMPORTED};
use crate::query::exporting::{Member, Message, Room, User};
use crate::query::json::wire_time;

/// One line.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Line<'a> {
    User {
        id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        picture: Option<&'a str>,
    },
    Room {
        id: &'a str,
        kind: &'a str,
        created_by: &'a str,
        created_at: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<Metadata<'a>>,
        members: Vec<Named<'a>>,
    },
    Member {
        room: &'a str,
        user: &'a str,
        role: &'a str,
    },
    Message {
        room: &'a str,
        id: i64,
        sender: &'a str,
        at: String,
        kind: &'a str,
        content: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        reply_to: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        attachments: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<Metadata<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        visible_to: Option<Audience<'a>>,
    },
}

/// A member in a room's line.
#[derive(Debug, Serialize)]
pub struct Named<'a> {
    user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub struct Audience<'a> {
    users: &'a [String],
    roles: &'a [String],
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Metadata<'a> {
    AsTheyAre(&'a RawValue),
    Rest(BTreeMap<String, &'a RawValue>),
}

/// What an import keeps of a room's original.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportedRoom {
    at: String,
}

/// What an import keeps of a message's original.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportedMessage {
    id: String,
    at: Option<String>,
    #[serde(rename = "reply_to")]
    _reply_to: Option<String>,
}

impl ImportedMessage {
    /// Whether the message of this client id is the one that an import made of that original.
    fn is_of(&self, client_id: &str) -> bool {
        client_id == import::line::client_id(&self.id)
    }
}

impl<'a> Line<'a> {
    pub fn of_user(user: &'a User) -> Self {
        Self::User { id: &user.id, name: user.name.as_deref(), picture: user.picture.as_deref() }
    }

    /// `owner` as who creates it: to be one, again.
    pub fn of_room(room: &'a Room, owner: &'a str, members: &'a [Member]) -> Self {
        let direct = room.kind == "direct";
        let others = members.iter().filter(|member| member.user_id != owner);
        let named = |member: &'a Member| Named {
            user: &member.user_id,
            role: (!direct).then_some(member.role.as_str()),
        };
        let (metadata, at) = without_imported(Some(&room.metadata), |ImportedRoom { at }| Some(Some(at)));
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

    pub fn of_member(room: &'a str, user: &'a str, role: &'a str) -> Self {
        Self::Member { room, user, role }
    }

    pub fn of_message(room: &'a str, message: &'a Message) -> Self {
        let imported = |imported: ImportedMessage| imported.is_of(&message.client_id).then_some(imported.at);
        let (metadata, at) = without_imported(message.metadata.as_deref(), imported);
        let (users, roles) = (message.visible_users.as_deref(), message.visible_roles.as_deref());
        let mut audience = Audience { users: users.unwrap_or_default(), roles: roles.unwrap_or_default() };
        if audience.users.is_empty() && audience.roles.is_empty() {
            // Whoever it was for is erased. To name nobody would not be taken, to leave it out would tell everyone.
            audience.users = std::slice::from_ref(&message.sender);
        }
        Self::Message {
            room,
            id: message.seq,
            sender: &message.sender,
            at: at.unwrap_or_else(|| wire_time(&message.at)),
            kind: &message.kind,
            content: &message.content,
            reply_to: message.reply_to,
            attachments: message.attachments.as_deref(),
            metadata,
            visible_to: (users.is_some() || roles.is_some()).then_some(audience),
        }
    }
}

/// Metadata without what an import added, and the original time that it kept. `theirs`: that time, when what was read is
/// an import's.
fn without_imported<T: DeserializeOwned>(
    metadata: Option<&RawValue>,
    theirs: impl FnOnce(T) -> Option<Option<String>>,
) -> (Option<Metadata<'_>>, Option<String>) {
    let Some(given) = metadata else { return (None, None) };
    let mut rest: BTreeMap<String, &RawValue> = serde_json::from_str(given.get()).unwrap_or_default();
    if rest.is_empty() {
        return (None, None);
    }
    let imported = rest.remove(IMPORTED).and_then(|imported| serde_json::from_str(imported.get()).ok());
    match imported.and_then(theirs) {
        Some(at) => ((!rest.is_empty()).then_some(Metadata::Rest(rest)), at),
        None => (Some(Metadata::AsTheyAre(given)), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(client_id: &str, metadata: &str) -> serde_json::Value {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let message = Message {
            seq: 1,
            sender: "alice".into(),
            kind: "text".into(),
            content: "hi".into(),
            reply_to: None,
            attachments: None,
            metadata: Some(raw(metadata)),
            visible_users: None,
            visible_roles: None,
            at: chrono::DateTime::UNIX_EPOCH,
            client_id: client_id.into(),
        };
        serde_json::to_value(Line::of_message("r", &message)).unwrap()
    }

    #[test]
    fn only_what_an_import_wrote_is_taken_out() {
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
