//! One room on one worker: its subscriptions, their roles, and the delivery of records.

mod live;
mod refill;
mod run;

use std::rc::Rc;

use slab::Slab;
use tidings_shared::{
    ids::{Epoch, RoomId, UserId},
    log::Record,
    role::REMOVED,
};

use super::{Dispatch, MarkRead, Peer, Position, RoleRefresh, role::RoleNames, role::Roles};
use crate::transport::Frame;

pub use refill::RoomRead;

/// The id of a subscription in its room. The stamp distinguishes it from a later subscription in the same slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    slot: u32,
    stamp: u64,
}

struct Subscriber<P> {
    peer: Rc<P>,
    role: Rc<str>,
    stamp: u64,
    /// The position as of which `role` is valid; [`Position::UNREAD`] until the join has read the role. All visible
    /// records up to this position, or `room:gap`, were sent to a live subscription, even if the room's position is
    /// lower.
    role_as_of: Position,
    live: bool,
    /// Whether a later membership mark may have expired, so that persistence must give a role without a mark.
    marks_expired: bool,
    watches_presence: bool,
}

/// One room and its subscriptions.
pub struct Room<P> {
    subscribers: Slab<Subscriber<P>>,
    live: usize,
    /// The position up to which all live subscriptions were sent the records; valid while a subscription is live.
    position: Option<Position>,
    newest_seen: Position,
    refilling: bool,
    /// Whether Redis has confirmed the room's channel.
    pub confirmed: bool,
    /// Number of subscriptions that ended because of removals and that the hub has not counted yet.
    pub ended: usize,
}

impl<P> Default for Room<P> {
    fn default() -> Self {
        Self {
            subscribers: Slab::new(),
            live: 0,
            position: None,
            newest_seen: Position::default(),
            refilling: false,
            confirmed: false,
            ended: 0,
        }
    }
}

impl<P: Peer> Room<P> {
    /// Adds a replaying subscription. `role` is a placeholder until the role was read; `stamp` is unique in the hub.
    pub fn subscribe(&mut self, peer: Rc<P>, role: Rc<str>, stamp: u64) -> Subscription {
        let role_as_of = Position::UNREAD;
        let subscriber = Subscriber {
            peer,
            role,
            stamp,
            role_as_of,
            live: false,
            marks_expired: false,
            watches_presence: false,
        };
        let slot = self.subscribers.insert(subscriber);
        Subscription::new(slot, stamp)
    }

