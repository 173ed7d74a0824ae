//! Frames without a position in the log. Live-only records are sent to live subscriptions only. Presence changes are
//! sent to all subscriptions whose join asked for presence. These frames change no position.

use std::rc::Rc;

use tidings_shared::log::{Record, record::is_visible_to};

use super::{HubEffects, Room, Subscriber, Subscription};
use crate::{hub::Peer, transport::Frame};

/// Whether a live-only record is for a user. A record with a visibility is for the named users and roles only. Any
/// other record is for everyone except the sender.
fn is_for_user(record: &Record, user: &str, role: &str) -> bool {
    let visibility = record.visibility();
    if visibility.is_empty() { record.sender() != user } else { is_visible_to(visibility, "", user, role) }
}

impl<P> Subscriber<P> {
    /// Whether the subscription gets live-only records while the room is not being refilled.
    fn receives_live_only(&self) -> bool {
        self.live && !self.marks_expired
    }
}

impl<P: Peer> Room<P> {
    /// The number of live subscriptions.
    pub fn live_count(&self) -> usize {
        self.live_count
    }

    /// Whether a subscription gets live-only records: only if it is live and cannot have missed its user's removal.
    pub fn receives_live_only(&self, subscription: Subscription) -> bool {
        !self.refilling && self.get(subscription).is_some_and(Subscriber::receives_live_only)
    }

    /// Sends a live-only record to the live subscriptions that it is for, unless they may have missed the removal of
    /// their user.
    pub(super) fn send_live_only(&mut self, record: &Record, frame: &Frame, effects: &mut HubEffects<P>) {
        if self.refilling {
            return;
        }
        let position = self.position.unwrap_or_default();
        for (slot, subscriber) in &mut self.subscribers {
            if subscriber.receives_live_only()
                && is_for_user(record, subscriber.peer.user().as_str(), &subscriber.role)
                && !subscriber.peer.try_send(frame)
            {
                self.live_count -= 1;
                effects.lagging.push(subscriber.mark_lagging(slot, position));
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
