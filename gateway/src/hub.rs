//! The rooms of one worker: who is subscribed, up to where each has been sent, and what a record means for them.
//!
//! Pure: it queues frames at peers and reads nothing. One per worker, owned by its thread. Pub/sub is a hint: a
//! record that does not follow on what was sent is not sent, the room is refilled from Redis instead.
//!
//! A subscription is *replaying* until everything up to the room's position was sent to it; nothing live is queued
//! for it before. Then it is *live*, and gets each record at the moment the room's position moves over it.
//!
//! A subscription has a role, and ends with its user's membership. What is live goes by the role at each record's
//! place: a record that changes a membership is sent first, then the role is another, or the subscription ended.
//! What is replayed goes by the role now. Nobody goes live, and no room is refilled, without the *marks* of changed
//! memberships as of the head that was read, so a hint that was missed changes nothing of this.

mod live;
mod outcome;
mod role;
mod room;
#[cfg(test)]
mod tests;
mod watching;

use std::rc::Rc;

use rustc_hash::FxHashMap;
use tidings_shared::{
    ids::{Epoch, RoomId, Seq, UserId},
    log::{Mark, Record, RoomHead},
};

use crate::transport::Frame;
pub use outcome::{Dispatch, Ended, Refilled, Renewed};
use role::RoleNames;
pub use role::Roles;
use room::Room;
pub use room::{RoomRead, Subscription};

/// A place in a room's log, ordered by epoch first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub epoch: Epoch,
    pub seq: Seq,
}

impl Position {
    /// Above every place: of a subscription whose role was not read yet, so that nothing is due to it.
    const UNREAD: Self = Self { epoch: Epoch(u64::MAX), seq: Seq(u64::MAX) };

    #[must_use]
    pub fn of(head: &RoomHead) -> Self {
        Self { epoch: head.epoch, seq: head.seq }
    }

    /// Where a record stands.
    #[must_use]
    pub fn of_record(record: &Record) -> Self {
        Self { epoch: record.epoch, seq: record.seq }
    }
}

/// Who is sent frames: a connection, or a list in tests.
pub trait Peer {
    fn user(&self) -> &UserId;
    fn send(&self, frame: Frame);
    /// Sends a frame that others get as well.
    fn share(&self, frame: &Frame) {
        self.send(frame.clone());
    }
    /// A subscription of theirs has ended: they are not a member of the room any more. Must not call the hub.
    fn ended(&self, room: &str, subscription: Subscription);
}

/// What was read of a room for one subscription: the head, the user's mark, and what the hub's generation was before.
#[derive(Debug, Clone, Copy)]
pub struct MarkRead<'a> {
    pub head: Position,
    pub mark: Option<&'a Mark>,
    pub generation: Generation,
}

/// See the module.
pub struct Hub<P> {
    rooms: FxHashMap<RoomId, Room<P>>,
    /// Stamps are of the hub, not of the room: a room that is left and joined again must not repeat one.
    next_stamp: u64,
    /// Counted up whenever hints of any room may have been missed: what was read before says nothing about now.
    generation: Generation,
    names: RoleNames,
    ended: Ended,
}

/// See [`Hub::missed`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Generation(u32);

impl<P: Peer> Default for Hub<P> {
    fn default() -> Self {
        Self {
            rooms: FxHashMap::default(),
            next_stamp: 0,
            generation: Generation::default(),
            names: RoleNames::default(),
            ended: Ended::default(),
        }
    }
}

impl<P: Peer> Hub<P> {
    /// Adds a replaying subscription, to which nothing is due before [`Hub::settle`]. The room's channel is wanted
    /// from now on. The id that is returned is the one all subscriptions of the room share, so that each connection
    /// does not hold a copy.
    pub fn subscribe(&mut self, room: &RoomId, peer: Rc<P>) -> (RoomId, Subscription) {
        let entry = self.rooms.entry(room.clone());
        let shared = entry.key().clone();
        self.next_stamp += 1;
        let role = self.names.share("");
        (shared, entry.or_default().subscribe(peer, role, self.next_stamp))
    }

