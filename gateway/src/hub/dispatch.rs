//! Dispatches published records to the rooms of a hub.

use tidings_shared::log::Record;

use super::{
    DispatchOutcome, EndedSubscriptions, Hub, LaggingSubscription, Peer, Position, room::MAX_SLICE_RECEIVERS,
};
use crate::transport::{Frame, FrameRun};

impl<P: Peer> Hub<P> {
    /// Sends a published record to the room's live subscriptions that may see it, if it follows the last sent record. A
    /// record that changes a membership may end subscriptions. A large room is sent the record in slices. The first
    /// call has the `from_slot` 0. [`DispatchOutcome::Partial`] contains the `from_slot` of the next call.
    pub fn dispatch(
        &mut self,
        record: &Record,
        frame: &Frame,
        from_slot: usize,
    ) -> (DispatchOutcome, EndedSubscriptions) {
        if record.is_live_only() {
            let mut next_slot = None;
            if let Some(room) = self.rooms.get_mut(record.room()) {
                self.receivers += room.live_count().min(MAX_SLICE_RECEIVERS);
                next_slot = room.deliver_live_only(record, frame, from_slot);
                room.drain_lagging(record.room(), &mut self.lagging);
            }
            let outcome = next_slot.map_or(DispatchOutcome::Delivered, DispatchOutcome::Partial);
            return (outcome, EndedSubscriptions::default());
        }
        let Some(room) = self.rooms.get_mut(record.room()) else {
            return (DispatchOutcome::Stale, EndedSubscriptions::default());
        };
        self.receivers += room.live_count().min(MAX_SLICE_RECEIVERS);
        let outcome = room.dispatch(record, frame, from_slot, &mut self.names);
        room.drain_lagging(record.room(), &mut self.lagging);
        if record.membership().is_empty() {
            return (outcome, EndedSubscriptions::default());
        }
        (outcome, self.collect_ended(record.room()))
    }

    /// Sends a run of consecutive records if `first`, its first record, follows the last sent record. Otherwise does
    /// nothing and returns `None`, and the caller must dispatch each record. The records of a run are events that every
    /// member may see and that change no membership. A large room is sent the run in slices, like a record.
    pub fn dispatch_run(
        &mut self,
        first: &Record,
        run: &FrameRun,
        from_slot: usize,
    ) -> Option<DispatchOutcome> {
        let room = self.rooms.get_mut(first.room())?;
        let receivers = room.live_count().min(MAX_SLICE_RECEIVERS);
        let outcome = room.dispatch_run(Position::of_record(first), run, from_slot)?;
        self.receivers += receivers;
        room.drain_lagging(first.room(), &mut self.lagging);
        Some(outcome)
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
