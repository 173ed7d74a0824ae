//! Lagging subscriptions, which were live and are replaying again, because too much was queued for their peers.

use std::rc::Rc;

use tidings_shared::ids::RoomId;

use super::{Room, Subscriber, Subscription};
use crate::hub::{Peer, Position};

/// A subscription that was live and is replaying again, because its peer did not take a record.
#[derive(Debug)]
pub struct LaggingSubscription<P> {
    pub room: RoomId,
    pub peer: Rc<P>,
    pub subscription: Subscription,
    /// The position up to which the subscription was sent all records.
    pub reached: Position,
}

impl<P> Subscriber<P> {
    /// Makes a live subscription replay, because its peer did not take the record after `before`. Returns the position
    /// up to which the subscription was sent all records.
    pub fn mark_lagging(&mut self, before: Position) -> Position {
        self.live = false;
        let reached = self.role_as_of.max(before);
        // The role of a live subscription is valid at the room's position. If the epoch of `role_as_of` has ended,
        // `role_as_of` stays, so that the replay reads the role again.
        if self.role_as_of.epoch == before.epoch {
            self.role_as_of = reached;
        }
        reached
    }
}

impl<P: Peer> Room<P> {
    /// Moves the lagging subscriptions of the room to `all`, except those that have ended meanwhile.
    pub fn drain_lagging(&mut self, room: &str, all: &mut Vec<LaggingSubscription<P>>) {
        if self.lagging_slots.is_empty() {
            return;
        }
        let Ok(room) = RoomId::parse(room) else { return };
        for (slot, reached) in self.lagging_slots.drain(..) {
            let Some(subscriber) = self.subscribers.get(slot) else { continue };
            let (peer, subscription) = (subscriber.peer.clone(), Subscription::new(slot, subscriber.stamp));
            all.push(LaggingSubscription { room: room.clone(), peer, subscription, reached });
        }
    }
}
