//! Converts checked messages and changes into log entries.

use super::append::Entry;
use crate::{
    events::MESSAGE_NEW,
    ids::{RoomId, UserId},
    message::{
        Draft, Sender, Target,
        change::{Change, ChangeKind},
    },
    role::MinRole,
};

impl Draft {
    /// Returns the entry that appends this message with a new message id (UUIDv7). `min_role` must be the result of
    /// [`Draft::permit`].
    pub fn entry<'a>(
        &self,
        room: &'a RoomId,
        user: &'a UserId,
        name: Option<&str>,
        picture: Option<&str>,
        min_role: MinRole,
    ) -> Entry<'a> {
        let id = uuid::Uuid::now_v7().to_string();
        Entry {
            sender: Some(user),
            client_id: Some(self.client_id.clone()),
            id: Some(id.clone()),
            visibility: self.visibility.clone(),
            min_role,
            first_attempt: self.first_attempt,
            is_change: false,
            ..Entry::new(room, MESSAGE_NEW, self.body(&id, Sender { id: user.as_str(), name, picture }))
        }
    }
}

impl Change {
    /// Returns the entry that appends this change. `min_role` must be the result of [`Change::check`].
    pub fn entry<'a>(
        &self,
        room: &'a RoomId,
        user: &'a UserId,
        target: &Target,
        min_role: MinRole,
    ) -> Entry<'a> {
        let kind = self.kind();
        Entry {
            sender: Some(user),
            client_id: Some(self.client_id.clone()),
            visibility: target.audience(),
            // A delete is valid whatever other messages were deleted, so it has no condition on other deletes.
            deletes_upto: (kind != ChangeKind::Delete).then_some(target.upto),
            // If the message is already deleted, the first delete has dropped the tail.
            drops_tail: kind == ChangeKind::Delete && !target.deleted,
            min_role,
            ..Entry::new(room, kind.event(), self.body(user, target))
        }
    }
}
