//! Changes of a message: edits, deletes, and added or removed reactions. The same code checks the fields of frames and
//! of HTTP requests. [`crate::log::Log::change`] appends changes.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{AckStage, check_text, events::ChangeBody, mentions::check_mentions, normalize_line_ends};
#[cfg(feature = "openapi")]
use crate::openapi::{MessageIdForm, MessageTextForm, MetadataForm, mentions_schema};
use crate::{
    command_fields::json_object,
    emoji::canonical,
    error::{ErrorCode, Refusal},
    events::{MESSAGE_DELETED, MESSAGE_EDITED, REACTION_ADDED, REACTION_REMOVED},
    ids::{ClientId, Seq, UserId, is_bidi_control},
    limits::{MAX_EMOJI_BYTES, MAX_METADATA_BYTES},
    role::{self, MinRole, Permission},
    visibility::{Visibility, is_visible_to},
};

/// What a change does, with its new values. An edit replaces the text, and the metadata and the mentions if they are
/// given.
#[derive(Debug, Clone)]
pub enum Action {
    Edit { content: String, metadata: Option<Box<RawValue>>, mentions: Option<Vec<UserId>> },
    Delete,
    AddReaction { emoji: String },
    RemoveReaction { emoji: String },
}

/// The kind of a change, which follows from the type of the frame, or from the HTTP method and path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Edit,
    Delete,
    AddReaction,
    RemoveReaction,
}

impl ChangeKind {
    /// The wire type of the event that a change of this kind appends.
    pub fn event(self) -> &'static str {
        match self {
            Self::Edit => MESSAGE_EDITED,
            Self::Delete => MESSAGE_DELETED,
            Self::AddReaction => REACTION_ADDED,
            Self::RemoveReaction => REACTION_REMOVED,
        }
    }
}

/// The user who makes a change.
#[derive(Debug, Clone, Copy)]
pub struct Actor<'a> {
    pub user: &'a UserId,
    /// The user's role in the room. Empty for a user with the admin scope who is not a member.
    pub role: &'a str,
    /// Whether the user has the admin scope, which allows acting in any room.
    pub admin: bool,
}

impl Actor<'_> {
    /// Returns the lowest role with which the actor's event may be appended. Refuses an actor without this permission.
    pub fn permit(&self, permission: Permission) -> Result<MinRole, Refusal> {
        if self.admin {
            return Ok(MinRole::Anyone);
        }
        if role::allows(self.role, permission) {
            return Ok(permission.min_role());
        }
        Err(Refusal::new(ErrorCode::Forbidden, "your role in this room does not allow this"))
    }

    /// Whether the slow mode of a room limits the actor's messages. It does not limit those who may change it.
    #[must_use]
    pub fn obeys_slow_mode(&self) -> bool {
        !self.admin && !role::allows(self.role, Permission::ChangeRoom)
    }
}

/// The properties of the message that a change is about (its target), which decide whether a user may change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub id: String,
    pub sender: String,
    pub visibility: Visibility,
    pub deleted: bool,
    /// The seq up to which these properties include all events of the room.
    #[serde(default)]
    pub upto: Seq,
    /// Whether the message has attachments. Only then may an edit make the text empty.
    #[serde(default)]
    pub has_attachments: bool,
    /// The users whom the stored message mentions. Empty if the message was read from Redis.
    #[serde(default)]
    pub mentions: Vec<UserId>,
}

impl Target {
    /// Whether a user with this role may see the message. The sender always may.
    #[must_use]
    pub fn is_visible_to(&self, user: &str, role: &str) -> bool {
        is_visible_to(&self.visibility.encode(), &self.sender, user, role)
    }

    /// The audience of a change of this message: the users (including the sender) and roles that may see the message.
    pub fn audience(&self) -> Visibility {
        let mut audience = self.visibility.clone();
        if !audience.is_everyone() && !audience.users.contains(&self.sender) {
            audience.users.push(self.sender.clone());
        }
        audience
    }
}

