//! One room on one worker: its subscriptions, their roles, and what records mean for them.

mod refill;
mod watching;

use std::rc::Rc;

use slab::Slab;
use tidings_shared::{
    ids::{Epoch, RoomId, UserId},
    log::Record,
    role::REMOVED,
    sabotage::{self, Sabotage},
};

use super::{Dispatch, MarkRead, Peer, Position, Renewed, role::RoleNames, role::Roles};
use crate::transport::Frame;

pub use refill::RoomRead;

/// A subscription's place among its room's. The stamp tells it from a later one in the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    slot: u32,
    stamp: u64,
}

struct Subscriber<P> {
    peer: Rc<P>,
    role: Rc<str>,
    stamp: u64,
    /// The role is as of here; [`Position::UNREAD`] until the join has read it. Live, it was also sent everything
    /// visible up to here, or told the gap; that may be ahead of the room's position.
    known: Position,
    live: bool,
    /// The mark of a later change may be gone by now: where there is none, persistence is to be asked.
    doubted: bool,
    /// It is told of people who come and go.
    watches: bool,
}

pub(super) struct Room<P> {
    subscribers: Slab<Subscriber<P>>,
    live: usize,
    /// While somebody is live: all live subscriptions were sent everything up to here.
    position: Option<Position>,
    /// The highest record known to exist.
    seen: Position,
    refilling: bool,
    /// The server has confirmed that this node hears of the room.
    pub confirmed: bool,
    /// Subscriptions that ended because their users were removed, not yet told to the hub.
    pub ended: usize,
}

impl<P> Default for Room<P> {
    fn default() -> Self {
        Self {
            subscribers: Slab::new(),
            live: 0,
            position: None,
            seen: Position::default(),
            refilling: false,
            confirmed: false,
            ended: 0,
        }
    }
}

impl<P: Peer> Room<P> {
    pub fn subscribe(&mut self, peer: Rc<P>, role: Rc<str>, stamp: u64) -> Subscription {
        let known = Position::UNREAD;
        let subscriber = Subscriber { peer, role, stamp, known, live: false, doubted: false, watches: false };
        let slot = self.subscribers.insert(subscriber);
        Subscription::new(slot, stamp)
    }

