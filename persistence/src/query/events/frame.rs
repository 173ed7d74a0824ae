//! Turns rows of the log into event frames. Pure. JSON from clients is passed on byte for byte.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sea_orm::DbErr;
use serde::Serialize;
use serde_json::value::RawValue;
use tidings_shared::events::{MESSAGE_NEW, VOID};

use crate::query::json::{RawJson, serialize_time, wire_time};
use crate::query::messages::Message;

/// The `message:new` frame of a message in its present state.
pub(super) fn message_frame(message: &Message) -> Result<RawJson, DbErr> {
    let (id, edited_at) = (message.id.to_string(), message.edited_at.as_ref().map(wire_time));
    to_raw_json(&EventFrame {
        r#type: MESSAGE_NEW,
        room: &message.room,
        seq: message.seq,
        at: message.at,
        own: message.event_body(&id, edited_at.as_deref()),
    })
}

/// The fields with which every event frame starts. Fields of a stored body with these names are left out.
const COMMON_FIELDS: [&str; 4] = ["type", "room", "seq", "at"];

/// The frame of a stored event that is not a message. A void has only the common fields. Err if `body` is not an
/// object.
pub(super) fn event_frame(
    kind: &str,
    body: &str,
    room: &str,
    seq: i64,
    at: &DateTime<Utc>,
) -> Result<RawJson, DbErr> {
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = if kind == VOID {
        BTreeMap::new()
    } else {
        serde_json::from_str(body).map_err(|error| frame_error(&error))?
    };
    let own: BTreeMap<_, _> =
        fields.into_iter().filter(|(name, _)| !COMMON_FIELDS.contains(&name.as_ref())).collect();
    to_raw_json(&EventFrame { r#type: kind, room, seq, at: *at, own })
}

/// Removes the text, the metadata and the mentions from an edit whose message is deleted.
pub(super) fn without_content(edit: &str) -> Result<String, DbErr> {
    let mut fields: BTreeMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(edit).map_err(|error| frame_error(&error))?;
    let nothing = serde_json::value::to_raw_value("").map_err(|error| frame_error(&error))?;
    fields.insert("content".into(), &nothing);
    fields.remove("metadata");
    fields.remove("mentions");
    serde_json::to_string(&fields).map_err(|error| frame_error(&error))
}

/// Adds the present name and picture of the new member to an addition.
pub(super) fn with_profile(
    addition: &str,
    name: Option<String>,
    picture: Option<String>,
) -> Result<String, DbErr> {
    let mut own: BTreeMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(addition).map_err(|error| frame_error(&error))?;
    // During an update the previous version may store the values at the time of the addition.
    own.remove("name");
    own.remove("picture");
    serde_json::to_string(&Addition { own, name, picture }).map_err(|error| frame_error(&error))
}

#[derive(Serialize)]
struct Addition<'a> {
    #[serde(flatten)]
    own: BTreeMap<Cow<'a, str>, &'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<String>,
}

#[derive(Serialize)]
struct EventFrame<'a, Own: Serialize> {
    r#type: &'a str,
    room: &'a str,
    seq: i64,
    #[serde(serialize_with = "serialize_time")]
    at: DateTime<Utc>,
    #[serde(flatten)]
    own: Own,
}

fn to_raw_json(frame: &impl Serialize) -> Result<RawJson, DbErr> {
    serde_json::value::to_raw_value(frame).map(RawJson).map_err(|error| frame_error(&error))
}

fn frame_error(error: &serde_json::Error) -> DbErr {
    DbErr::Custom(format!("a stored event cannot be put into a frame: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::messages::tests::sample;

    #[test]
    fn void_frame_holds_only_its_position() {
        let frame = event_frame("void", r#"{"content":"secret"}"#, "r", 5, &DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(frame.get(), r#"{"type":"void","room":"r","seq":5,"at":"1970-01-01T00:00:00.000Z"}"#);
    }

    #[test]
    fn event_frame_holds_common_fields_once() {
        let body =
            r#"{"type":"x","room":"y","seq":1,"at":"z","by":"al\u0069ce","metadata":{"b":1.0, "a":2}}"#;
        let frame = event_frame("room:updated", body, "r", 5, &DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(
            frame.get(),
            r#"{"type":"room:updated","room":"r","seq":5,"at":"1970-01-01T00:00:00.000Z","by":"al\u0069ce","metadata":{"b":1.0, "a":2}}"#
        );
    }

    #[test]
    fn edit_of_a_deleted_message_holds_no_content() {
        let edit =
            r#"{"target":2,"content":"secret","metadata":{"secret":1},"mentions":["bob"],"by":"alice"}"#;
        assert_eq!(without_content(edit).unwrap(), r#"{"by":"alice","content":"","target":2}"#);
    }

    #[test]
    fn addition_has_the_present_profile_of_its_member() {
        let addition = r#"{"user":"bob","name":"old","picture":"https://old","role":"vip","by":"alice"}"#;
        let named = with_profile(addition, Some("Bob \"B\"".into()), None).unwrap();
        assert_eq!(named, r#"{"by":"alice","role":"vip","user":"bob","name":"Bob \"B\""}"#);
        let erased = with_profile(addition, None, None).unwrap();
        assert_eq!(erased, r#"{"by":"alice","role":"vip","user":"bob"}"#);
    }

    #[test]
    fn message_frame_omits_missing_fields() {
        let message = Message {
            content: "a \"b\"".into(),
            attachments: None,
            visible_to: None,
            mentions: None,
            ..sample(2)
        };
        assert_eq!(
            super::message_frame(&message).unwrap().get(),
            concat!(
                r#"{"type":"message:new","room":"r","seq":2,"at":"1970-01-01T00:00:00.000Z","#,
                r#""id":"00000000-0000-0000-0000-000000000000","client_id":"c","sender":{"id":"alice"},"#,
                r#""kind":"text","content":"a \"b\""}"#
            )
        );
        let deleted = Message { deleted: true, content: String::new(), ..message };
        assert!(super::message_frame(&deleted).unwrap().get().ends_with(r#""content":"","deleted":true}"#));
    }
}
