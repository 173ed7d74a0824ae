//! Turns a record into a row: a message, another event, or a void. Pure.
//! Refuses a record that lacks a needed field. The reason never quotes the record.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use tidings_shared::{
    events::MEMBER_ADDED,
    ids::{RoomId, Seq},
    log::{IngestId, Record, record::Visibility},
    message::events::MessageJsonFields,
    role::REMOVED,
};
use uuid::Uuid;

use super::change;

pub use tidings_shared::events::{MESSAGE_NEW, MESSAGE_VOID, VOID};

/// A row to insert into `messages`.
#[derive(Debug)]
pub struct MessageRow<'a> {
    pub room: RoomId,
    pub record: &'a Record,
    /// The id of the record in the ingest stream, which tells when the message was appended: an imported message has an
    /// earlier time of its own.
    pub ingest: IngestId,
    pub id: Uuid,
    pub fields: MessageJsonFields<'a>,
    pub visibility: Visibility,
}

impl<'a> MessageRow<'a> {
    /// Makes the row of a `message:new` record. Err is the reason why the record becomes a void and a dead letter.
    pub fn from_record(room: &RoomId, record: &'a Record, ingest: IngestId) -> Result<Self, &'static str> {
        if record.sender().is_empty() || record.client_id().is_empty() {
            return Err("a message without sender or client id");
        }
        let id = Uuid::parse_str(record.id()).map_err(|_| "a message whose id is not a UUID")?;
        let fields = serde_json::from_slice(record.json())
            .map_err(|_| "a message whose body has an unexpected form")?;
        Ok(Self { room: room.clone(), record, ingest, id, fields, visibility: visibility(record)? })
    }
}

/// The users and roles that may see a record. A record whose field is unreadable is rejected, because the record may be
/// private.
fn visibility(record: &Record) -> Result<Visibility, &'static str> {
    let field = record.visibility();
    let visibility = Visibility::decode(field);
    let nameless = visibility.users.iter().chain(&visibility.roles).any(String::is_empty);
    if nameless || (visibility.is_everyone() && !field.is_empty()) {
        return Err("a visibility of an unexpected form");
    }
    Ok(visibility)
}

/// A visibility for the sender only: senders always see their own records, and no member has the role `removed`.
fn sender_only() -> Visibility {
    Visibility { users: Vec::new(), roles: vec![REMOVED.to_owned()] }
}

/// Why the event at a seq is a void.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VoidReason {
    /// A late duplicate; the seq is that of the first message with the same client id.
    Duplicate(Seq),
    Rejected,
}

impl VoidReason {
    /// The text for the column `void_reason`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Duplicate(_) => "duplicate",
            Self::Rejected => "rejected",
        }
    }
}

/// A row to insert into `events`.
#[derive(Debug, Clone)]
pub struct EventRow {
    pub room: RoomId,
    pub seq: Seq,
    /// The event type as clients get it, or `void`.
    pub kind: String,
    pub actor: String,
    pub client_id: String,
    pub target: Option<Seq>,
    pub target_id: Option<Uuid>,
    pub at_ms: i64,
    /// The JSON text of the event as clients get it, without the name and the picture of a new member.
    pub body: String,
    pub visibility: Visibility,
    pub void: Option<VoidReason>,
    /// The event type of the record that a void replaces; empty for other events.
    pub void_type: String,
}

#[derive(Deserialize)]
struct TargetFields {
    target: Option<Seq>,
    target_id: Option<Uuid>,
}

/// The body of an event as it is stored. It lacks the name and the picture of a new member, because they change and are
/// erased with the user. Reads take them from `users`.
fn stored_body(kind: &str, body: &str) -> Result<String, &'static str> {
    if kind != MEMBER_ADDED {
        return Ok(body.to_owned());
    }
    let unreadable = |_| "an addition whose body has an unexpected form";
    let mut fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(body).map_err(unreadable)?;
    fields.remove("name");
    fields.remove("picture");
    serde_json::to_string(&fields).map_err(unreadable)
}

impl EventRow {
    /// Makes the row of a record that is not a message. Err is the reason why the record becomes a void and a dead
    /// letter.
    pub fn from_record(room: &RoomId, record: &Record) -> Result<Self, &'static str> {
        let body = std::str::from_utf8(record.json()).map_err(|_| "an event whose body is not text")?;
        if record.kind().is_empty() || record.kind() == VOID {
            return Err("an event without a wire type");
        }
        let TargetFields { target, target_id } =
            serde_json::from_str(body).map_err(|_| "an event whose body has an unexpected form")?;
        if record.kind() == MESSAGE_VOID && target.is_none() {
            return Err("a message:void without a target");
        }
        Ok(Self {
            room: room.clone(),
            seq: record.seq,
            kind: record.kind().to_owned(),
            actor: record.sender().to_owned(),
            client_id: record.client_id().to_owned(),
            target,
            target_id,
            at_ms: record.at_ms,
            body: stored_body(record.kind(), body)?,
            visibility: visibility(record)?,
            void: None,
            void_type: String::new(),
        })
    }

    /// Turns an edit into a void without its text, as retention and erasure do with stored edits. No `message:void`
    /// follows, because the sender's edit was accepted and counts as stored.
    pub fn remove_text(&mut self) {
        self.void_type = std::mem::replace(&mut self.kind, VOID.to_owned());
        "{}".clone_into(&mut self.body);
    }

    /// The row of a void: if `first` is Some, a late duplicate of the message at that seq; otherwise a rejected record.
    /// The void of a change keeps the target of the change.
    pub fn void(room: &RoomId, record: &Record, first: Option<Seq>) -> Self {
        Self {
            room: room.clone(),
            seq: record.seq,
            kind: VOID.to_owned(),
            actor: record.sender().to_owned(),
            client_id: record.client_id().to_owned(),
            target: change::target_of(record),
            target_id: None,
            at_ms: record.at_ms,
            body: "{}".to_owned(),
            visibility: visibility(record).unwrap_or_else(|_| sender_only()),
            void: Some(first.map_or(VoidReason::Rejected, VoidReason::Duplicate)),
            void_type: record.kind().to_owned(),
        }
    }
}