    pub fn unsubscribe(&mut self, subscription: Subscription) {
        if self.get(subscription).is_some() {
            let gone = self.subscribers.remove(subscription.slot as usize);
            self.live -= usize::from(gone.live);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
    }

    pub fn has(&self, subscription: Subscription) -> bool {
        self.get(subscription).is_some()
    }

    pub fn is_live(&self, subscription: Subscription) -> bool {
        self.get(subscription).is_some_and(|subscriber| self.hears_live(subscriber))
    }

    pub fn role(&self, subscription: Subscription, epoch: Epoch) -> Option<Rc<str>> {
        let subscriber = self.get(subscription)?;
        let behind = subscriber.live && self.refilling;
        let of_epoch = subscriber.known != Position::UNREAD && subscriber.known.epoch == epoch;
        (of_epoch && !behind).then(|| subscriber.role.clone())
    }

    pub fn newest(&self) -> Position {
        self.position.unwrap_or_default().max(self.seen)
    }

    pub fn live_position(&self) -> Option<Position> {
        self.position.filter(|_| self.live > 0)
    }

    /// The users whose subscriptions have a role, each once, in order.
    pub fn users(&self) -> Vec<UserId> {
        let known = self.subscribers.iter().filter(|(_, subscriber)| subscriber.known != Position::UNREAD);
        let mut users: Vec<UserId> = known.map(|(_, subscriber)| subscriber.peer.user().clone()).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    fn get(&self, subscription: Subscription) -> Option<&Subscriber<P>> {
        self.subscribers.get(subscription.slot as usize).filter(|held| held.stamp == subscription.stamp)
    }

    fn get_mut(&mut self, subscription: Subscription) -> Option<&mut Subscriber<P>> {
        let held = self.subscribers.get_mut(subscription.slot as usize);
        held.filter(|held| held.stamp == subscription.stamp)
    }

    pub fn dispatch(&mut self, record: &Record, frame: &Frame, names: &mut RoleNames) -> Dispatch {
        let at = Position::of_record(record);
        self.seen = self.seen.max(at);
        let change = record.member_change();
        if let Some(change) = change {
            // Replay goes by the role now, so whoever replays has it now, whatever those who are live still miss.
            self.change(record.room(), at, change, false, names);
        }
        let Some(position) = self.live_position() else { return Dispatch::NobodyLive };
        if at <= position {
            if sabotage::is(Sabotage::Order) {
                self.deliver(record, frame);
            }
            return Dispatch::Stale;
        }
        if self.refilling {
            return Dispatch::RefillUnderWay;
        }
        if sabotage::is(Sabotage::Complete) && at.seq.0.is_multiple_of(50) {
            return Dispatch::Delivered;
        }
        let follows = at.epoch == position.epoch && at.seq == position.seq.next();
        if !follows && !sabotage::is(Sabotage::Complete) {
            self.refilling = true;
            return Dispatch::Refill;
        }
        self.deliver(record, frame);
        self.position = Some(at);
        if let Some(change) = change {
            self.change(record.room(), at, change, true, names);
        }
        Dispatch::Delivered
    }

    fn deliver(&self, record: &Record, frame: &Frame) {
        let (at, everyone) = (Position::of_record(record), record.visibility().is_empty());
        let everyone = everyone || sabotage::is(Sabotage::Private);
        for (_, subscriber) in &self.subscribers {
            let due = subscriber.live && (subscriber.known < at || sabotage::is(Sabotage::Order));
            if due && (everyone || record.is_visible_to(subscriber.peer.user().as_str(), &subscriber.role)) {
                subscriber.peer.share(frame);
            }
        }
    }

    /// What a change of membership at `at` means for the live, or for the replaying subscriptions of the user.
    fn change(&mut self, room: &str, at: Position, change: (&str, &str), live: bool, names: &mut RoleNames) {
        let (user, role) = change;
        let mut ended = 0;
        self.subscribers.retain(|slot, subscriber| {
            let meant =
                subscriber.live == live && subscriber.known < at && subscriber.peer.user().as_str() == user;
            if !meant {
                return true;
            }
            if role == REMOVED {
                subscriber.peer.ended(room, Subscription::new(slot, subscriber.stamp));
                ended += 1;
                return false;
            }
            subscriber.role = names.share(role);
            if !live {
                // A live one is moved by the room's position.
                subscriber.known = at;
            }
            true
        });
        self.ended += ended;
        self.live -= if live { ended } else { 0 };
    }

    /// Who is live, with their roles. Nobody whose removal may have been missed.
    pub fn live_peers(&self) -> impl Iterator<Item = (&P, &str)> {
        let live = self.subscribers.iter().filter(|(_, subscriber)| self.hears_live(subscriber));
        live.map(|(_, subscriber)| (&*subscriber.peer, &*subscriber.role))
    }

    fn hears_live(&self, subscriber: &Subscriber<P>) -> bool {
        subscriber.live && !subscriber.doubted && !self.refilling
    }

    pub fn suspect(&mut self) -> bool {
        let start = self.live > 0 && !self.refilling;
        self.refilling |= start;
        start
    }

    pub fn doubt(&mut self) {
        self.subscribers.iter_mut().for_each(|(_, subscriber)| subscriber.doubted = true);
    }

    pub fn abandon_refill(&mut self) {
        self.refilling = false;
    }

    /// Gives a new subscription the role that its join has read. Only what is `current` takes doubts away.
    pub fn settle(
        &mut self,
        subscription: Subscription,
        role: Rc<str>,
        head: Position,
        current: bool,
    ) -> bool {
        let Some(subscriber) = self.get_mut(subscription) else { return false };
        (subscriber.role, subscriber.known) = (role, head);
        subscriber.doubted &= !current;
        true
    }

    pub fn renew(
        &mut self,
        room: &RoomId,
        subscription: Subscription,
        (read, current): (MarkRead<'_>, bool),
        roles: Option<&Roles>,
        names: &mut RoleNames,
    ) -> Renewed {
        let MarkRead { head, mark, .. } = read;
        let Some(subscriber) = self.get_mut(subscription) else { return Renewed::Ended };
        if subscriber.known >= head {
            // Nothing is above what it knows, so nothing was missed.
            subscriber.doubted &= !current;
            return Renewed::Stands;
        }
        let role = match mark {
            Some(mark) => mark.role.as_deref(),
            None if subscriber.known.epoch == head.epoch && !subscriber.doubted => Some(&*subscriber.role),
            None => match roles.and_then(|roles| roles.told(head.epoch, subscriber.peer.user())) {
                Some(role) => role,
                None => return Renewed::RoleUnknown,
            },
        };
        if let Some(role) = role {
            (subscriber.role, subscriber.known) = (names.share(role), head);
            subscriber.doubted &= !current;
            return Renewed::Stands;
        }
        subscriber.peer.ended(room.as_str(), subscription);
        self.unsubscribe(subscription);
        self.ended += 1;
        Renewed::Ended
    }

    pub fn go_live(&mut self, subscription: Subscription, reached: Position) -> bool {
        // A role as of later would hold for records before it: it replays up to there.
        if self.get(subscription).is_none_or(|subscriber| subscriber.known != reached) {
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

    pub fn replay(&self, subscription: Subscription, record: &Record) -> bool {
        let Some(subscriber) = self.get(subscription) else { return false };
        if record.is_visible_to(subscriber.peer.user().as_str(), &subscriber.role) {
            subscriber.peer.send(Frame::text_once(record.json()));
        }
        true
    }
}

impl Subscription {
    /// Of no room: stamps begin with 1.
    pub const ENDED: Self = Self { slot: u32::MAX, stamp: 0 };

    fn new(slot: usize, stamp: u64) -> Self {
        Self { slot: u32::try_from(slot).expect("fewer connections than 2^32"), stamp }
    }
}
