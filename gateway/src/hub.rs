//! The hub of one worker: the subscriptions of each room, the room's position, and the delivery of records.
//!
//! The hub is pure: it queues frames at peers and does no I/O. Each worker thread owns one hub. A pub/sub message is
//! only a hint: a record that does not follow the last sent record is not sent, and the room is refilled from Redis.
//!
//! A subscription is *replaying* until all records up to the room's position were sent to it, and gets no live record
//! until then. After that it is *live*: it gets each record when the room's position moves to that record.
//!
//! A live subscription becomes *lagging* when its peer does not take a record, because too much is queued for the peer.
//! The subscription is then replaying again, from its last record on. The caller of [`Hub::take_lagging`] runs the
//! replay.
//!
//! A subscription has a role, and ends when its user is removed from the room. Live delivery uses the role at each
//! record's position: a record that changes a membership is sent first, and then the role changes or the subscription
//! ends. Replay uses the current role. Before a subscription goes live or a room is refilled, the membership marks are
//! read together with the head. So a missed hint cannot change who may see a record.

mod dispatch;
mod outcome;
mod partitions;
mod role;
mod room;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use rustc_hash::FxHashMap;
use tidings_shared::{
    ids::{Epoch, RoomId, Seq, UserId},
    log::{MembershipMark, Record, RoomHead},
};

use crate::transport::{Frame, FrameRun};
pub use outcome::{DispatchOutcome, EndedSubscriptions, RefillOutcome, RoleRefresh};
use role::RoleNames;
pub use role::StoredRoles;
pub use room::{LaggingSubscription, MAX_SLICE_RECEIVERS, Room, RoomRead, Subscription};

/// A position in a room's log. Positions are ordered by epoch first, then by seq.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub epoch: Epoch,
    pub seq: Seq,
}

impl Position {
    /// The position of a role that was not read yet, above every real position so that no record is sent.
    const UNREAD: Self = Self { epoch: Epoch(u64::MAX), seq: Seq(u64::MAX) };

    pub fn of_head(head: &RoomHead) -> Self {
        Self { epoch: head.epoch, seq: head.seq }
    }

    pub fn of_record(record: &Record) -> Self {
        Self { epoch: record.epoch, seq: record.seq }
    }
}

/// A receiver of frames: a connection, or a list in tests.
pub trait Peer {
    fn user(&self) -> &UserId;
    fn send(&self, frame: Frame);
    /// Sends a frame that other peers also get. Returns false, and sends nothing, if too much is queued for this peer.
    fn send_shared(&self, frame: &Frame) -> bool;
    /// Sends the frames of a run, which other peers also get, until too much is queued for this peer. Returns how many
    /// frames were sent.
    fn send_run(&self, run: &FrameRun) -> usize;
    /// Reports that a subscription of this peer has ended, because its user was removed from the room. This method must
    /// not call the hub, which is borrowed during the call.
    fn on_subscription_ended(&self, room: &str, subscription: Subscription);
}

/// A read of a room for one subscription: the head, the user's membership mark, and the hub's generation before the
/// read.
#[derive(Debug, Clone, Copy)]
pub struct MarkRead<'a> {
    pub head: Position,
    pub mark: Option<&'a MembershipMark>,
    pub generation: Generation,
}

/// The rooms of one worker.
pub struct Hub<P> {
    rooms: FxHashMap<RoomId, Room<P>>,
    /// Returned by [`Hub::room`] for a room without a subscription.
    empty_room: Room<P>,
    /// The stamp of the latest subscription. Stamps are unique in the whole hub, because a room that is left and joined
    /// again must not repeat a stamp.
    last_stamp: u64,
    /// Changes whenever hints of any room may have been missed. Reads of an earlier generation are outdated.
    generation: Generation,
    names: RoleNames,
    lagging: Vec<LaggingSubscription<P>>,
    /// The number of live subscriptions to which records were dispatched since the last [`Hub::take_receiver_count`].
    receivers: usize,
}

/// The number of calls of [`Hub::invalidate_reads`] so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Generation(u32);

impl<P: Peer> Default for Hub<P> {
    fn default() -> Self {
        Self {
            rooms: FxHashMap::default(),
            empty_room: Room::default(),
            last_stamp: 0,
            generation: Generation::default(),
            names: RoleNames::default(),
            lagging: Vec::new(),
            receivers: 0,
        }
    }
}

impl<P: Peer> Hub<P> {
    /// Returns a room, or an empty room if the room has no subscription.
    pub fn room(&self, room: &RoomId) -> &Room<P> {
        self.rooms.get(room).unwrap_or(&self.empty_room)
    }

    /// Adds a replaying subscription, which gets no record before [`Hub::set_initial_role`]. Also returns the hub's
    /// copy of the room id, which all subscriptions of the room share to save memory.
    pub fn subscribe(&mut self, room: &RoomId, peer: Rc<P>) -> (RoomId, Subscription) {
        let entry = self.rooms.entry(room.clone());
        let shared_id = entry.key().clone();
        self.last_stamp += 1;
        let role = self.names.intern("");
        (shared_id, entry.or_default().subscribe(peer, role, self.last_stamp))
    }

