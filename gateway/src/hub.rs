//! The rooms of one worker: their subscriptions, the positions up to which their records were sent, and the effects of
//! a record.
//!
//! Pure: the hub queues frames at peers and does no I/O. Each worker thread owns one hub. A pub/sub message is only a
//! hint: if a record does not follow the last sent record, it is not sent, and the room is refilled from Redis instead.
//!
//! A subscription is *replaying* until everything up to the room's position was sent to it. Before that, it gets no
//! live record. Then it is *live*: it gets each record when the room's position moves over the record.
//!
//! A subscription has a role, and ends with its user's membership. Live delivery uses the role at each record's
//! position: a record that changes a membership is sent first, then the role changes or the subscription ends. Replay
//! uses the current role. A subscription goes live, and a room is refilled, only with the *marks* of changed
//! memberships as of the head that was read. So a missed hint cannot change who may see a record.

mod outcome;
mod role;
mod room;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use rustc_hash::FxHashMap;
use tidings_shared::{
    ids::{Epoch, RoomId, Seq, UserId},
    log::{Mark, Record, RoomHead},
};

use crate::transport::Frame;
pub use outcome::{Dispatch, Ended, RefillOutcome, RoleRefresh};
use role::RoleNames;
pub use role::Roles;
pub use room::{Room, RoomRead, Subscription};

/// A position in a room's log, ordered by epoch first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub epoch: Epoch,
    pub seq: Seq,
}

impl Position {
    /// Above every position. A subscription whose role was not read yet has this role position, so that it gets no
    /// record.
    const UNREAD: Self = Self { epoch: Epoch(u64::MAX), seq: Seq(u64::MAX) };

    pub fn of(head: &RoomHead) -> Self {
        Self { epoch: head.epoch, seq: head.seq }
    }

    /// The position of a record.
    pub fn of_record(record: &Record) -> Self {
        Self { epoch: record.epoch, seq: record.seq }
    }
}

/// A receiver of frames: a connection, or a list in tests.
pub trait Peer {
    fn user(&self) -> &UserId;
    fn send(&self, frame: Frame);
    /// Sends a frame that other peers also get.
    fn send_shared(&self, frame: &Frame) {
        self.send(frame.clone());
    }
    /// A subscription of this peer has ended because its user was removed from the room. This method must not call the
    /// hub, which is borrowed during the call.
    fn ended(&self, room: &str, subscription: Subscription);
}

/// A read of a room for one subscription: the head, the user's mark, and the hub's generation before the read.
#[derive(Debug, Clone, Copy)]
pub struct MarkRead<'a> {
    pub head: Position,
    pub mark: Option<&'a Mark>,
    pub generation: Generation,
}

/// The rooms of one worker.
pub struct Hub<P> {
    rooms: FxHashMap<RoomId, Room<P>>,
    /// Stands for every room without a subscription.
    no_room: Room<P>,
    /// Stamps are unique in the whole hub, because a room that is left and joined again must not repeat a stamp.
    next_stamp: u64,
    /// Increased whenever hints of any room may have been missed. A read that began in an earlier generation is
    /// outdated.
    generation: Generation,
    names: RoleNames,
}

/// The number of calls of [`Hub::invalidate_reads`] so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Generation(u32);

impl<P: Peer> Default for Hub<P> {
    fn default() -> Self {
        Self {
            rooms: FxHashMap::default(),
            no_room: Room::default(),
            next_stamp: 0,
            generation: Generation::default(),
            names: RoleNames::default(),
        }
    }
}

impl<P: Peer> Hub<P> {
    /// A room; an empty room if it has no subscription.
    pub fn room(&self, room: &RoomId) -> &Room<P> {
        self.rooms.get(room).unwrap_or(&self.no_room)
    }

    /// Adds a replaying subscription, which gets no record before [`Hub::set_initial_role`]. The room's channel is
    /// wanted from now on. All subscriptions of a room share the returned id, so that connections hold no copies.
    pub fn subscribe(&mut self, room: &RoomId, peer: Rc<P>) -> (RoomId, Subscription) {
        let entry = self.rooms.entry(room.clone());
        let shared_id = entry.key().clone();
        self.next_stamp += 1;
        let role = self.names.intern("");
        (shared_id, entry.or_default().subscribe(peer, role, self.next_stamp))
    }

    /// Gives a new subscription its role as of the head that its join read. The role must include the mark that was
    /// read with the head. Returns false if the subscription has ended.
    pub fn set_initial_role(
        &mut self,
        room: &RoomId,
        subscription: Subscription,
        role: &str,
        (head, generation): (Position, Generation),
    ) -> bool {
        let (role, current) = (self.names.intern(role), generation == self.generation);
        self.rooms.get_mut(room).is_some_and(|room| room.set_initial_role(subscription, role, head, current))
    }

