//! Parses records that change a message: edits, deletes, reactions. Pure.
//! Refuses a record that lacks a needed field. The reason never quotes the record.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use tidings_shared::{
    emoji::canonical,
    ids::{RoomId, Seq, UserId},
    log::Record,
    message::change::ChangeKind,
};
use uuid::Uuid;

/// A record that changes a message. It is written in addition to the record's row in `events`.
#[derive(Debug)]
pub struct ChangeRow<'a> {
    pub room: RoomId,
    pub record: &'a Record,
    /// Index of the record's row in `BatchPlan::events`.
    pub event: usize,
    pub target: Seq,
    pub target_id: Uuid,
    pub action: Action<'a>,
}

/// The kind of the change, with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<'a> {
    /// Replaces the text. If `metadata` or `mentions` is None, the message keeps its own.
    Edit {
        content: Cow<'a, str>,
        metadata: Option<&'a str>,
        mentions: Option<Vec<UserId>>,
    },
    Delete,
    AddReaction(Cow<'a, str>),
    RemoveReaction(Cow<'a, str>),
}

#[derive(Deserialize)]
struct ChangeFields<'a> {
    target: Seq,
    target_id: Uuid,
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    mentions: Option<Vec<UserId>>,
    #[serde(borrow)]
    emoji: Option<Cow<'a, str>>,
}

/// The kind of change that a record makes; None if its event type changes no message.
pub fn change_kind_of(record: &Record) -> Option<ChangeKind> {
    use ChangeKind::{AddReaction, Delete, Edit, RemoveReaction};
    [Edit, Delete, AddReaction, RemoveReaction].into_iter().find(|kind| kind.event() == record.kind())
}

/// The seq of the message that a record changes; None if the record changes no message or cannot be parsed.
pub fn target_of(record: &Record) -> Option<Seq> {
    #[derive(Deserialize)]
    struct TargetField {
        target: Seq,
    }
    change_kind_of(record)?;
    serde_json::from_slice::<TargetField>(record.json()).ok().map(|field| field.target)
}

impl<'a> ChangeRow<'a> {
    /// Parses a record. `event` is the index of its row in `BatchPlan::events`. None if the record changes no message.
    pub fn from_record(
        room: &RoomId,
        record: &'a Record,
        event: usize,
    ) -> Result<Option<Self>, &'static str> {
        let Some(kind) = change_kind_of(record) else { return Ok(None) };
        if record.sender().is_empty() {
            return Err("a change without a sender");
        }
        let body: ChangeFields<'a> = serde_json::from_slice(record.json())
            .map_err(|_| "a change whose body has an unexpected form")?;
        // Records of the previous version may have an emoji in another form.
        let emoji = |emoji: Option<Cow<'a, str>>| emoji.map(canonical).ok_or("a reaction without an emoji");
        let action = match kind {
            ChangeKind::Edit => Action::Edit {
                content: body.content.ok_or("an edit without content")?,
                metadata: body.metadata.map(RawValue::get),
                mentions: body.mentions,
            },
            ChangeKind::Delete => Action::Delete,
            ChangeKind::AddReaction => Action::AddReaction(emoji(body.emoji)?),
            ChangeKind::RemoveReaction => Action::RemoveReaction(emoji(body.emoji)?),
        };
        let (target, target_id) = (body.target, body.target_id);
        Ok(Some(Self { room: room.clone(), record, event, target, target_id, action }))
    }
}
