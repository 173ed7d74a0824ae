//! One room on one worker: its subscriptions, their roles, and the delivery of records.

mod effects;
mod live;
mod refill;
mod run;
mod slice;

use std::rc::Rc;

use slab::Slab;
use tidings_shared::{ids::Epoch, log::Record, role::REMOVED, sabotage::is_removed};

use super::{DispatchOutcome, MarkRead, Peer, Position, RoleRefresh, role::RoleNames, role::StoredRoles};
use crate::transport::Frame;

pub use effects::{EndedSubscription, HubEffects, LaggingSubscription};
pub use refill::RoomRead;
pub use slice::MAX_SLICE_RECEIVERS;

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
    /// The position as of which `role` is valid; [`Position::UNREAD`] until the join has read the role. A live
    /// subscription was sent all visible records up to this position, or `room:gap`, even if the room's position is
    /// lower.
    role_as_of: Position,
    live: bool,
    /// Whether a later membership mark may have expired, so that a read without a mark does not show the role.
    marks_expired: bool,
    watches_presence: bool,
}

/// The subscriptions of one room on this worker, and the room's position.
pub struct Room<P> {
    subscribers: Slab<Subscriber<P>>,
    live_count: usize,
    /// The position up to which all live subscriptions were sent the records; valid while a subscription is live.
    position: Option<Position>,
    newest_seen: Position,
    refilling: bool,
    /// Whether Redis has confirmed the subscription to the room's channel.
    pub channel_confirmed: bool,
}

impl<P> Default for Room<P> {
    fn default() -> Self {
        Self {
            subscribers: Slab::new(),
            live_count: 0,
            position: None,
            newest_seen: Position::default(),
            refilling: false,
            channel_confirmed: false,
        }
    }
}

impl<P: Peer> Room<P> {
    /// Adds a replaying subscription. `role` is a placeholder until the role was read; `stamp` is unique in the hub.
    pub fn subscribe(&mut self, peer: Rc<P>, role: Rc<str>, stamp: u64) -> Subscription {
        let subscriber = Subscriber {
            peer,
            role,
            stamp,
            role_as_of: Position::UNREAD,
            live: false,
            marks_expired: false,
            watches_presence: false,
        };
        let slot = self.subscribers.insert(subscriber);
        Subscription::new(slot, stamp)
    }

