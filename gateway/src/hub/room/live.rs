//! Frames without a position in the log: live-only records, which reach live subscriptions only, and presence changes,
//! which reach all subscriptions except those whose join declined them. They change no position.

use std::rc::Rc;

use tidings_shared::log::{Record, record::is_visible_to};

use super::{Room, Subscription};
use crate::{hub::Peer, transport::Frame};

/// Whether a live-only record reaches a user: a record with a visibility reaches the named users and roles only; other
/// records reach everyone except the sender.
fn reaches(record: &Record, user: &str, role: &str) -> bool {
    let named = record.visibility();
    if named.is_empty() { record.sender() != user } else { is_visible_to(named, "", user, role) }
}

impl<P: Peer> Room<P> {
    /// Sends a live-only record, but not to subscriptions that may have missed their removal.
    pub fn deliver_live(&self, record: &Record, frame: &Frame) {
        for (_, subscriber) in
            self.subscribers.iter().filter(|(_, subscriber)| self.receives_live(subscriber))
        {
            if reaches(record, subscriber.peer.user().as_str(), &subscriber.role) {
                subscriber.peer.send_shared(frame);
            }
        }
    }

    pub fn watch_presence(&mut self, subscription: Subscription) {
        if let Some(subscriber) = self.get_mut(subscription) {
            subscriber.watches_presence = true;
        }
    }

    pub fn presence_watchers(&self) -> impl Iterator<Item = &Rc<P>> {
        let watching = self.subscribers.iter().filter(|(_, subscriber)| subscriber.watches_presence);
        watching.map(|(_, subscriber)| &subscriber.peer)
    }
}