/// The body of an edit, as for `message:edit`. Omitted metadata and mentions stay.
#[derive(Debug, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(as = Edit, examples(json!({"content": "Tea was ready"})))
)]
pub struct EditForm {
    /// Empty only if the message has attachments.
    #[cfg_attr(feature = "openapi", schema(value_type = MessageTextForm))]
    pub content: String,
    #[cfg_attr(feature = "openapi", schema(value_type = Option<MetadataForm>))]
    pub metadata: Option<Box<RawValue>>,
    #[cfg_attr(feature = "openapi", schema(schema_with = mentions_schema))]
    pub mentions: Option<Vec<UserId>>,
    /// The message must have this id, else `conflict`.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<MessageIdForm>))]
    pub id: Option<Uuid>,
    /// If omitted, the server chooses one.
    pub client_id: Option<ClientId>,
    /// `stored` if omitted.
    pub ack: Option<AckStage>,
}

/// The body of every other change. May be omitted.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Change))]
pub struct ChangeForm {
    /// The message must have this id, else `conflict`.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<MessageIdForm>))]
    pub id: Option<Uuid>,
    /// If omitted, the server chooses one.
    pub client_id: Option<ClientId>,
    /// `stored` if omitted.
    pub ack: Option<AckStage>,
}

/// A change of a message whose fields are checked, before it is appended to the log.
#[derive(Debug, Clone)]
pub struct Change {
    /// The seq of the message.
    pub target: Seq,
    /// If given, the message must have this id. Otherwise the change is refused.
    pub id: Option<Uuid>,
    pub client_id: ClientId,
    pub ack: AckStage,
    pub action: Action,
}

impl Change {
    /// Approximate size of what the change sends to its room, in bytes.
    pub fn bytes(&self) -> usize {
        match &self.action {
            Action::Edit { content, metadata, mentions } => {
                let mentioned = mentions.iter().flatten().map(|user| user.as_str().len());
                content.len()
                    + metadata.as_ref().map_or(0, |metadata| metadata.get().len())
                    + mentioned.sum::<usize>()
            }
            Action::Delete | Action::AddReaction { .. } | Action::RemoveReaction { .. } => 0,
        }
    }

    /// Checks an edit of the message at `target`.
    pub fn edit(target: Seq, form: EditForm, max_chars: usize) -> Result<Self, Refusal> {
        let EditForm { content, metadata, mentions, id, client_id, ack } = form;
        let content = normalize_line_ends(content);
        check_text(&content, "content", max_chars)?;
        let metadata = json_object(metadata.as_deref(), "metadata", MAX_METADATA_BYTES)?;
        let action = Action::Edit { content, metadata, mentions: check_mentions(mentions)? };
        Self::new(target, ChangeForm { id, client_id, ack }, action)
    }

    /// Checks a delete of the message at `target`.
    pub fn delete(target: Seq, form: ChangeForm) -> Result<Self, Refusal> {
        Self::new(target, form, Action::Delete)
    }

    /// Checks a reaction to the message at `target`, which is removed if `kind` is [`ChangeKind::RemoveReaction`].
    pub fn reaction(kind: ChangeKind, target: Seq, emoji: String, form: ChangeForm) -> Result<Self, Refusal> {
        let emoji = check_emoji(emoji)?;
        let action = match kind {
            ChangeKind::RemoveReaction => Action::RemoveReaction { emoji },
            _ => Action::AddReaction { emoji },
        };
        Self::new(target, form, action)
    }

    /// A change without a client id gets a new one, so its repetition is appended as a second change with the same
    /// effect.
    fn new(target: Seq, form: ChangeForm, action: Action) -> Result<Self, Refusal> {
        if target.0 == 0 {
            return Err(Refusal::bad_field("seq", "`seq` must be the seq of a message"));
        }
        let client_id = form.client_id.unwrap_or_else(new_client_id);
        Ok(Self { target, id: form.id, client_id, ack: form.ack.unwrap_or_default(), action })
    }

