//! The hub of one worker: the subscriptions of each room, the room's position, and the delivery of records.
//!
//! The hub is pure: it queues frames at peers and does no I/O. Each worker thread owns one hub. A pub/sub message is
//! only a hint: a record that does not follow the last sent record is not sent, and the room is refilled from Redis.
//!
//! A subscription is *replaying* until all records up to the room's position were sent to it, and gets no live record
//! until then. After that it is *live*: it gets each record when the room's position moves to that record.
//!
//! A live subscription becomes *lagging* when its peer does not take a record, because too much is queued for the peer.
//! The subscription is then replaying again, from its last record on.
//!
//! A subscription has a role, and ends when its user is removed from the room. Live delivery uses the role at each
//! record's position: a record that changes a membership is sent first, and then the role changes or the subscription
//! ends. Replay uses the current role. Before a subscription goes live or a room is refilled, the membership marks are
//! read together with the head. So a missed hint cannot change who may see a record.
//!
//! Some calls require work of the worker, for example a replay. They return this work as [`HubEffects`].

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
pub use outcome::{DispatchOutcome, RefillOutcome, RoleRefresh};
use role::RoleNames;
pub use role::StoredRoles;
pub use room::{
    EndedSubscription, HubEffects, LaggingSubscription, MAX_SLICE_RECEIVERS, Room, RoomRead, Subscription,
};

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
    fn try_send(&self, frame: &Frame) -> bool;
    /// Sends the frames of a run, which other peers also get, until too much is queued for this peer. Returns how many
    /// frames were sent.
    fn try_send_run(&self, run: &FrameRun) -> usize;
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
    ) -> (RoleRefresh, HubEffects<P>) {
        let current = read.generation == self.generation;
        self.change_room(room.as_str(), RoleRefresh::Ended, |room, names, effects| {
            room.refresh_role(subscription, (read, current), roles, names, effects)
        })
    }

    /// Ends a subscription in the same way as a removal of its user.
    pub fn end_subscription(&mut self, room: &RoomId, subscription: Subscription) -> HubEffects<P> {
        self.change_room(room.as_str(), (), |room, _, effects| room.end_subscription(subscription, effects)).1
    }

    /// Ends the live subscriptions of a room that does not exist, and the refill that found this.
    pub fn end_live_subscriptions(&mut self, room: &RoomId) -> HubEffects<P> {
        self.change_room(room.as_str(), (), |room, _, effects| room.end_live_subscriptions(effects)).1
    }

    /// Calls `change` with a room, and returns its outcome and what it requires of the worker. Removes the room if no
    /// subscription is left. If the room has no subscription before, returns `absent` as the outcome.
    fn change_room<T>(
        &mut self,
        id: &str,
        absent: T,
        change: impl FnOnce(&mut Room<P>, &mut RoleNames, &mut HubEffects<P>) -> T,
    ) -> (T, HubEffects<P>) {
        let mut effects = HubEffects::default();
        let Some(room) = self.rooms.get_mut(id) else { return (absent, effects) };
        let outcome = change(room, &mut self.names, &mut effects);
        effects.is_room_empty = room.is_empty();
        if effects.requires_work() {
            // A subscription may have become lagging and then ended.
            effects.lagging.retain(|lagging| room.has_subscription(lagging.subscription));
            effects.room = self.rooms.get_key_value(id).map(|(id, _)| id.clone());
        }
        if effects.is_room_empty {
            self.rooms.remove(id);
        }
        (outcome, effects)
    }

    /// Makes all reads outdated that began before this call, because hints of any room may have been missed.
    pub fn invalidate_reads(&mut self) {
        self.generation.0 = self.generation.0.wrapping_add(1);
    }

    /// The current generation. Callers get it before they read a room, and pass it with the read.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Removes a subscription whose peer has ended it.
    pub fn unsubscribe(&mut self, room: &RoomId, subscription: Subscription) -> HubEffects<P> {
        self.change_room(room.as_str(), (), |room, _, _| room.unsubscribe(subscription)).1
    }

    /// Begins a refill, because records of the room may have been missed. Does nothing if no subscription is live, or
    /// if a refill is already running.
    pub fn begin_refill(&mut self, room: &RoomId) -> HubEffects<P> {
        self.change_room(room.as_str(), (), |room, _, effects| effects.must_refill = room.begin_refill()).1
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
    ) -> (RefillOutcome, HubEffects<P>) {
        if generation != self.generation {
            return (RefillOutcome::Retry, HubEffects::default());
        }
        self.change_room(id.as_str(), RefillOutcome::FromTail, |room, names, effects| {
            room.refill(id, read, names, effects)
        })
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
