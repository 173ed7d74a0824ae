//! Changes of a message: edit, delete, add or remove a reaction, with the same checks for frames and HTTP.
//! [`crate::log::Log::change`] appends them.

#[cfg(test)]
mod tests;

use serde_json::value::RawValue;
use uuid::Uuid;

use super::{AckStage, Target, check_text, events::ChangeBody};
use crate::{
    error::{ErrorCode, Refusal},
    events::{MESSAGE_DELETED, MESSAGE_EDITED, REACTION_ADDED, REACTION_REMOVED},
    fields::{Fields, optional, required},
    ids::{ClientId, Seq, UserId},
    limits::{MAX_EMOJI_BYTES, MAX_METADATA_BYTES},
    role::{self, MinRole, Permission},
};

#[derive(Debug, Clone)]
pub enum Action {
    /// Without `metadata` the message keeps its metadata.
    Edit {
        content: String,
        metadata: Option<Box<RawValue>>,
    },
    Delete,
    AddReaction {
        emoji: String,
    },
    RemoveReaction {
        emoji: String,
    },
}

/// The kind of a change, by the frame's type or by HTTP method and path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Edit,
    Delete,
    AddReaction,
    RemoveReaction,
}

impl ChangeKind {
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
    /// The user's role in the room. Empty for a user who is not a member and acts by the admin scope.
    pub role: &'a str,
    /// The user's scope allows acting in any room.
    pub admin: bool,
}

impl Actor<'_> {
    /// The lowest role that the actor must still have when their event is appended. Refuses a role without this
    /// permission.
    pub fn permit(&self, permission: Permission) -> Result<MinRole, Refusal> {
        if self.admin {
            return Ok(MinRole::Anyone);
        }
        if role::allows(self.role, permission) {
            return Ok(permission.min_role());
        }
        Err(Refusal::new(ErrorCode::Forbidden, "your role in this room does not allow this"))
    }
}

/// A checked change that is not in the log yet.
#[derive(Debug, Clone)]
pub struct Change {
    pub target: Seq,
    /// If set, the message must have this id.
    pub id: Option<Uuid>,
    pub client_id: ClientId,
    pub ack: AckStage,
    pub action: Action,
}

impl Change {
    /// Checks the fields of a change. Without a `client_id` the change gets a new one; then a repetition is a second
    /// change with the same effect.
    pub fn from_fields(kind: ChangeKind, fields: &Fields<'_>, max_chars: usize) -> Result<Self, Refusal> {
        let target = fields.seq()?;
        if target.0 == 0 {
            return Err(Refusal::bad_field("seq", "`seq` must be the seq of a message"));
        }
        let id = optional(fields.id, "id", "the id of a message")?;
        let client_id = fields.client_id()?.unwrap_or_else(fresh_client_id);
        let ack = optional(fields.ack, "ack", "`stored` or `accepted`")?.unwrap_or_default();
        let emoji = || emoji_of(required(fields.emoji, "emoji", "a string")?);
        let action = match kind {
            ChangeKind::Edit => {
                let content: String = required(fields.content, "content", "a string")?;
                check_text(&content, "content", max_chars)?;
                let metadata = Fields::object(fields.metadata, "metadata", MAX_METADATA_BYTES)?;
                Action::Edit { content, metadata }
            }
            ChangeKind::Delete => Action::Delete,
            ChangeKind::AddReaction => Action::AddReaction { emoji: emoji()? },
            ChangeKind::RemoveReaction => Action::RemoveReaction { emoji: emoji()? },
        };
        Ok(Self { target, id, client_id, ack, action })
    }

    pub fn kind(&self) -> ChangeKind {
        match self.action {
            Action::Edit { .. } => ChangeKind::Edit,
            Action::Delete => ChangeKind::Delete,
            Action::AddReaction { .. } => ChangeKind::AddReaction,
            Action::RemoveReaction { .. } => ChangeKind::RemoveReaction,
        }
    }

    /// Refuses an actor who may not change any message, before anything is looked up.
    pub fn permit(&self, actor: &Actor<'_>) -> Result<(), Refusal> {
        actor.permit(Permission::ChangeOwn).map(drop)
    }

    /// Decides whether the actor may make this change of this message. Returns the lowest role that the actor must still
    /// have when the change is appended.
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

    /// The event's own fields as JSON, in the wire form.
    pub(crate) fn body(&self, user: &UserId, target: &Target) -> String {
        let (content, metadata, emoji) = match &self.action {
            Action::Edit { content, metadata } => (Some(content.as_str()), metadata.as_deref(), None),
            Action::Delete => (None, None, None),
            Action::AddReaction { emoji } | Action::RemoveReaction { emoji } => {
                (None, None, Some(emoji.as_str()))
            }
        };
        let body =
            ChangeBody { target: self.target, target_id: &target.id, content, metadata, emoji, by: user };
        serde_json::to_string(&body).expect("strings, numbers and checked JSON always serialise")
    }
}

fn fresh_client_id() -> ClientId {
    ClientId::parse(&Uuid::now_v7().to_string()).expect("a UUID is a client id")
}

/// Checks an emoji: 1 to 32 bytes without control characters or white space, and not `.` or `..`, which cannot be part
/// of a path.
pub fn emoji_of(emoji: String) -> Result<String, Refusal> {
    let wrong = emoji.is_empty()
        || emoji.len() > MAX_EMOJI_BYTES
        || matches!(emoji.as_str(), "." | "..")
        || emoji.chars().any(|c| c.is_control() || c.is_whitespace());
    if wrong {
        let message = "`emoji` must be 1 to 32 bytes without control characters or white space";
        return Err(Refusal::bad_field("emoji", message));
    }
    Ok(emoji)
}
