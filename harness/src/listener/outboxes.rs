//! The outboxes of a listener, one per room, so that no room waits for another room.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::outbox::{DeadlineAction, Outbox, QueuedMessage};
use crate::frames::{Ack, ErrorFrame};

/// The outboxes of a listener, by room.
#[derive(Default)]
pub(super) struct Outboxes(BTreeMap<String, Outbox>);

impl Outboxes {
    pub(super) fn push(&mut self, sending: QueuedMessage) {
        self.0.entry(sending.room().to_owned()).or_default().push(sending);
    }

    /// Makes the first message of each room due at once, after a reconnect.
    pub(super) fn schedule_resend(&mut self) {
        self.0.values_mut().for_each(Outbox::schedule_resend);
    }

    /// Sends the unstored message of a room again, after a new epoch in this room.
    pub(super) fn resend_in(&mut self, room: &str) {
        if let Some(outbox) = self.0.get_mut(room).filter(|outbox| outbox.is_sending()) {
            outbox.schedule_resend();
        }
    }

    /// The next deadline. With `holding` nothing is due to be sent, only to be answered.
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

    pub(super) fn handle_ack(&mut self, client_id: &str, ack: Ack) {
        if let Some(outbox) = self.0.get_mut(&ack.room) {
            outbox.handle_ack(client_id, ack);
        }
    }

    pub(super) fn handle_error(&mut self, client_id: &str, error: &ErrorFrame) {
        self.0.values_mut().for_each(|outbox| outbox.handle_error(client_id, error));
    }

    /// The room of a sent message that is not answered yet.
    pub(super) fn room_of(&self, client_id: &str) -> Option<&str> {
        Some(self.0.iter().find(|(_, outbox)| outbox.front_client_id() == Some(client_id))?.0)
    }

    /// Fails all waiting messages, because the listener has stopped.
    pub(super) fn abandon(&mut self, why: &str) {
        self.0.values_mut().for_each(|outbox| outbox.abandon(why));
    }
}
