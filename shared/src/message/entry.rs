//! The entry that appends a checked draft, and the ack for its sender.

use super::{AckStage, Draft};
use crate::{
    ids::{RoomId, UserId},
    log::{Accepted, Entry},
    protocol::{
        names::MESSAGE_NEW,
        server::{Ack, Sender, rfc3339},
    },
    role::MinRole,
};

impl Draft {
    /// The entry that appends this message, under a new message id (UUIDv7).
    #[must_use]
    pub fn entry<'a>(
        &self,
        room: &'a RoomId,
        user: &'a UserId,
        name: Option<&str>,
        picture: Option<&str>,
    ) -> Entry<'a> {
        let id = uuid::Uuid::now_v7().to_string();
        Entry {
            sender: Some(user),
            client_id: Some(self.client_id.clone()),
            id: Some(id.clone()),
            visibility: self.visibility.clone(),
            min_role: MinRole::Member,
            first_attempt: self.first_attempt,
            is_change: false,
            ..Entry::new(room, MESSAGE_NEW, self.body(&id, &Sender { id: user.as_str(), name, picture }))
        }
    }

    /// The ack for the sender.
    #[must_use]
    pub fn ack(&self, room: &RoomId, accepted: &Accepted, stage: AckStage) -> Ack {
        Ack {
            room: room.clone(),
            seq: accepted.seq,
            epoch: accepted.epoch,
            at: rfc3339(accepted.at_ms),
            stage,
            duplicate: accepted.duplicate,
            id: Some(accepted.id.clone()),
            client_id: Some(self.client_id.clone()),
        }
    }
}
