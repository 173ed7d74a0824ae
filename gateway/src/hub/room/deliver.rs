//! Sends a record to the live subscriptions of a room. A large room is sent a record in slices, so that other rooms do
//! not wait until the record has been sent to all subscriptions of the large room.
//!
//! Between two slices the room's position stays before the record. The subscriptions that were sent the record are
//! ahead of the room, like subscriptions that went live above its position. So joins, leaves, refills and replays work
//! the same whether or not a record is being sent in slices.

use slab::Slab;
use tidings_shared::log::Record;

use super::{Room, Subscriber};
use crate::{
    hub::{Peer, Position},
    transport::Frame,
};

/// Maximum number of subscriptions in a slice. Writing a frame to 256 sockets takes less than 1 ms. A room with at most
/// this many live subscriptions gets each record at once. Tests use 2, because their rooms have few subscriptions.
pub const MAX_SLICE_RECEIVERS: usize = if cfg!(test) { 2 } else { 256 };

/// Calls `visit` for the subscriptions of one slice, which begins with the slot `from_slot`. Returns the slot with
/// which the next slice begins; `None` after the last slot.
pub(super) fn visit_slice<P>(
    subscribers: &mut Slab<Subscriber<P>>,
    from_slot: usize,
    mut visit: impl FnMut(usize, &mut Subscriber<P>),
) -> Option<usize> {
    let mut visited = 0;
    for slot in from_slot..subscribers.capacity() {
        let Some(subscriber) = subscribers.get_mut(slot) else { continue };
        if visited == MAX_SLICE_RECEIVERS {
            return Some(slot);
        }
        visit(slot, subscriber);
        visited += 1;
    }
    None
}

impl<P: Peer> Room<P> {
    /// Whether the room is sent records in slices.
    pub(super) fn is_large(&self) -> bool {
        self.live_count > MAX_SLICE_RECEIVERS
    }

    /// Sends a record to the live subscriptions that may see it. `before` is the position before the record.
    pub(super) fn deliver(&mut self, record: &Record, frame: &Frame, before: Position) {
        let (at, everyone) = (Position::of_record(record), record.visibility().is_empty());
        for (slot, subscriber) in &mut self.subscribers {
            let due = subscriber.live && subscriber.role_as_of < at;
            if due
                && (everyone || record.is_visible_to(subscriber.peer.user().as_str(), &subscriber.role))
                && !subscriber.peer.send_shared(frame)
            {
                self.live_count -= 1;
                self.lagging_slots.push((slot, subscriber.mark_lagging(before)));
            }
        }
    }

    /// Sends a record to the live subscriptions of one slice that may see it. Returns the slot with which the next
    /// slice begins. Leaves out the subscriptions of the user whose membership the record changes, because their role
    /// must change directly after they are sent the record. [`Room::deliver`] sends it to them after the last slice.
    pub(super) fn deliver_slice(
        &mut self,
        record: &Record,
        frame: &Frame,
        before: Position,
        from_slot: usize,
    ) -> Option<usize> {
        let (at, everyone) = (Position::of_record(record), record.visibility().is_empty());
        let changed_user = record.member_change().map(|(user, _)| user);
        let Self { subscribers, live_count, lagging_slots, .. } = self;
        visit_slice(subscribers, from_slot, |slot, subscriber| {
            let user = subscriber.peer.user().as_str();
            if !subscriber.live || subscriber.role_as_of >= at || changed_user == Some(user) {
                return;
            }
            let is_visible = everyone || record.is_visible_to(user, &subscriber.role);
            if is_visible && !subscriber.peer.send_shared(frame) {
                *live_count -= 1;
                lagging_slots.push((slot, subscriber.mark_lagging(before)));
            } else {
                subscriber.role_as_of = at;
            }
        })
    }
}