    /// The users whom the message mentions after this change; empty if the change does not set them.
    #[must_use]
    pub fn mentions(&self) -> &[UserId] {
        match &self.action {
            Action::Edit { mentions, .. } => mentions.as_deref().unwrap_or_default(),
            Action::Delete | Action::AddReaction { .. } | Action::RemoveReaction { .. } => &[],
        }
    }

    pub fn kind(&self) -> ChangeKind {
        match self.action {
            Action::Edit { .. } => ChangeKind::Edit,
            Action::Delete => ChangeKind::Delete,
            Action::AddReaction { .. } => ChangeKind::AddReaction,
            Action::RemoveReaction { .. } => ChangeKind::RemoveReaction,
        }
    }

    /// Refuses an actor whose role does not even allow changes of own messages. Needs no look-up of the message.
    pub fn permit(&self, actor: &Actor<'_>) -> Result<(), Refusal> {
        actor.permit(Permission::ChangeOwn).map(drop)
    }

    /// Decides whether the actor may make this change of the message `target`. Returns the lowest role with which the
    /// change may be appended.
    pub fn check(&self, actor: &Actor<'_>, target: &Target) -> Result<MinRole, Refusal> {
        if !target.is_visible_to(actor.user.as_str(), actor.role) {
            return Err(Refusal::not_found("message"));
        }
        let own = target.sender == actor.user.as_str();
        let min_role = actor.permit(match self.action {
            Action::AddReaction { .. } | Action::RemoveReaction { .. } => Permission::Send,
            Action::Edit { .. } | Action::Delete if own => Permission::ChangeOwn,
            Action::Edit { .. } | Action::Delete => Permission::ChangeAny,
        })?;
        if self.id.is_some_and(|id| id.to_string() != target.id) {
            let refusal = Refusal::new(ErrorCode::Conflict, "the message at this `seq` has another id");
            return Err(refusal.with_field("id"));
        }
        if target.deleted && !matches!(self.action, Action::Delete) {
            return Err(Refusal::new(ErrorCode::Conflict, "the message is deleted"));
        }
        match &self.action {
            Action::Edit { content, .. } if content.is_empty() && !target.has_attachments => {
                let message = "`content` is empty and the message has no attachments; delete it instead";
                Err(Refusal::bad_field("content", message))
            }
            _ => Ok(min_role),
        }
    }

    /// The fields of the event after `type`, `room`, `seq` and `at`, as JSON in the wire form.
    pub(crate) fn body(&self, user: &UserId, target: &Target) -> String {
        let mut body = ChangeBody {
            target: self.target,
            target_id: &target.id,
            content: None,
            metadata: None,
            mentions: None,
            emoji: None,
            by: user,
        };
        match &self.action {
            Action::Edit { content, metadata, mentions } => {
                body.content = Some(content.as_str());
                body.metadata = metadata.as_deref();
                body.mentions = mentions.as_deref();
            }
            Action::Delete => {}
            Action::AddReaction { emoji } | Action::RemoveReaction { emoji } => {
                body.emoji = Some(emoji.as_str());
            }
        }
        serde_json::to_string(&body).expect("strings, numbers and checked JSON always serialise")
    }
}

fn new_client_id() -> ClientId {
    ClientId::parse(&Uuid::now_v7().to_string()).expect("a UUID is a client id")
}

/// Returns the [canonical] form of an emoji. Refuses one that has not 1 to 64 bytes in this form, or has control
/// characters, bidi controls or white space. Refuses `.` and `..` too, which cannot be part of an HTTP path.
pub fn check_emoji(emoji: String) -> Result<String, Refusal> {
    let emoji = canonical(emoji.into()).into_owned();
    let wrong = emoji.is_empty()
        || emoji.len() > MAX_EMOJI_BYTES
        || matches!(emoji.as_str(), "." | "..")
        || emoji.chars().any(|c| c.is_control() || c.is_whitespace() || is_bidi_control(c));
    if wrong {
        let message =
            "`emoji` must be 1 to 64 bytes without control characters, bidi controls or white space";
        return Err(Refusal::bad_field("emoji", message));
    }
    Ok(emoji)
}