    /// Removes a subscription, without a report to its peer. Does nothing if the subscription has ended.
    pub fn unsubscribe(&mut self, subscription: Subscription) {
        if self.get(subscription).is_some() {
            let removed = self.subscribers.remove(subscription.slot as usize);
            self.live -= usize::from(removed.live);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }

    /// Whether a subscription exists.
    pub fn has(&self, subscription: Subscription) -> bool {
        self.get(subscription).is_some()
    }

    /// Whether a subscription gets live-only records: only if it is live and cannot have missed its user's removal.
    pub fn is_live(&self, subscription: Subscription) -> bool {
        self.get(subscription).is_some_and(|subscriber| self.receives_live(subscriber))
    }

    /// The role of a subscription; `None` if the subscription has ended, if its role is of another epoch, or if the
    /// room is being refilled, so that the role may have changed.
    pub fn role(&self, subscription: Subscription, epoch: Epoch) -> Option<Rc<str>> {
        let subscriber = self.get(subscription)?;
        let behind = subscriber.live && self.refilling;
        let of_epoch = subscriber.role_as_of != Position::UNREAD && subscriber.role_as_of.epoch == epoch;
        (of_epoch && !behind).then(|| subscriber.role.clone())
    }

    /// The newest position in the room's log that this worker has seen.
    pub fn newest(&self) -> Position {
        self.position.unwrap_or_default().max(self.newest_seen)
    }

    /// The position up to which the live subscriptions were sent all records; `None` if no subscription is live.
    pub fn live_position(&self) -> Option<Position> {
        self.position.filter(|_| self.live > 0)
    }

    /// The users whose subscriptions have a role, sorted and unique. A refill must read the marks of these users.
    pub fn users_with_known_role(&self) -> Vec<UserId> {
        let with_role =
            self.subscribers.iter().filter(|(_, subscriber)| subscriber.role_as_of != Position::UNREAD);
        let mut users: Vec<UserId> =
            with_role.map(|(_, subscriber)| subscriber.peer.user().clone()).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    fn get(&self, subscription: Subscription) -> Option<&Subscriber<P>> {
        self.subscribers
            .get(subscription.slot as usize)
            .filter(|subscriber| subscriber.stamp == subscription.stamp)
    }

    fn get_mut(&mut self, subscription: Subscription) -> Option<&mut Subscriber<P>> {
        let subscriber = self.subscribers.get_mut(subscription.slot as usize);
        subscriber.filter(|subscriber| subscriber.stamp == subscription.stamp)
    }

    /// Handles a published record that has a position in the log: see [`Hub::dispatch`](super::Hub::dispatch).
    pub(super) fn dispatch(&mut self, record: &Record, frame: &Frame, names: &mut RoleNames) -> Dispatch {
        let at = Position::of_record(record);
        self.newest_seen = self.newest_seen.max(at);
        let change = record.member_change();
        if let Some(change) = change {
            // A replaying subscription takes the new role at once, even while records are missing.
            self.apply_change(record.room(), at, change, false, names);
        }
        let Some(position) = self.live_position() else { return Dispatch::NobodyLive };
        if at <= position {
            return Dispatch::Stale;
        }
        if self.refilling {
            return Dispatch::RefillUnderWay;
        }
        if at.epoch != position.epoch || at.seq != position.seq.next() {
            self.refilling = true;
            return Dispatch::Refill;
        }
        self.deliver(record, frame);
        self.position = Some(at);
        if let Some(change) = change {
            self.apply_change(record.room(), at, change, true, names);
        }
        Dispatch::Delivered
    }

    fn deliver(&self, record: &Record, frame: &Frame) {
        let (at, everyone) = (Position::of_record(record), record.visibility().is_empty());
        for (_, subscriber) in &self.subscribers {
            let due = subscriber.live && subscriber.role_as_of < at;
            if due && (everyone || record.is_visible_to(subscriber.peer.user().as_str(), &subscriber.role)) {
                subscriber.peer.send_shared(frame);
            }
        }
    }

    /// Applies a membership change at the position `at` to the user's live subscriptions if `live` is true, or else to
    /// the user's replaying subscriptions.
    fn apply_change(
        &mut self,
        room: &str,
        at: Position,
        change: (&str, &str),
        live: bool,
        names: &mut RoleNames,
    ) {
        let (user, role) = change;
        self.retain(room, |subscriber| {
            let affected = subscriber.live == live
                && subscriber.role_as_of < at
                && subscriber.peer.user().as_str() == user;
            if affected && role == REMOVED {
                return false;
            }
            if affected {
                subscriber.role = names.intern(role);
                // A live subscription needs no new position of its own, because the room's position advances.
                subscriber.role_as_of = if live { subscriber.role_as_of } else { at };
            }
            true
        });
    }

    /// Ends the subscriptions for which `keep` returns false, because their users were removed.
    fn retain(&mut self, room: &str, mut keep: impl FnMut(&mut Subscriber<P>) -> bool) {
        let (live, ended) = (&mut self.live, &mut self.ended);
        self.subscribers.retain(|slot, subscriber| {
            let kept = keep(subscriber);
            if !kept {
                subscriber.peer.on_subscription_ended(room, Subscription::new(slot, subscriber.stamp));
                *live -= usize::from(subscriber.live);
                *ended += 1;
            }
            kept
        });
    }

    fn receives_live(&self, subscriber: &Subscriber<P>) -> bool {
        subscriber.live && !subscriber.marks_expired && !self.refilling
    }

    /// Marks the room as being refilled. Returns false if no subscription is live, or if a refill is already running.
    pub fn begin_refill(&mut self) -> bool {
        let begins = self.live > 0 && !self.refilling;
        self.refilling |= begins;
        begins
    }

    /// Records that marks may have expired unread, so that a missing mark no longer means that a role is unchanged.
    pub fn expire_marks(&mut self) {
        self.subscribers.iter_mut().for_each(|(_, subscriber)| subscriber.marks_expired = true);
    }

    /// Ends a refill without a result. Only for a room without live subscriptions, because no records are sent.
    pub fn abandon_refill(&mut self) {
        self.refilling = false;
    }

    /// Sets the role that the join has read. `current` means that the read began in the hub's current generation, so
    /// that marks which expired earlier do not matter.
    pub fn set_initial_role(
        &mut self,
        subscription: Subscription,
        role: Rc<str>,
        head: Position,
        current: bool,
    ) -> bool {
        let Some(subscriber) = self.get_mut(subscription) else { return false };
        (subscriber.role, subscriber.role_as_of) = (role, head);
        subscriber.marks_expired &= !current;
        true
    }

    /// Carries out [`Hub::refresh_role`](super::Hub::refresh_role). `current` means that the read began in the hub's
    /// current generation.
    pub(super) fn refresh_role(
        &mut self,
        room: &RoomId,
        subscription: Subscription,
        (read, current): (MarkRead<'_>, bool),
        roles: Option<&Roles>,
        names: &mut RoleNames,
    ) -> RoleRefresh {
        let MarkRead { head, mark, .. } = read;
        let Some(subscriber) = self.get_mut(subscription) else { return RoleRefresh::Ended };
        if subscriber.role_as_of >= head {
            // The read is not newer than the role, so no change was missed.
            subscriber.marks_expired &= !current;
            return RoleRefresh::UpToDate;
        }
        let role = match mark {
            Some(mark) => mark.role.as_deref(),
            None if subscriber.role_as_of.epoch == head.epoch && !subscriber.marks_expired => {
                Some(&*subscriber.role)
            }
            None => match roles.and_then(|roles| roles.get(head.epoch, subscriber.peer.user())) {
                Some(role) => role,
                None => return RoleRefresh::RoleUnknown,
            },
        };
        if let Some(role) = role {
            (subscriber.role, subscriber.role_as_of) = (names.intern(role), head);
            subscriber.marks_expired &= !current;
            return RoleRefresh::UpToDate;
        }
        subscriber.peer.on_subscription_ended(room.as_str(), subscription);
        self.unsubscribe(subscription);
        self.ended += 1;
        RoleRefresh::Ended
    }

    /// Makes a replaying subscription live, or returns false: see [`Hub::go_live`](super::Hub::go_live).
    pub fn go_live(&mut self, subscription: Subscription, reached: Position) -> bool {
        // A role as of a later position is not valid for earlier records, so the replay must reach that position.
        if self.get(subscription).is_none_or(|subscriber| subscriber.role_as_of != reached) {
            return false;
        }
        if self.live == 0 {
            if reached < self.newest() {
                return false;
            }
            self.position = Some(reached);
        } else if self.position.is_none_or(|position| reached.epoch != position.epoch || reached < position) {
            return false;
        }
        if let Some(subscriber) = self.get_mut(subscription)
            && !std::mem::replace(&mut subscriber.live, true)
        {
            self.live += 1;
        }
        true
    }

    /// Sends a record to a replaying subscription, if its user may see it. Returns false if the subscription has ended.
    pub fn replay(&self, subscription: Subscription, record: &Record) -> bool {
        let Some(subscriber) = self.get(subscription) else { return false };
        if record.is_visible_to(subscriber.peer.user().as_str(), &subscriber.role) {
            subscriber.peer.send(Frame::text_once(record.json()));
        }
        true
    }
}

impl Subscription {
    /// Stored in place of a subscription that has ended. Stamps begin with 1, so no subscription equals this value.
    pub const ENDED: Self = Self { slot: u32::MAX, stamp: 0 };

    fn new(slot: usize, stamp: u64) -> Self {
        Self { slot: u32::try_from(slot).expect("fewer connections than 2^32"), stamp }
    }
}
