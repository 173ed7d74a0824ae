//! Sends a record to the live subscriptions of a large room in slices, so that the worker can serve other rooms between
//! the slices.
//!
//! Between two slices the room's position stays before the record. The subscriptions that were sent the record are
//! ahead of the room, like subscriptions that went live above its position. So joins, leaves, refills and replays need
//! no rules for a record that is being sent in slices. At the end the record is dispatched like any other record. This
//! sends it to the subscriptions that no slice has sent it to, and moves the position.

use tidings_shared::log::Record;

use super::{HubEffects, Room};
use crate::{
    hub::{Peer, Position},
    transport::Frame,
};

/// Maximum number of subscriptions in a slice. Writing a frame to this many sockets takes less than 1 ms. A room with
/// at most this many live subscriptions is not sent slices. The tests of the hub have few subscriptions.
pub const MAX_SLICE_RECEIVERS: usize = if cfg!(test) { 2 } else { 128 };

impl<P: Peer> Room<P> {
    /// Carries out [`Hub::dispatch_slice`](crate::hub::Hub::dispatch_slice).
    pub(in crate::hub) fn send_slice(
        &mut self,
        record: &Record,
        frame: &Frame,
        from_slot: usize,
        effects: &mut HubEffects<P>,
    ) -> Option<usize> {
        let (at, position) = (Position::of_record(record), self.live_position()?);
        if self.refilling || (at.epoch, at.seq) != (position.epoch, position.seq.next()) {
            return None;
        }
        // A refill or a join whose read lacks this record must read again.
        self.newest_seen = self.newest_seen.max(at);
        let mut receivers = 0;
        for slot in from_slot..self.subscribers.capacity() {
            let Some(subscriber) = self.subscribers.get_mut(slot) else { continue };
            if !subscriber.live || subscriber.role_as_of >= at {
                continue;
            }
            if receivers == MAX_SLICE_RECEIVERS {
                return Some(slot);
            }
            receivers += 1;
            if subscriber.peer.try_send(frame) {
                // The role stays valid, because the record changes no membership.
                subscriber.role_as_of = at;
            } else {
                self.live_count -= 1;
                effects.lagging.push(subscriber.mark_lagging(slot, position));
            }
        }
        None
    }
}
