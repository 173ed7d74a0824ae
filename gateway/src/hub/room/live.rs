//! Frames without a position in the log. Live-only records are sent to live subscriptions only. Presence changes are
//! sent to all subscriptions whose join asked for presence. These frames change no position.

use std::rc::Rc;

use tidings_shared::log::{Record, record::is_visible_to};

use super::{Room, Subscription};
use crate::{hub::Peer, transport::Frame};

/// Whether a live-only record is for a user. A record with a visibility is for the named users and roles only. Any
/// other record is for everyone except the sender.
fn reaches(record: &Record, user: &str, role: &str) -> bool {
    let named = record.visibility();
    if named.is_empty() { record.sender() != user } else { is_visible_to(named, "", user, role) }
}

impl<P: Peer> Room<P> {
    /// Sends a live-only record to all live subscriptions that cannot have missed the removal of their user.
    pub fn deliver_live(&self, record: &Record, frame: &Frame) {
        for (_, subscriber) in
            self.subscribers.iter().filter(|(_, subscriber)| self.receives_live(subscriber))
        {
            if reaches(record, subscriber.peer.user().as_str(), &subscriber.role) {
                subscriber.peer.send_shared(frame);
            }
        }
    }

    /// Lets a subscription receive presence changes, whether it is live or replaying.
    pub fn watch_presence(&mut self, subscription: Subscription) {
        if let Some(subscriber) = self.get_mut(subscription) {
            subscriber.watches_presence = true;
        }
    }

    /// The peers that receive presence changes, once for each subscription that receives them.
    pub fn presence_watchers(&self) -> impl Iterator<Item = &Rc<P>> {
        let watching = self.subscribers.iter().filter(|(_, subscriber)| subscriber.watches_presence);
        watching.map(|(_, subscriber)| &subscriber.peer)
    }
}
