//! The subscriptions of a room that receive presence changes.

use std::rc::Rc;

use super::{Room, Subscription};
use crate::hub::Peer;

impl<P: Peer> Room<P> {
    pub fn watch_presence(&mut self, subscription: Subscription) {
        if let Some(subscriber) = self.get_mut(subscription) {
            subscriber.watches_presence = true;
        }
    }

    pub fn presence_watchers(&self) -> impl Iterator<Item = &Rc<P>> {
        self.subscribers
            .iter()
            .filter(|(_, subscriber)| subscriber.watches_presence)
            .map(|(_, subscriber)| &subscriber.peer)
    }
}
