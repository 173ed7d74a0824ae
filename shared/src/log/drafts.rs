//! Makes log entries from checked messages and changes.

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
    /// The entry that appends this message, under a new message id (UUIDv7); `min_role` is the result of
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
    /// The entry that appends this change; `min_role` is the result of [`Change::check`].
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
            // A delete does not depend on other deletes, so it does not wait until they are stored.
            deletes_upto: (kind != ChangeKind::Delete).then_some(target.upto),
            // The first delete of the message has dropped it from the tail, so a further delete drops nothing.
            drops_tail: kind == ChangeKind::Delete && !target.deleted,
            min_role,
            ..Entry::new(room, kind.event(), self.body(user, target))
        }
    }
}
