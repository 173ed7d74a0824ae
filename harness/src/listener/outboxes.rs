//! An outbox for each room: what waits for its answer in one holds nothing up in another.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::outbox::{Lapse, Outbox, Sending};
use crate::frames::{Ack, ErrorFrame};

/// See the module.
#[derive(Default)]
pub(super) struct Outboxes(BTreeMap<String, Outbox>);

impl Outboxes {
    pub(super) fn push(&mut self, sending: Sending) {
        self.0.entry(sending.room().to_owned()).or_default().push(sending);
    }

    /// A new connection stands: what is not stored goes out again.
    pub(super) fn repeat(&mut self) {
        self.0.values_mut().for_each(Outbox::repeat);
    }

    /// A new epoch began in a room: what is under way there goes out again.
    pub(super) fn repeat_in(&mut self, room: &str) {
        if let Some(outbox) = self.0.get_mut(room).filter(|outbox| outbox.is_sending()) {
            outbox.repeat();
        }
    }

    /// When something is to be done. While `holding`, nothing new goes out.
    pub(super) fn deadline(&self, holding: bool) -> Option<Instant> {
        self.0.values().filter_map(|outbox| outbox.deadline(holding)).min()
    }

    /// The deadline of one passed.
    pub(super) fn lapse(&mut self, holding: bool) -> Option<Lapse> {
        self.0
            .values_mut()
            .min_by_key(|outbox| outbox.deadline(holding).map_or((true, None), |at| (false, Some(at))))?
            .lapse()
    }

    pub(super) fn acked(&mut self, client_id: &str, ack: Ack) {
        if let Some(outbox) = self.0.get_mut(&ack.room) {
            outbox.acked(client_id, ack);
        }
    }

    pub(super) fn refused(&mut self, client_id: &str, error: &ErrorFrame) {
        self.0.values_mut().for_each(|outbox| outbox.refused(client_id, error));
    }

    /// The room of a message under way.
    pub(super) fn room_of(&self, client_id: &str) -> Option<&str> {
        Some(self.0.iter().find(|(_, outbox)| outbox.front() == Some(client_id))?.0)
    }

    /// The person gave up: so does everything not yet stored.
    pub(super) fn abandon(&mut self, why: &str) {
        self.0.values_mut().for_each(|outbox| outbox.abandon(why));
    }
}