    /// Removes a subscription whose peer has ended it. Does nothing if the subscription is already removed.
    pub fn unsubscribe(&mut self, subscription: Subscription) {
        if self.get(subscription).is_some() {
            let removed = self.subscribers.remove(subscription.slot as usize);
            self.live_count -= usize::from(removed.live);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }

    pub fn has_subscription(&self, subscription: Subscription) -> bool {
        self.get(subscription).is_some()
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
    pub fn newest_position(&self) -> Position {
        self.position.unwrap_or_default().max(self.newest_seen)
    }

    /// The position up to which the live subscriptions were sent all records; `None` if no subscription is live.
    pub fn live_position(&self) -> Option<Position> {
        self.position.filter(|_| self.live_count > 0)
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

    /// Carries out [`Hub::dispatch`](super::Hub::dispatch).
    pub(super) fn advance(
        &mut self,
        record: &Record,
        frame: &Frame,
        names: &mut RoleNames,
        effects: &mut HubEffects<P>,
    ) -> DispatchOutcome {
        effects.receivers = self.live_count;
        if record.is_live_only() {
            self.send_live_only(record, frame, effects);
            return DispatchOutcome::Delivered;
        }
        let at = Position::of_record(record);
        self.newest_seen = self.newest_seen.max(at);
        let change = record.member_change();
        if let Some(change) = change {
            // A replaying subscription takes the new role at once, even while records are missing.
            self.apply_membership_change(at, change, false, names, effects);
        }
        let Some(position) = self.live_position() else { return DispatchOutcome::NobodyLive };
        if at <= position {
            return DispatchOutcome::Stale;
        }
        if self.refilling {
            return DispatchOutcome::RefillUnderWay;
        }
        let is_other_epoch = at.epoch != position.epoch && !is_removed("hint of another epoch");
        if is_other_epoch || at.seq != position.seq.next() {
            (self.refilling, effects.must_refill) = (true, true);
            return DispatchOutcome::Refill;
        }
        self.send_to_live(record, frame, position, effects);
        self.position = Some(at);
        if let Some(change) = change {
            // Subscriptions that did not take this record are not live any more, and need the new role too.
            for live in [false, true] {
                self.apply_membership_change(at, change, live, names, effects);
            }
        }
        DispatchOutcome::Delivered
    }

    /// Sends a record to the live subscriptions that may see it. `before` is the position before the record.
    fn send_to_live(
        &mut self,
        record: &Record,
        frame: &Frame,
        before: Position,
        effects: &mut HubEffects<P>,
    ) {
        let (at, everyone) = (Position::of_record(record), record.visibility().is_empty());
        for (slot, subscriber) in &mut self.subscribers {
            let due = subscriber.live && subscriber.role_as_of < at;
            if due
                && (everyone || record.is_visible_to(subscriber.peer.user().as_str(), &subscriber.role))
                && !subscriber.peer.try_send(frame)
            {
                self.live_count -= 1;
                effects.lagging.push(subscriber.mark_lagging(slot, before));
            }
        }
    }

    /// Applies a membership change at the position `at` to the user's live subscriptions if `live` is true, or else to
    /// the user's replaying subscriptions.
    fn apply_membership_change(
        &mut self,
        at: Position,
        (user, role): (&str, &str),
        live: bool,
        names: &mut RoleNames,
        effects: &mut HubEffects<P>,
    ) {
        self.retain_subscribers(effects, |subscriber| {
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

    /// Ends the subscriptions for which `keep` returns false.
    fn retain_subscribers(
        &mut self,
        effects: &mut HubEffects<P>,
        mut keep: impl FnMut(&mut Subscriber<P>) -> bool,
    ) {
        let live_count = &mut self.live_count;
        self.subscribers.retain(|slot, subscriber| {
            let kept = keep(subscriber);
            if !kept {
                let subscription = Subscription::new(slot, subscriber.stamp);
                effects.ended.push(EndedSubscription { peer: subscriber.peer.clone(), subscription });
                *live_count -= usize::from(subscriber.live);
            }
            kept
        });
    }

    /// Marks the room as being refilled. Returns false if no subscription is live, or if a refill is already running.
    pub fn begin_refill(&mut self) -> bool {
        let begins = self.live_count > 0 && !self.refilling;
        self.refilling |= begins;
        begins
    }

    /// Records that marks may have expired unread. Then a missing mark does not mean that a role is unchanged.
    pub fn expire_marks(&mut self) {
        self.subscribers.iter_mut().for_each(|(_, subscriber)| subscriber.marks_expired = true);
    }

    /// Ends a refill that sends no records. Must be called only if the room has no live subscription.
    pub fn abandon_refill(&mut self) {
        self.refilling = false;
    }

    /// Sets the role that the join has read; false if the subscription has ended. `current` means that the read began
    /// in the hub's current generation, so marks that expired earlier do not matter.
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
        subscription: Subscription,
        (read, current): (MarkRead<'_>, bool),
        roles: Option<&StoredRoles>,
        names: &mut RoleNames,
        effects: &mut HubEffects<P>,
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
        self.end_subscription(subscription, effects);
        RoleRefresh::Ended
    }

    /// Ends a subscription in the same way as a removal of its user.
    pub fn end_subscription(&mut self, subscription: Subscription, effects: &mut HubEffects<P>) {
        self.retain_subscribers(effects, |subscriber| subscriber.stamp != subscription.stamp);
    }

    /// Makes a replaying subscription live. Returns false if the replay must continue, because the room may have newer
    /// records or another epoch: see [`Hub::go_live`](super::Hub::go_live).
    pub fn go_live(&mut self, subscription: Subscription, reached: Position) -> bool {
        // A role as of a later position is not valid for earlier records, so the replay must reach that position.
        if self.get(subscription).is_none_or(|subscriber| subscriber.role_as_of != reached) {
            return false;
        }
        if self.live_count == 0 {
            if reached < self.newest_position() {
                return false;
            }
            self.position = Some(reached);
        } else if self.position.is_none_or(|position| reached.epoch != position.epoch || reached < position) {
            return false;
        }
        if let Some(subscriber) = self.get_mut(subscription)
            && !std::mem::replace(&mut subscriber.live, true)
        {
            self.live_count += 1;
        }
        true
    }

    /// Sends a record to a replaying subscription, if its user may see it. Returns false if the subscription has ended.
    pub fn replay_record(&self, subscription: Subscription, record: &Record) -> bool {
        let Some(subscriber) = self.get(subscription) else { return false };
        if record.is_visible_to(subscriber.peer.user().as_str(), &subscriber.role) {
            subscriber.peer.send(Frame::text_for_one(record.json()));
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
