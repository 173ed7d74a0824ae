//! The effects of a call of the hub: the work that it requires of the worker. A lagging subscription was live and is
//! replaying again, because too much was queued for its peer.

use std::rc::Rc;

use tidings_shared::ids::RoomId;

use super::{Subscriber, Subscription};
use crate::hub::Position;

/// What the worker must do after a call of the hub for one room. Most calls require nothing, and a value that requires
/// nothing holds no memory.
#[derive(Debug)]
#[must_use]
pub struct HubEffects<P> {
    /// The room of the call; `None` if the call requires nothing.
    pub room: Option<RoomId>,
    /// The subscriptions that the worker must replay. None of them has ended.
    pub lagging: Vec<LaggingSubscription<P>>,
    /// The subscriptions that removals have ended. The worker must count them, and remove them from their peers.
    pub ended: Vec<EndedSubscription<P>>,
    /// Whether the worker must run a refill of the room, which has begun.
    pub must_refill: bool,
    /// Whether the room has no subscription any more, so that the worker must unsubscribe the room's channel.
    pub is_room_empty: bool,
    /// The number of live subscriptions to which records were dispatched. The time of the delivery grows with it.
    pub receivers: usize,
}

impl<P> Default for HubEffects<P> {
    fn default() -> Self {
        Self {
            room: None,
            lagging: Vec::new(),
            ended: Vec::new(),
            must_refill: false,
            is_room_empty: false,
            receivers: 0,
        }
    }
}

impl<P> HubEffects<P> {
    /// Whether the worker must do anything.
    pub(in crate::hub) fn requires_work(&self) -> bool {
        self.must_refill || self.is_room_empty || !self.lagging.is_empty() || !self.ended.is_empty()
    }
}

/// A subscription that was live and is replaying again, because its peer did not take a record.
#[derive(Debug)]
pub struct LaggingSubscription<P> {
    pub peer: Rc<P>,
    pub subscription: Subscription,
    /// The position up to which the subscription was sent all records.
    pub reached: Position,
}

/// A subscription that has ended because its user was removed from the room, or because the room does not exist.
#[derive(Debug)]
pub struct EndedSubscription<P> {
    pub peer: Rc<P>,
    pub subscription: Subscription,
}

impl<P> Subscriber<P> {
    /// Makes the live subscription in this slot replay, because its peer did not take the record after `before`.
    pub fn mark_lagging(&mut self, slot: usize, before: Position) -> LaggingSubscription<P> {
        self.live = false;
        let reached = self.role_as_of.max(before);
        // The role of a live subscription is valid at the room's position. If the epoch of `role_as_of` has ended,
        // `role_as_of` stays, so that the replay reads the role again.
        if self.role_as_of.epoch == before.epoch {
            self.role_as_of = reached;
        }
        LaggingSubscription {
            peer: self.peer.clone(),
            subscription: Subscription::new(slot, self.stamp),
            reached,
        }
    }
}