    /// Gives a new subscription its role as of the head that its join has read, the mark in it included. False: it
    /// is gone.
    pub fn settle(
        &mut self,
        room: &RoomId,
        subscription: Subscription,
        role: &str,
        (head, generation): (Position, Generation),
    ) -> bool {
        let (role, current) = (self.names.share(role), generation == self.generation);
        self.rooms.get_mut(room).is_some_and(|room| room.settle(subscription, role, head, current))
    }

    /// Gives a replaying subscription its role as of a head, by the mark that was read with it, or by what
    /// persistence told.
    pub fn renew(
        &mut self,
        room: &RoomId,
        subscription: Subscription,
        read: MarkRead<'_>,
        roles: Option<&Roles>,
    ) -> Renewed {
        let current = read.generation == self.generation;
        let renewed = match self.rooms.get_mut(room) {
            Some(state) => state.renew(room, subscription, (read, current), roles, &mut self.names),
            None => Renewed::Ended,
        };
        self.gather(room.as_str());
        renewed
    }

    /// Gathers what a call has ended in a room.
    fn gather(&mut self, room: &str) {
        let Some(state) = self.rooms.get_mut(room) else { return };
        self.ended.subscriptions += std::mem::take(&mut state.ended);
        if state.is_empty()
            && let Some((room, _)) = self.rooms.remove_entry(room)
        {
            self.ended.rooms.push(room);
        }
    }

    /// What ended because of removals since this was asked last. To be asked after each call that says so.
    pub fn take_ended(&mut self) -> Ended {
        std::mem::take(&mut self.ended)
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

    /// What a published record means. One that changes a membership may end subscriptions.
    pub fn dispatch(&mut self, record: &Record, frame: &Frame) -> Dispatch {
        if record.is_live_only() {
            if let Some(room) = self.rooms.get(record.room()) {
                room.deliver_live(record, frame);
            }
            return Dispatch::Delivered;
        }
        let Some(room) = self.rooms.get_mut(record.room()) else { return Dispatch::Stale };
        let outcome = room.dispatch(record, frame, &mut self.names);
        if !record.membership().is_empty() {
            self.gather(record.room());
        }
        outcome
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

    /// Says that a room was not followed for so long that marks of changed memberships may be gone by now.
    pub fn doubt(&mut self, room: &RoomId) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.doubt();
        }
    }

    /// As [`Hub::doubt`], of all rooms.
    pub fn doubt_all(&mut self) {
        self.rooms.values_mut().for_each(Room::doubt);
    }

    /// The users whose marks a refill of the room must read, in order.
    #[must_use]
    pub fn users(&self, room: &RoomId) -> Vec<UserId> {
        self.rooms.get(room).map(Room::users).unwrap_or_default()
    }

    /// Brings live subscriptions up to what was read of a room. May end subscriptions.
    pub fn refill(&mut self, id: &RoomId, read: RoomRead<'_>, generation: Generation) -> Refilled {
        if generation != self.generation {
            return Refilled::Again;
        }
        let Some(room) = self.rooms.get_mut(id) else { return Refilled::FromTail };
        let outcome = room.refill(id, read, &mut self.names);
        self.gather(id.as_str());
        outcome
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

    /// Lets a replaying subscription go live when `reached` is where the room is, or further, and its role is as of
    /// there. False: the room has moved on (or is of another epoch, or may have), replay on.
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

    /// The role with which a subscription hears of the room. `None`: it is gone, of another epoch, or the room is
    /// known to be behind, so that its role may be another by now.
    #[must_use]
    pub fn role(&self, room: &RoomId, subscription: Subscription, epoch: Epoch) -> Option<Rc<str>> {
        self.rooms.get(room).and_then(|room| room.role(subscription, epoch))
    }

    /// Whether a subscription is sent live-only records: it is live, and nothing that it may have missed is looked for.
    #[must_use]
    pub fn is_live(&self, room: &RoomId, subscription: Subscription) -> bool {
        self.rooms.get(room).is_some_and(|room| room.is_live(subscription))
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
