//! Brings a room's live subscriptions up to the head of a read of the room. Each live subscription is sent the missing
//! records that its role at the record's position may see, or `room:gap`. Then all roles are updated to the head.

use tidings_shared::{
    ids::{Cursor, RoomId, Seq, UserId},
    log::TailRead,
    protocol::server::ServerFrame,
};

use super::{HubEffects, Room, Subscriber};
use crate::{
    hub::{Peer, Position, RefillOutcome, role::RoleNames, role::StoredRoles},
    transport::Frame,
};

/// A read of a room for a refill.
#[derive(Debug, Clone, Copy)]
pub struct RoomRead<'a> {
    pub tail: &'a TailRead,
    /// The users whose membership marks were read, sorted.
    pub users: &'a [UserId],
    /// The roles that persistence returned; `None` if the roles were not read.
    pub roles: Option<&'a StoredRoles>,
}

/// The role of one subscription as of the head, as far as a read shows it.
enum RoleVerdict<'a> {
    Unchanged,
    Role(&'a str),
    /// The user was removed by the change at this seq; `None` if only persistence reported the removal.
    Removed(Option<Seq>),
    /// The user's membership mark was not read.
    MarkNotRead,
    /// No membership mark shows the role as of the head, and the role was not read from persistence.
    RoleNotRead,
}

impl<'a> RoomRead<'a> {
    fn role_verdict<P: Peer>(&self, subscriber: &Subscriber<P>) -> RoleVerdict<'a> {
        let (head, user) = (Position::of_head(&self.tail.head), subscriber.peer.user());
        if subscriber.role_as_of >= head {
            return RoleVerdict::Unchanged;
        }
        let Ok(index) = self.users.binary_search(user) else { return RoleVerdict::MarkNotRead };
        if let Some(Some(mark)) = self.tail.marks.get(index) {
            return mark.role.as_deref().map_or(RoleVerdict::Removed(Some(mark.seq)), RoleVerdict::Role);
        }
        if subscriber.role_as_of.epoch == head.epoch && !subscriber.marks_expired {
            return RoleVerdict::Unchanged;
        }
        match self.roles.and_then(|roles| roles.get(head.epoch, user)) {
            Some(Some(role)) => RoleVerdict::Role(role),
            Some(None) => RoleVerdict::Removed(None),
            None => RoleVerdict::RoleNotRead,
        }
    }
}

impl<P: Peer> Room<P> {
    /// Whether a refill is running.
    pub fn is_refilling(&self) -> bool {
        self.refilling
    }

