//! Changes of a message: edit, delete, add or remove a reaction. Checked the same way whether they come by frame or by
//! HTTP.

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{AckStage, MAX_METADATA_BYTES, check_text};
use crate::{
    error::{ErrorCode, Refusal},
    ids::{ClientId, RoomId, Seq, UserId},
    log::{Accepted, Entry, Minimum, Target},
    protocol::{
        Fields,
        fields::{optional, required},
        server::{Ack, rfc3339},
    },
    role::{self, Permission},
};

/// Longest emoji, bytes.
pub const MAX_EMOJI_BYTES: usize = 32;

/// What is done to the message.
#[derive(Debug, Clone)]
pub enum Action {
    /// An absent `metadata` leaves what the message has.
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

/// Which change a frame's type, or an HTTP method and path, stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Edit,
    Delete,
    AddReaction,
    RemoveReaction,
}

impl ChangeKind {
    /// The client's frame, also the value of the metric label `type`.
    #[must_use]
    pub fn frame(self) -> &'static str {
        match self {
            Self::Edit => "message:edit",
            Self::Delete => "message:delete",
            Self::AddReaction => "reaction:add",
            Self::RemoveReaction => "reaction:remove",
        }
    }

    /// Type of the event that it leads to.
    #[must_use]
    pub fn event(self) -> &'static str {
        match self {
            Self::Edit => "message:edited",
            Self::Delete => "message:deleted",
            Self::AddReaction => "reaction:added",
            Self::RemoveReaction => "reaction:removed",
        }
    }
}

/// A checked change that is not yet in the log.
#[derive(Debug, Clone)]
pub struct Change {
    /// Seq of the message.
    pub target: Seq,
    /// The message must have this id.
    pub id: Option<Uuid>,
    pub client_id: ClientId,
    pub ack: AckStage,
    pub action: Action,
}

