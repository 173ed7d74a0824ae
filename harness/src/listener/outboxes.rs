//! One outbox per room, so that rooms do not wait for each other.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::outbox::{DeadlineAction, Outbox, Sending};
use crate::frames::{Ack, ErrorFrame};

/// See the module.
#[derive(Default)]
pub(super) struct Outboxes(BTreeMap<String, Outbox>);

impl Outboxes {
    pub(super) fn push(&mut self, sending: Sending) {
        self.0.entry(sending.room().to_owned()).or_default().push(sending);
    }

    /// After a reconnect: sends unstored messages again.
    pub(super) fn repeat(&mut self) {
        self.0.values_mut().for_each(Outbox::repeat);
    }

    /// After a new epoch in a room: sends its unstored message again.
    pub(super) fn repeat_in(&mut self, room: &str) {
        if let Some(outbox) = self.0.get_mut(room).filter(|outbox| outbox.is_sending()) {
            outbox.repeat();
        }
    }

    /// The next deadline. While `holding`, no new message is sent.
    pub(super) fn deadline(&self, holding: bool) -> Option<Instant> {
        self.0.values().filter_map(|outbox| outbox.deadline(holding)).min()
    }

    /// Handles a passed deadline of one outbox.
    pub(super) fn on_deadline(&mut self, holding: bool) -> Option<DeadlineAction> {
        self.0
            .values_mut()
            .min_by_key(|outbox| outbox.deadline(holding).map_or((true, None), |at| (false, Some(at))))?
            .on_deadline()
    }

    pub(super) fn acked(&mut self, client_id: &str, ack: Ack) {
        if let Some(outbox) = self.0.get_mut(&ack.room) {
            outbox.acked(client_id, ack);
        }
    }

    pub(super) fn refused(&mut self, client_id: &str, error: &ErrorFrame) {
        self.0.values_mut().for_each(|outbox| outbox.refused(client_id, error));
    }

    /// The room of a sent message that is not answered yet.
    pub(super) fn room_of(&self, client_id: &str) -> Option<&str> {
        Some(self.0.iter().find(|(_, outbox)| outbox.front() == Some(client_id))?.0)
    }

    /// The listener has stopped: fails all messages that are not stored.
    pub(super) fn abandon(&mut self, why: &str) {
        self.0.values_mut().for_each(|outbox| outbox.abandon(why));
    }
}
