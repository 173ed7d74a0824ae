//! Bringing a room's live subscriptions up to what was read of it: the missing records in order, each with the role
//! that holds at its place, or the gap; then everybody's role as of the head.

use tidings_shared::{
    ids::{Cursor, RoomId, UserId},
    log::TailRead,
    protocol::server::ServerFrame,
};

use super::{Room, Subscriber, Subscription};
use crate::{
    hub::{Peer, Position, Refilled, role::RoleNames, role::Roles},
    transport::Frame,
};

/// What was read of a room for a refill.
#[derive(Debug, Clone, Copy)]
pub struct RoomRead<'a> {
    pub tail: &'a TailRead,
    /// Whose marks were read with it, in order.
    pub users: &'a [UserId],
    /// What persistence told, when it was asked.
    pub roles: Option<&'a Roles>,
}

/// What a read tells of one subscription's role as of the head.
enum Verdict<'a> {
    Stays,
    Role(&'a str),
    /// Not a member any more, since the change at this seq, where that is known.
    Removed(Option<tidings_shared::ids::Seq>),
    /// The user's mark was not read.
    NotRead,
    /// Persistence is to be asked first.
    NotAsked,
}

impl<'a> RoomRead<'a> {
    fn verdict<P: Peer>(&self, subscriber: &Subscriber<P>) -> Verdict<'a> {
        let (head, user) = (Position::of(&self.tail.head), subscriber.peer.user());
        if subscriber.known >= head {
            return Verdict::Stays;
        }
        let Ok(index) = self.users.binary_search(user) else { return Verdict::NotRead };
        if let Some(Some(mark)) = self.tail.marks.get(index) {
            return mark.role.as_deref().map_or(Verdict::Removed(Some(mark.seq)), Verdict::Role);
        }
        if subscriber.known.epoch == head.epoch && !subscriber.doubted {
            return Verdict::Stays;
        }
        match self.roles.and_then(|roles| roles.told(head.epoch, user)) {
            Some(Some(role)) => Verdict::Role(role),
            Some(None) => Verdict::Removed(None),
            None => Verdict::NotAsked,
        }
    }
}

impl<P: Peer> Room<P> {
    pub fn refill(&mut self, id: &RoomId, read: RoomRead<'_>, names: &mut RoleNames) -> Refilled {
        let tail = read.tail;
        let head = Position::of(&tail.head);
        let Some(position) = self.live_position() else {
            self.refilling = false;
            return Refilled::FromTail;
        };
        if head < self.newest() {
            return Refilled::Again;
        }
        let diverged = tail.head.gap_after_position(position.epoch, position.seq).is_some();
        let records = if diverged { None } else { tail.records_after(position.seq) };
        let gap_of = |subscriber: &Subscriber<P>| {
            if subscriber.known >= head {
                return None;
            }
            let sent = subscriber.known.seq.max(position.seq);
            let gap = tail.head.gap_after_position(position.epoch, sent);
            gap.or_else(|| (records.is_none() && sent < tail.head.seq).then_some(sent))
        };
        for (_, subscriber) in self.subscribers.iter().filter(|(_, subscriber)| subscriber.live) {
            match read.verdict(subscriber) {
                Verdict::NotAsked => return Refilled::RolesUnknown,
                // Without a gap all changes are among the records.
                Verdict::NotRead
                    if subscriber.doubted
                        || subscriber.known.epoch != head.epoch
                        || gap_of(subscriber).is_some() =>
                {
                    return Refilled::Again;
                }
                _ => {}
            }
        }
        // From here on nothing stops half-way.
        let mut outcome = Refilled::FromTail;
        let mut ended = Ended::default();
        self.subscribers.retain(|slot, subscriber| {
            if !subscriber.live {
                return true;
            }
            let sent = subscriber.known.seq.max(position.seq);
            let (gap, verdict) = (gap_of(subscriber), read.verdict(subscriber));
            if let Verdict::Removed(at) = verdict
                && (gap.is_some() || at.is_none_or(|at| at <= sent))
            {
                return ended.end(id, slot, subscriber);
            }
            if let Some(after) = gap {
                if let Verdict::Role(role) = verdict {
                    subscriber.role = names.share(role);
                }
                let head = Cursor::new(tail.head.epoch, tail.head.seq);
                let gap = ServerFrame::Gap { room: id, after, head: &head };
                subscriber.peer.send(Frame::text(gap.to_json()));
                (subscriber.known, subscriber.doubted) = (Position::of(&tail.head), false);
                outcome = Refilled::Gap;
            } else if position.epoch != head.epoch {
                // Before the first record of the epoch: it takes the client's cursor there.
                let caught_up = ServerFrame::CaughtUp { room: id, epoch: head.epoch, seq: sent };
                subscriber.peer.send(Frame::text(caught_up.to_json()));
            }
            true
        });
        ended.count_in(self);
        for record in records.unwrap_or_default() {
            self.deliver(record, &Frame::text(record.json()));
            if let Some(change) = record.member_change() {
                for live in [false, true] {
                    self.change(id.as_str(), Position::of_record(record), change, live, names);
                }
            }
        }
        self.know(id, read, names);
        (self.refilling, self.position) = (false, Some(head));
        outcome
    }

    /// Gives every subscription its role as of the head that was read, and ends those that have none any more.
    fn know(&mut self, id: &RoomId, read: RoomRead<'_>, names: &mut RoleNames) {
        let head = Position::of(&read.tail.head);
        let mut ended = Ended::default();
        self.subscribers.retain(|slot, subscriber| {
            match read.verdict(subscriber) {
                Verdict::Removed(_) => return ended.end(id, slot, subscriber),
                Verdict::Role(role) => subscriber.role = names.share(role),
                Verdict::Stays => {}
                // A live one has had all records; one that replays reads for itself.
                Verdict::NotRead | Verdict::NotAsked => {
                    if !subscriber.live {
                        return true;
                    }
                }
            }
            (subscriber.known, subscriber.doubted) = (subscriber.known.max(head), false);
            true
        });
        ended.count_in(self);
    }
}

/// Subscriptions that end in one go through all of them.
#[derive(Default)]
struct Ended {
    live: usize,
    all: usize,
}

impl Ended {
    fn end<P: Peer>(&mut self, room: &RoomId, slot: usize, subscriber: &Subscriber<P>) -> bool {
        subscriber.peer.ended(room.as_str(), Subscription::new(slot, subscriber.stamp));
        self.live += usize::from(subscriber.live);
        self.all += 1;
        false
    }

    fn count_in<P>(self, room: &mut Room<P>) {
        room.live -= self.live;
        room.ended += self.all;
    }
}