impl Change {
    /// Checks the fields of a change. Without a `client_id` it gets one of its own: a repetition is then another
    /// change, of no other effect.
    ///
    /// # Errors
    /// `bad_request` or `too_large` with the field's name.
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
                if content.is_empty() {
                    return Err(Refusal::bad_field(
                        "content",
                        "`content` is empty; delete the message instead",
                    ));
                }
                let metadata = Fields::object(fields.metadata, "metadata", MAX_METADATA_BYTES)?;
                Action::Edit { content, metadata }
            }
            ChangeKind::Delete => Action::Delete,
            ChangeKind::AddReaction => Action::AddReaction { emoji: emoji()? },
            ChangeKind::RemoveReaction => Action::RemoveReaction { emoji: emoji()? },
        };
        Ok(Self { target, id, client_id, ack, action })
    }

    #[must_use]
    pub fn kind(&self) -> ChangeKind {
        match self.action {
            Action::Edit { .. } => ChangeKind::Edit,
            Action::Delete => ChangeKind::Delete,
            Action::AddReaction { .. } => ChangeKind::AddReaction,
            Action::RemoveReaction { .. } => ChangeKind::RemoveReaction,
        }
    }

    /// Decides whether someone may make this change. `admin`: they act in any room by their scope.
    ///
    /// # Errors
    /// `not_found` for a message that they may not see, `conflict`, `forbidden`.
    pub fn check(
        &self,
        user: &UserId,
        role: &str,
        admin: bool,
        target: Option<&Target>,
    ) -> Result<Minimum, Refusal> {
        let not_found = || Refusal::not_found("message");
        let target = target.ok_or_else(not_found)?;
        if !target.is_visible_to(user.as_str(), role) {
            return Err(not_found());
        }
        let own = target.sender == user.as_str();
        let permission = match self.action {
            Action::AddReaction { .. } | Action::RemoveReaction { .. } => Permission::Send,
            Action::Edit { .. } | Action::Delete if own => Permission::ChangeOwn,
            Action::Edit { .. } | Action::Delete => Permission::ChangeAny,
        };
        if !admin && !role::allows(role, permission) {
            let message = "your role in this room does not allow this";
            return Err(Refusal::new(ErrorCode::Forbidden, message));
        }
        if self.id.is_some_and(|id| id.to_string() != target.id) {
            return Err(
                Refusal::new(ErrorCode::Conflict, "another message stands at this `seq`").with_field("id")
            );
        }
        if target.deleted && !matches!(self.action, Action::Delete) {
            return Err(Refusal::new(ErrorCode::Conflict, "the message is deleted"));
        }
        Ok(if admin { Minimum::Anyone } else { permission.minimum() })
    }

    /// The entry that appends this change; `minimum` is what [`Change::check`] came to.
    #[must_use]
    pub fn entry<'a>(
        &self,
        room: &'a RoomId,
        user: &'a UserId,
        target: &Target,
        minimum: Minimum,
    ) -> Entry<'a> {
        let kind = self.kind();
        Entry {
            sender: Some(user),
            client_id: Some(self.client_id.clone()),
            visibility: target.audience(),
            drops_tail: kind == ChangeKind::Delete,
            minimum,
            ..Entry::new(room, kind.event(), self.body(user, target))
        }
    }

    fn body(&self, user: &UserId, target: &Target) -> String {
        #[derive(Serialize)]
        struct Body<'a> {
            target: Seq,
            target_id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            content: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            metadata: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            emoji: Option<&'a str>,
            by: &'a str,
        }
        let (content, metadata, emoji) = match &self.action {
            Action::Edit { content, metadata } => (Some(content.as_str()), metadata.as_deref(), None),
            Action::Delete => (None, None, None),
            Action::AddReaction { emoji } | Action::RemoveReaction { emoji } => {
                (None, None, Some(emoji.as_str()))
            }
        };
        let body =
            Body { target: self.target, target_id: &target.id, content, metadata, emoji, by: user.as_str() };
        serde_json::to_string(&body).expect("strings, numbers and checked JSON always serialise")
    }

    /// What the sender is told.
    #[must_use]
    pub fn ack(&self, room: &RoomId, accepted: &Accepted, stage: AckStage) -> Ack {
        Ack {
            room: room.clone(),
            seq: accepted.seq,
            epoch: accepted.epoch,
            at: rfc3339(accepted.at_ms),
            stage,
            duplicate: accepted.duplicate,
            id: None,
            client_id: Some(self.client_id.clone()),
        }
    }
}

fn fresh_client_id() -> ClientId {
    ClientId::parse(&Uuid::now_v7().to_string()).expect("a UUID is a client id")
}