    /// Updates the role of a replaying subscription to the head of a read: from the mark in the read, or else from the
    /// roles that persistence returned.
    pub fn refresh_role(
        &mut self,
        room: &RoomId,
        subscription: Subscription,
        read: MarkRead<'_>,
        roles: Option<&Roles>,
    ) -> (RoleRefresh, Ended) {
        let current = read.generation == self.generation;
        let refreshed = match self.rooms.get_mut(room) {
            Some(state) => state.refresh_role(room, subscription, (read, current), roles, &mut self.names),
            None => RoleRefresh::Ended,
        };
        (refreshed, self.collect_ended(room.as_str()))
    }

    /// Returns how many subscriptions of a room have ended since the last call, and removes the room if no subscription
    /// is left.
    fn collect_ended(&mut self, room: &str) -> Ended {
        let Some(state) = self.rooms.get_mut(room) else { return Ended::default() };
        let subscriptions = std::mem::take(&mut state.ended);
        let is_empty = state.is_empty();
        let room = if is_empty { self.rooms.remove_entry(room).map(|(id, _)| id) } else { None };
        Ended { subscriptions, room }
    }

    /// All reads that began before this call are outdated, because hints of any room may have been missed.
    pub fn invalidate_reads(&mut self) {
        self.generation.0 = self.generation.0.wrapping_add(1);
    }

    /// The present generation. To be taken before a room is read, and passed with the read.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Removes a subscription. Returns true if it was the room's last, so that the channel is not wanted any more.
    pub fn unsubscribe(&mut self, room: &RoomId, subscription: Subscription) -> bool {
        let Some(state) = self.rooms.get_mut(room) else { return false };
        state.unsubscribe(subscription);
        if state.is_empty() {
            self.rooms.remove(room);
            return true;
        }
        false
    }

    /// Handles a published record. A record that changes a membership may end subscriptions.
    pub fn dispatch(&mut self, record: &Record, frame: &Frame) -> (Dispatch, Ended) {
        if record.is_live_only() {
            if let Some(room) = self.rooms.get(record.room()) {
                room.deliver_live(record, frame);
            }
            return (Dispatch::Delivered, Ended::default());
        }
        let Some(room) = self.rooms.get_mut(record.room()) else {
            return (Dispatch::Stale, Ended::default());
        };
        let outcome = room.dispatch(record, frame, &mut self.names);
        if record.membership().is_empty() {
            return (outcome, Ended::default());
        }
        (outcome, self.collect_ended(record.room()))
    }

    /// Starts a refill, because records of the room may have been missed. Returns false if no subscription is live, or
    /// if a refill runs already.
    pub fn begin_refill(&mut self, room: &RoomId) -> bool {
        self.rooms.get_mut(room).is_some_and(Room::begin_refill)
    }

    /// Ends a refill because no subscription is live any more.
    pub fn abandon_refill(&mut self, room: &RoomId) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.abandon_refill();
        }
    }

    /// Marks of changed memberships in the room may have expired before they were read. So roles without a mark must be
    /// read from persistence.
    pub fn expire_marks(&mut self, room: &RoomId) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.expire_marks();
        }
    }

    /// As [`Hub::expire_marks`], for all rooms.
    pub fn expire_all_marks(&mut self) {
        self.rooms.values_mut().for_each(Room::expire_marks);
    }

    /// Brings live subscriptions up to the head of a read of the room. May end subscriptions.
    pub fn refill(
        &mut self,
        id: &RoomId,
        read: RoomRead<'_>,
        generation: Generation,
    ) -> (RefillOutcome, Ended) {
        if generation != self.generation {
            return (RefillOutcome::Retry, Ended::default());
        }
        let Some(room) = self.rooms.get_mut(id) else {
            return (RefillOutcome::FromTail, Ended::default());
        };
        let outcome = room.refill(id, read, &mut self.names);
        (outcome, self.collect_ended(id.as_str()))
    }

    /// Redis has confirmed the room's channel.
    pub fn confirm(&mut self, room: &RoomId) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.confirmed = true;
        }
    }

    /// Makes a replaying subscription live if `reached` is the room's position or further, and its role is as of
    /// `reached`. Returns false if the room has moved on or may have moved on, or is in another epoch: then the replay
    /// must continue.
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

    /// The number of rooms with a subscription.
    pub fn room_count(&self) -> usize {
        self.rooms.len()
    }

    /// All rooms with a live subscription.
    pub fn live_rooms(&self) -> impl Iterator<Item = &RoomId> {
        self.rooms.iter().filter(|(_, room)| room.live_position().is_some()).map(|(id, _)| id)
    }

    /// Makes a subscription receive presence changes from now on.
    pub fn watch_presence(&mut self, room: &RoomId, subscription: Subscription) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.watch_presence(subscription);
        }
    }

    /// The peers that receive presence changes in this room. A connection may occur more than once.
    pub fn presence_watchers(&self, room: &str) -> impl Iterator<Item = &Rc<P>> {
        self.rooms.get(room).into_iter().flat_map(|room| room.presence_watchers())
    }
}
