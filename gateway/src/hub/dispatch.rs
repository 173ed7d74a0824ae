//! Dispatches published records to the rooms of a hub: a record, a run of records, or a slice of a record.

use tidings_shared::log::Record;

use super::{DispatchOutcome, EndedSubscriptions, Hub, LaggingSubscription, Peer, Position};
use crate::transport::{Frame, FrameRun};

impl<P: Peer> Hub<P> {
    /// Sends a published record to the room's live subscriptions that may see it, if it follows the last sent record. A
    /// record that changes a membership may end subscriptions.
    pub fn dispatch(&mut self, record: &Record, frame: &Frame) -> (DispatchOutcome, EndedSubscriptions) {
        if record.is_live_only() {
            if let Some(room) = self.rooms.get_mut(record.room()) {
                self.receivers += room.live_count();
                room.deliver_live_only(record, frame);
                room.drain_lagging(record.room(), &mut self.lagging);
            }
            return (DispatchOutcome::Delivered, EndedSubscriptions::default());
        }
        let Some(room) = self.rooms.get_mut(record.room()) else {
            return (DispatchOutcome::Stale, EndedSubscriptions::default());
        };
        self.receivers += room.live_count();
        let outcome = room.dispatch(record, frame, &mut self.names);
        room.drain_lagging(record.room(), &mut self.lagging);
        if record.membership().is_empty() {
            return (outcome, EndedSubscriptions::default());
        }
        (outcome, self.collect_ended(record.room()))
    }

    /// Sends a run of consecutive records if `first`, its first record, follows the last sent record. Otherwise does
    /// nothing and returns false, and the caller must dispatch each record. The records of a run are events that every
    /// member may see and that change no membership.
    pub fn dispatch_run(&mut self, first: &Record, run: &FrameRun) -> bool {
        let Some(room) = self.rooms.get_mut(first.room()) else { return false };
        let receivers = room.live_count();
        let sent = room.dispatch_run(Position::of_record(first), run);
        self.receivers += if sent { receivers } else { 0 };
        room.drain_lagging(first.room(), &mut self.lagging);
        sent
    }

    /// Sends a record to one slice of the live subscriptions of a large room, if it follows the last sent record. Every
    /// member must be allowed to see the record, and the record must not change a membership. The first slice begins
    /// with slot 0. Returns the slot with which the next slice begins; `None` if no slice is left.
    ///
    /// At the end, or at any time before, the caller must call [`Hub::dispatch`] with the record. This sends the record
    /// to the subscriptions that no slice has sent it to. No other record of the room may be dispatched before that.
    pub fn dispatch_slice(&mut self, record: &Record, frame: &Frame, from_slot: usize) -> Option<usize> {
        let room = self.rooms.get_mut(record.room())?;
        let next_slot = room.dispatch_slice(record, frame, from_slot);
        room.drain_lagging(record.room(), &mut self.lagging);
        next_slot
    }

    /// Takes the number of live subscriptions to which records were dispatched since the last call. The time that the
    /// deliveries took grows with this number.
    pub fn take_receiver_count(&mut self) -> usize {
        std::mem::take(&mut self.receivers)
    }

    /// Takes the subscriptions that became lagging since the last call.
    pub fn take_lagging(&mut self) -> Vec<LaggingSubscription<P>> {
        std::mem::take(&mut self.lagging)
    }
}