/// Checks an emoji: 1 to 32 bytes without control characters or white space, and not `.` or `..`, which no path holds.
///
/// # Errors
/// `bad_request` with the field's name.
pub fn emoji_of(emoji: String) -> Result<String, Refusal> {
    let wrong = emoji.is_empty()
        || emoji.len() > MAX_EMOJI_BYTES
        || matches!(emoji.as_str(), "." | "..")
        || emoji.chars().any(|c| c.is_control() || c.is_whitespace());
    if wrong {
        let rule = "`emoji` must be 1 to 32 bytes without control characters or white space";
        return Err(Refusal::bad_field("emoji", rule));
    }
    Ok(emoji)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::record::Visibility;

    fn change(kind: ChangeKind, json: &str) -> Result<Change, Refusal> {
        Change::from_fields(kind, &Fields::parse(json).unwrap(), 10)
    }

    fn target(sender: &str, users: &[&str]) -> Target {
        Target {
            id: Uuid::nil().to_string(),
            sender: sender.into(),
            visibility: Visibility { users: users.iter().map(ToString::to_string).collect(), roles: vec![] },
            deleted: false,
        }
    }

    #[test]
    fn each_wrong_field_is_named() {
        let cases = [
            (ChangeKind::Edit, r#"{"content":"x"}"#, "seq"),
            (ChangeKind::Edit, r#"{"seq":0,"content":"x"}"#, "seq"),
            (ChangeKind::Edit, r#"{"seq":1}"#, "content"),
            (ChangeKind::Edit, r#"{"seq":1,"content":""}"#, "content"),
            (ChangeKind::Edit, r#"{"seq":1,"content":"01234567890"}"#, "content"),
            (ChangeKind::Edit, r#"{"seq":1,"content":"x","id":"7"}"#, "id"),
            (ChangeKind::Edit, r#"{"seq":1,"content":"x","metadata":1}"#, "metadata"),
            (ChangeKind::Delete, r#"{"seq":1,"client_id":""}"#, "client_id"),
            (ChangeKind::AddReaction, r#"{"seq":1}"#, "emoji"),
            (ChangeKind::AddReaction, r#"{"seq":1,"emoji":"a b"}"#, "emoji"),
            (ChangeKind::RemoveReaction, r#"{"seq":1,"emoji":"012345678901234567890123456789012"}"#, "emoji"),
        ];
        for (kind, json, field) in cases {
            assert_eq!(change(kind, json).unwrap_err().field.as_deref(), Some(field), "{json}");
        }
    }

    #[test]
    fn own_messages_are_changed_by_members_and_others_by_admins() {
        let alice = UserId::parse("alice").unwrap();
        let delete = change(ChangeKind::Delete, r#"{"seq":1}"#).unwrap();
        let react = change(ChangeKind::AddReaction, r#"{"seq":1,"emoji":"+"}"#).unwrap();
        let code = |change: &Change, role, target: Option<Target>| {
            change.check(&alice, role, false, target.as_ref()).map_err(|refusal| refusal.code)
        };
        assert_eq!(code(&delete, "member", Some(target("alice", &[]))), Ok(Minimum::Member));
        assert_eq!(code(&delete, "guest", Some(target("alice", &[]))), Err(ErrorCode::Forbidden));
        assert_eq!(code(&delete, "member", Some(target("bob", &[]))), Err(ErrorCode::Forbidden));
        assert_eq!(code(&delete, "admin", Some(target("bob", &[]))), Ok(Minimum::Admin));
        assert_eq!(code(&delete, "owner", Some(target("bob", &["eve"]))), Err(ErrorCode::NotFound));
        assert_eq!(code(&delete, "owner", None), Err(ErrorCode::NotFound));
        assert_eq!(code(&react, "vip", Some(target("bob", &[]))), Ok(Minimum::Member));
        assert_eq!(code(&react, "guest", Some(target("bob", &[]))), Err(ErrorCode::Forbidden));
        let deleted = Target { deleted: true, ..target("alice", &[]) };
        assert_eq!(code(&react, "member", Some(deleted.clone())), Err(ErrorCode::Conflict));
        assert_eq!(code(&delete, "member", Some(deleted)), Ok(Minimum::Member));
    }

    #[test]
    fn a_guard_that_names_another_message_is_a_conflict() {
        let alice = UserId::parse("alice").unwrap();
        let guarded = |id: Uuid| change(ChangeKind::Delete, &format!(r#"{{"seq":1,"id":"{id}"}}"#)).unwrap();
        let target = target("alice", &[]);
        let check =
            |id| guarded(id).check(&alice, "member", false, Some(&target)).map_err(|refusal| refusal.code);
        assert_eq!(check(Uuid::nil()), Ok(Minimum::Member));
        assert_eq!(check(Uuid::max()), Err(ErrorCode::Conflict));
    }

    #[test]
    fn the_event_of_an_edit_has_the_wires_form() {
        let edit = change(ChangeKind::Edit, r#"{"seq":3,"content":"x","metadata":{"a": 1}}"#).unwrap();
        let (room, user) = (RoomId::parse("r").unwrap(), UserId::parse("alice").unwrap());
        let entry = edit.entry(&room, &user, &target("bob", &["eve"]), Minimum::Admin);
        let id = Uuid::nil();
        assert_eq!(
            entry.body,
            format!(r#"{{"target":3,"target_id":"{id}","content":"x","metadata":{{"a": 1}},"by":"alice"}}"#)
        );
        assert_eq!((entry.kind, entry.drops_tail, entry.is_change), ("message:edited", false, true));
        assert_eq!(entry.visibility.users, ["eve", "bob"]);
    }
}
