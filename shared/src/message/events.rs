//! The fields of each type of event, without `type`, `room`, `seq` and `at`. The append script puts these four before
//! the other fields.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Sender;
use crate::ids::{Seq, UserId};
#[cfg(feature = "openapi")]
use crate::{
    ids::ClientId,
    message::Attachment,
    openapi::{
        EmojiForm, LabelForm, MessageIdForm, MessageSeqForm, MetadataForm, RoleForm, SlowModeForm, TimeForm,
        VoidReasonForm,
    },
};

/// The users and roles that may see a private message, in addition to its sender.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = VisibleTo))]
pub struct Audience<'a> {
    pub users: &'a [String],
    pub roles: &'a [String],
}

/// A message. HTTP answers contain its present state, after edits and deletes.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MessageBody<'a> {
    #[cfg_attr(feature = "openapi", schema(value_type = MessageIdForm))]
    pub id: &'a str,
    #[cfg_attr(feature = "openapi", schema(value_type = ClientId))]
    pub client_id: &'a str,
    pub sender: Sender<'a>,
    #[cfg_attr(feature = "openapi", schema(value_type = LabelForm))]
    pub kind: &'a str,
    pub content: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<MessageSeqForm>))]
    pub reply_to: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<Vec<Attachment>>))]
    pub attachments: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<MetadataForm>))]
    pub metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub visible_to: Option<Audience<'a>>,
    /// The users whom the message mentions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<Vec<UserId>>))]
    pub mentions: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<TimeForm>))]
    pub edited_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub deleted: Option<bool>,
    /// The user who deleted the message, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<UserId>))]
    pub deleted_by: Option<&'a str>,
}

/// The fields of a [`MessageBody`] that persistence reads from the JSON of a record. It reads the other fields from the
/// header of the record.
#[derive(Debug, Deserialize)]
pub struct MessageJsonFields<'a> {
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub content: Cow<'a, str>,
    pub reply_to: Option<Seq>,
    #[serde(borrow)]
    pub attachments: Option<&'a RawValue>,
    #[serde(borrow)]
    pub metadata: Option<&'a RawValue>,
    pub mentions: Option<Vec<UserId>>,
}

/// A change of a message. Each kind of change has only some of the optional fields.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeBody<'a> {
    #[cfg_attr(feature = "openapi", schema(value_type = MessageSeqForm))]
    pub target: Seq,
    #[cfg_attr(feature = "openapi", schema(value_type = MessageIdForm))]
    pub target_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<MetadataForm>))]
    pub metadata: Option<&'a RawValue>,
    /// The users whom the message mentions from this edit on. Without this field the mentions stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<Vec<UserId>>))]
    pub mentions: Option<&'a [UserId]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<EmojiForm>))]
    pub emoji: Option<&'a str>,
    pub by: &'a UserId,
}

/// A change of a membership. `role` is missing if the user was removed. Only an addition has `name` and `picture`, and
/// only if the user has them.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MemberBody<'a> {
    pub user: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub picture: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<RoleForm>))]
    pub role: Option<&'a str>,
    pub by: &'a UserId,
}

/// A change of a room. The values of omitted fields do not change.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoomBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<MetadataForm>))]
    pub metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub archived: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<SlowModeForm>))]
    pub slow_mode_s: Option<u16>,
    pub by: &'a UserId,
}

/// Declares that the event at `target` is void: clients ignore it.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VoidBody<'a> {
    #[cfg_attr(feature = "openapi", schema(value_type = MessageSeqForm))]
    pub target: Seq,
    #[cfg_attr(feature = "openapi", schema(value_type = ClientId))]
    pub client_id: &'a str,
    #[cfg_attr(feature = "openapi", schema(value_type = UserId))]
    pub by: &'a str,
    #[cfg_attr(feature = "openapi", schema(value_type = VoidReasonForm))]
    pub reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<MessageSeqForm>))]
    pub of: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, value_type = Option<MessageSeqForm>))]
    pub message: Option<Seq>,
}