    /// Sets the role of a new subscription as of the head that its join read. If a mark was read with the head, the
    /// role must be that of the mark. Returns false if the subscription has ended.
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

    /// Updates the role of a replaying subscription to the head of a read. The mark of the read gives the role. Without
    /// a mark the role stays the same, or comes from `roles` if the epoch changed or marks may have expired.
    pub fn refresh_role(
        &mut self,
        room: &RoomId,
        subscription: Subscription,
        read: MarkRead<'_>,
        roles: Option<&StoredRoles>,
    ) -> (RoleRefresh, EndedSubscriptions) {
        let current = read.generation == self.generation;
        let refreshed = match self.rooms.get_mut(room) {
            Some(state) => state.refresh_role(room, subscription, (read, current), roles, &mut self.names),
            None => RoleRefresh::Ended,
        };
        (refreshed, self.collect_ended(room.as_str()))
    }

    /// Ends a subscription in the same way as a removal of its user.
    pub fn end_subscription(&mut self, room: &RoomId, subscription: Subscription) -> EndedSubscriptions {
        if let Some(state) = self.rooms.get_mut(room) {
            state.end_subscription(room, subscription);
        }
        self.collect_ended(room.as_str())
    }

    /// Ends the live subscriptions of a room that does not exist, and the refill that found this. Also returns the
    /// peers of these subscriptions.
    pub fn end_live_subscriptions(&mut self, room: &RoomId) -> (Vec<Rc<P>>, EndedSubscriptions) {
        let peers =
            self.rooms.get_mut(room).map_or_else(Vec::new, |state| state.end_live_subscriptions(room));
        (peers, self.collect_ended(room.as_str()))
    }

    /// Takes the number of subscriptions of a room that removals have ended since the last call. If no subscription is
    /// left, removes the room and returns its id, so that the caller unsubscribes the room's channel.
    fn collect_ended(&mut self, room: &str) -> EndedSubscriptions {
        let Some(state) = self.rooms.get_mut(room) else { return EndedSubscriptions::default() };
        let subscriptions = std::mem::take(&mut state.ended_count);
        let is_empty = state.is_empty();
        let room = if is_empty { self.rooms.remove_entry(room).map(|(id, _)| id) } else { None };
        EndedSubscriptions { subscriptions, room }
    }

    /// Makes all reads outdated that began before this call, because hints of any room may have been missed.
    pub fn invalidate_reads(&mut self) {
        self.generation.0 = self.generation.0.wrapping_add(1);
    }

    /// The current generation. Callers get it before they read a room, and pass it with the read.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Removes a subscription. Returns true if it was the last one, so that the room's channel must be unsubscribed.
    pub fn unsubscribe(&mut self, room: &RoomId, subscription: Subscription) -> bool {
        let Some(state) = self.rooms.get_mut(room) else { return false };
        state.unsubscribe(subscription);
        if state.is_empty() {
            self.rooms.remove(room);
            return true;
        }
        false
    }

    /// Starts a refill, because records of the room may have been missed. Returns false if no subscription is live, or
    /// if a refill is already running.
    pub fn begin_refill(&mut self, room: &RoomId) -> bool {
        self.rooms.get_mut(room).is_some_and(Room::begin_refill)
    }

    /// Ends a refill of a room without live subscriptions.
    pub fn abandon_refill(&mut self, room: &RoomId) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.abandon_refill();
        }
    }

    /// Records that membership marks of the room may have expired unread. If a read then has no mark of a user,
    /// persistence must give the role.
    pub fn expire_marks(&mut self, room: &RoomId) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.expire_marks();
        }
    }

    /// Brings live subscriptions up to the head of a read of the room. May end subscriptions.
    pub fn refill(
        &mut self,
        id: &RoomId,
        read: RoomRead<'_>,
        generation: Generation,
    ) -> (RefillOutcome, EndedSubscriptions) {
        if generation != self.generation {
            return (RefillOutcome::Retry, EndedSubscriptions::default());
        }
        let Some(room) = self.rooms.get_mut(id) else {
            return (RefillOutcome::FromTail, EndedSubscriptions::default());
        };
        let outcome = room.refill(id, read, &mut self.names);
        room.drain_lagging(id.as_str(), &mut self.lagging);
        (outcome, self.collect_ended(id.as_str()))
    }

    /// Records that Redis has confirmed the room's channel.
    pub fn mark_channel_confirmed(&mut self, room: &RoomId) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.channel_confirmed = true;
        }
    }

    /// Makes a replaying subscription live if `reached` is at or above the room's position, and if its role is as of
    /// `reached`. Returns false if the replay must continue, because the room may have newer records or another epoch.
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

    /// The number of live subscriptions of a room.
    pub fn live_count(&self, room: &str) -> usize {
        self.rooms.get(room).map_or(0, Room::live_count)
    }

    pub fn room_count(&self) -> usize {
        self.rooms.len()
    }

    /// All rooms with a live subscription.
    pub fn live_rooms(&self) -> impl Iterator<Item = &RoomId> {
        self.rooms.iter().filter(|(_, room)| room.live_position().is_some()).map(|(id, _)| id)
    }

    /// Lets a subscription receive presence changes.
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