    /// The users whose subscriptions have a role, sorted and unique. A refill must read their membership marks.
    pub fn users_with_known_role(&self) -> Vec<UserId> {
        let with_role =
            self.subscribers.iter().filter(|(_, subscriber)| subscriber.role_as_of != Position::UNREAD);
        let mut users: Vec<UserId> =
            with_role.map(|(_, subscriber)| subscriber.peer.user().clone()).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// Carries out [`Hub::refill`](crate::hub::Hub::refill). A call that returns `Retry` or `RolesUnknown` has changed
    /// nothing, so the refill still runs.
    pub(in crate::hub) fn refill(
        &mut self,
        id: &RoomId,
        read: RoomRead<'_>,
        names: &mut RoleNames,
        effects: &mut HubEffects<P>,
    ) -> RefillOutcome {
        let tail = read.tail;
        let head = Position::of_head(&tail.head);
        let Some(position) = self.live_position() else {
            self.refilling = false;
            return RefillOutcome::FromTail;
        };
        if head < self.newest_position() {
            return RefillOutcome::Retry;
        }
        let diverged = tail.head.gap_after_position(position.epoch, position.seq).is_some();
        let records = if diverged { None } else { tail.records_after(position.seq) };
        let gap_of = |subscriber: &Subscriber<P>| {
            if subscriber.role_as_of >= head {
                return None;
            }
            let sent = subscriber.role_as_of.seq.max(position.seq);
            let gap = tail.head.gap_after_position(position.epoch, sent);
            gap.or_else(|| (records.is_none() && sent < tail.head.seq).then_some(sent))
        };
        for (_, subscriber) in self.subscribers.iter().filter(|(_, subscriber)| subscriber.live) {
            // A subscription without a gap needs neither mark nor stored role, because the records include every change
            // of the role since `role_as_of`. If the head is of a later epoch, `role_as_of` is at or below that epoch's
            // base, up to which both epochs have the same events.
            match read.role_verdict(subscriber) {
                RoleVerdict::RoleNotRead if gap_of(subscriber).is_some() => {
                    return RefillOutcome::RolesUnknown;
                }
                RoleVerdict::MarkNotRead if gap_of(subscriber).is_some() => return RefillOutcome::Retry,
                _ => {}
            }
        }
        // From here on the refill must not return early, because it changes subscriptions.
        let mut outcome = RefillOutcome::FromTail;
        self.retain_subscribers(effects, |subscriber| {
            if !subscriber.live {
                return true;
            }
            let sent = subscriber.role_as_of.seq.max(position.seq);
            let (gap, role_verdict) = (gap_of(subscriber), read.role_verdict(subscriber));
            if let RoleVerdict::Removed(at) = role_verdict
                && (gap.is_some() || at.is_none_or(|at| at <= sent))
            {
                return false;
            }
            if let Some(after) = gap {
                if let RoleVerdict::Role(role) = role_verdict {
                    subscriber.role = names.intern(role);
                }
                let head = Cursor::new(tail.head.epoch, tail.head.seq);
                let gap = ServerFrame::Gap { room: id, after, head: &head };
                subscriber.peer.send(Frame::text(gap.to_json()));
                (subscriber.role_as_of, subscriber.marks_expired) = (Position::of_head(&tail.head), false);
                outcome = RefillOutcome::Gap;
            } else if position.epoch != head.epoch {
                // `room:caught_up` comes before the first record of the new epoch, because this frame moves the
                // client's cursor to that epoch.
                let caught_up = ServerFrame::CaughtUp { room: id, epoch: head.epoch, seq: sent };
                subscriber.peer.send(Frame::text(caught_up.to_json()));
            }
            true
        });
        for record in records.unwrap_or_default() {
            // The subscriptions are now in the head's epoch, which has all records up to the head.
            let before = Position { seq: Seq(record.seq.0 - 1), ..head };
            self.send_to_live(record, &Frame::text(record.json()), before, effects);
            if let Some(change) = record.member_change() {
                let at = Position::of_record(record);
                for live in [false, true] {
                    self.apply_membership_change(at, change, live, names, effects);
                }
            }
        }
        self.update_roles(read, names, effects);
        (self.refilling, self.position) = (false, Some(head));
        outcome
    }

    /// Ends the live subscriptions and the refill.
    pub(in crate::hub) fn end_live_subscriptions(&mut self, effects: &mut HubEffects<P>) {
        self.retain_subscribers(effects, |subscriber| !subscriber.live);
        self.refilling = false;
    }

    /// Sets every subscription's role as of the head that was read, and ends the subscriptions of removed users.
    fn update_roles(&mut self, read: RoomRead<'_>, names: &mut RoleNames, effects: &mut HubEffects<P>) {
        let head = Position::of_head(&read.tail.head);
        self.retain_subscribers(effects, |subscriber| {
            match read.role_verdict(subscriber) {
                RoleVerdict::Removed(_) => return false,
                RoleVerdict::Role(role) => subscriber.role = names.intern(role),
                RoleVerdict::Unchanged => {}
                // A live subscription got its role from the records. A replaying subscription's role is read later.
                RoleVerdict::MarkNotRead | RoleVerdict::RoleNotRead => {
                    if !subscriber.live {
                        return true;
                    }
                }
            }
            (subscriber.role_as_of, subscriber.marks_expired) = (subscriber.role_as_of.max(head), false);
            true
        });
    }
}
