//! The rooms of one worker: who is subscribed, up to where each has been sent, and what a record means for them.
//!
//! Pure: it queues frames at peers and reads nothing. One per worker, owned by its thread. Pub/sub is a hint: a
//! record that does not follow on what was sent is not sent, the room is refilled from Redis instead.
//!
//! A subscription is *replaying* until everything up to the room's position was sent to it; nothing live is queued
//! for it before. Then it is *live*, and gets each record at the moment the room's position moves over it.

mod room;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use rustc_hash::FxHashMap;
use tidings_shared::{
    ids::{Epoch, RoomId, Seq},
    log::{Record, RoomHead, TailRead},
};

use crate::transport::Frame;
use room::Room;
pub use room::Subscription;

/// A place in a room's log, ordered by epoch first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub epoch: Epoch,
    pub seq: Seq,
}

impl Position {
    #[must_use]
    pub fn of(head: &RoomHead) -> Self {
        Self { epoch: head.epoch, seq: head.seq }
    }
}

/// Who is sent frames: a connection, or a list in tests.
pub trait Peer {
    fn user(&self) -> &str;
    fn send(&self, frame: Frame);
}

/// What a record led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatch {
    /// Sent to all live subscriptions that may see it, or nobody was live.
    Delivered,
    /// Of an older epoch, or already sent.
    Stale,
    /// It does not follow on what was sent: the room is to be refilled.
    Refill,
    /// As `Refill`, and a refill is already under way.
    RefillUnderWay,
}

/// How a refill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refilled {
    /// The tail reached back: the missing records were sent.
    FromTail,
    /// It did not, or the epoch's base lies lower: live subscriptions were told the gap.
    Gap,
    /// What was read is not yet up to what is known to exist: read again.
    Again,
}

/// See the module.
pub struct Hub<P> {
    rooms: FxHashMap<RoomId, Room<P>>,
    /// Stamps are of the hub, not of the room: a room that is left and joined again must not repeat one.
    next_stamp: u64,
    /// Counted up whenever hints of any room may have been missed: what was read before says nothing about now.
    generation: Generation,
}

/// See [`Hub::missed`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Generation(u32);

impl<P: Peer> Default for Hub<P> {
    fn default() -> Self {
        Self { rooms: FxHashMap::default(), next_stamp: 0, generation: Generation::default() }
    }
}

impl<P: Peer> Hub<P> {
    /// Adds a replaying subscription. The room's channel is wanted from now on. The id that is returned is the one
    /// all subscriptions of the room share, so that each connection does not hold a copy.
    pub fn subscribe(&mut self, room: &RoomId, peer: Rc<P>, role: Rc<str>) -> (RoomId, Subscription) {
        let entry = self.rooms.entry(room.clone());
        let shared = entry.key().clone();
        self.next_stamp += 1;
        (shared, entry.or_default().subscribe(peer, role, self.next_stamp))
    }

    /// Says that hints of any room may have been missed. Reads that began before are of no use any more.
    pub fn missed(&mut self) {
        self.generation.0 = self.generation.0.wrapping_add(1);
    }

    /// To be taken before a room is read, and given with what was read.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Takes a subscription away. True: it was the room's last, so the channel is not wanted any more.
    pub fn unsubscribe(&mut self, room: &RoomId, subscription: Subscription) -> bool {
        let Some(state) = self.rooms.get_mut(room) else { return false };
        state.unsubscribe(subscription);
        if state.is_empty() {
            self.rooms.remove(room);
            return true;
        }
        false
    }

    /// What a published record means.
    pub fn dispatch(&mut self, record: &Record, frame: &Frame) -> Dispatch {
        self.rooms.get_mut(record.room()).map_or(Dispatch::Stale, |room| room.dispatch(record, frame))
    }

    /// Says that records of a room may have been missed. False: nobody is live there, or it is being refilled.
    pub fn suspect(&mut self, room: &RoomId) -> bool {
        self.rooms.get_mut(room).is_some_and(Room::suspect)
    }

    /// Says that a refill was given up because nobody is live any more.
    pub fn abandon_refill(&mut self, room: &RoomId) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.abandon_refill();
        }
    }

    /// Brings live subscriptions up to what was read of a room.
    pub fn refill(&mut self, id: &RoomId, read: &TailRead, generation: Generation) -> Refilled {
        if generation != self.generation {
            return Refilled::Again;
        }
        self.rooms.get_mut(id).map_or(Refilled::FromTail, |room| room.refill(id, read))
    }

    /// The newest place known to exist in a room's log.
    #[must_use]
    pub fn newest(&self, room: &RoomId) -> Position {
        self.rooms.get(room).map(Room::newest).unwrap_or_default()
    }

    /// Whether the server has confirmed that this node hears of the room.
    #[must_use]
    pub fn is_confirmed(&self, room: &RoomId) -> bool {
        self.rooms.get(room).is_some_and(|room| room.confirmed)
    }

    pub fn confirm(&mut self, room: &RoomId) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.confirmed = true;
        }
    }

    /// Lets a replaying subscription go live when `reached` is where the room is, or further.
    /// False: the room has moved on (or is of another epoch, or may have), replay on.
    pub fn go_live(
        &mut self,
        room: &RoomId,
        subscription: Subscription,
        reached: Position,
        generation: Generation,
    ) -> bool {
        generation == self.generation
            && self.rooms.get_mut(room).is_some_and(|room| room.go_live(subscription, reached))
    }

    /// Sends a replaying subscription one record, if it may see it. False: the subscription is gone.
    pub fn replay(&self, room: &RoomId, subscription: Subscription, record: &Record) -> bool {
        self.rooms.get(room).is_some_and(|room| room.replay(subscription, record))
    }

    /// The role with which a subscription hears of the room.
    #[must_use]
    pub fn role(&self, room: &RoomId, subscription: Subscription) -> Option<Rc<str>> {
        self.rooms.get(room).and_then(|room| room.role(subscription))
    }

    /// Whether a subscription still stands.
    #[must_use]
    pub fn has(&self, room: &RoomId, subscription: Subscription) -> bool {
        self.rooms.get(room).is_some_and(|room| room.has(subscription))
    }

    /// Rooms with a subscription.
    #[must_use]
    pub fn room_count(&self) -> usize {
        self.rooms.len()
    }

    /// Up to where the live subscriptions of a room were sent; `None`: nobody is live there.
    #[must_use]
    pub fn live_position(&self, room: &RoomId) -> Option<Position> {
        self.rooms.get(room).and_then(Room::live_position)
    }

    /// All rooms with a live subscription.
    pub fn live_rooms(&self) -> impl Iterator<Item = &RoomId> {
        self.rooms.iter().filter(|(_, room)| room.live_position().is_some()).map(|(id, _)| id)
    }
}
