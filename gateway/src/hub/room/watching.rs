//! The subscriptions of a room that are told of people who come and go.

use std::rc::Rc;

use super::{Room, Subscription};
use crate::hub::Peer;

impl<P: Peer> Room<P> {
    pub fn watch(&mut self, subscription: Subscription) {
        if let Some(subscriber) = self.get_mut(subscription) {
            subscriber.watches = true;
        }
    }

    pub fn watchers(&self) -> impl Iterator<Item = &Rc<P>> {
        self.subscribers
            .iter()
            .filter(|(_, subscriber)| subscriber.watches)
            .map(|(_, subscriber)| &subscriber.peer)
    }
}
