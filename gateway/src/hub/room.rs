//! One room on one worker.

use std::rc::Rc;

use slab::Slab;
use tidings_shared::{
    ids::{Cursor, RoomId, Seq},
    log::{Record, TailRead},
    protocol::server::ServerFrame,
};

use super::{Dispatch, Peer, Position, Refilled};
use crate::transport::Frame;

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
    live: bool,
    /// Everything visible up to here was sent by replay; live, it may be ahead of the room's position.
    sent: Seq,
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
        }
    }
}

impl<P: Peer> Room<P> {
    pub fn subscribe(&mut self, peer: Rc<P>, role: Rc<str>, stamp: u64) -> Subscription {
        let slot = self.subscribers.insert(Subscriber { peer, role, stamp, live: false, sent: Seq(0) });
        Subscription { slot: u32::try_from(slot).expect("fewer connections than 2^32"), stamp }
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

    pub fn role(&self, subscription: Subscription) -> Option<Rc<str>> {
        self.get(subscription).map(|subscriber| subscriber.role.clone())
    }

    pub fn newest(&self) -> Position {
        self.position.unwrap_or_default().max(self.seen)
    }

    pub fn live_position(&self) -> Option<Position> {
        self.position.filter(|_| self.live > 0)
    }

    fn get(&self, subscription: Subscription) -> Option<&Subscriber<P>> {
        self.subscribers.get(subscription.slot as usize).filter(|held| held.stamp == subscription.stamp)
    }

    pub fn dispatch(&mut self, record: &Record, frame: &Frame) -> Dispatch {
        let at = Position { epoch: record.epoch, seq: record.seq };
        self.seen = self.seen.max(at);
        let Some(position) = self.live_position() else { return Dispatch::Delivered };
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
        Dispatch::Delivered
    }

    fn deliver(&self, record: &Record, frame: &Frame) {
        let everyone = record.visibility().is_empty();
        for (_, subscriber) in &self.subscribers {
            let due = subscriber.live && subscriber.sent < record.seq;
            if due && (everyone || record.is_visible_to(subscriber.peer.user(), &subscriber.role)) {
                subscriber.peer.send(frame.clone());
            }
        }
    }

    pub fn suspect(&mut self) -> bool {
        let start = self.live > 0 && !self.refilling;
        self.refilling |= start;
        start
    }

    pub fn abandon_refill(&mut self) {
        self.refilling = false;
    }

    pub fn refill(&mut self, id: &RoomId, read: &TailRead) -> Refilled {
        let head = Position::of(&read.head);
        let Some(position) = self.live_position() else {
            self.refilling = false;
            return Refilled::FromTail;
        };
        if head < self.newest() {
            return Refilled::Again;
        }
        self.refilling = false;
        self.position = Some(head);
        let diverged = read.head.gap_after_position(position.epoch, position.seq).is_some();
        let records = if diverged { None } else { read.records_after(position.seq) };
        let new_epoch = head.epoch != position.epoch;
        let mut outcome = Refilled::FromTail;
        for (_, subscriber) in self.subscribers.iter_mut().filter(|(_, subscriber)| subscriber.live) {
            let sent = subscriber.sent.max(position.seq);
            let gap = read.head.gap_after_position(position.epoch, sent);
            let gap = gap.or_else(|| (records.is_none() && sent < head.seq).then_some(sent));
            if let Some(after) = gap {
                let head = Cursor::new(head.epoch, head.seq);
                subscriber
                    .peer
                    .send(Frame::text(ServerFrame::Gap { room: id, after, head: &head }.to_json()));
                subscriber.sent = head.seq;
                outcome = Refilled::Gap;
            } else if new_epoch {
                // Before the first record of the epoch: it takes the client's cursor there.
                let caught_up = ServerFrame::CaughtUp { room: id, epoch: head.epoch, seq: sent };
                subscriber.peer.send(Frame::text(caught_up.to_json()));
            }
        }
        for record in records.unwrap_or_default() {
            self.deliver(record, &Frame::text(record.json()));
        }
        outcome
    }

    pub fn go_live(&mut self, subscription: Subscription, reached: Position) -> bool {
        if self.get(subscription).is_none() {
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
        if let Some(subscriber) = self.subscribers.get_mut(subscription.slot as usize) {
            self.live += usize::from(!subscriber.live);
            subscriber.live = true;
            subscriber.sent = reached.seq;
        }
        true
    }

    pub fn replay(&self, subscription: Subscription, record: &Record) -> bool {
        let Some(subscriber) = self.get(subscription) else { return false };
        if record.is_visible_to(subscriber.peer.user(), &subscriber.role) {
            subscriber.peer.send(Frame::text(record.json()));
        }
        true
    }
}
