//! Dispatches published records to the rooms of a hub: a record, a run of records, or a slice of a record.

use tidings_shared::log::Record;

use super::{DispatchOutcome, Hub, HubEffects, Peer, Position};
use crate::transport::{Frame, FrameRun};

impl<P: Peer> Hub<P> {
    /// Sends a published record to the room's live subscriptions that may see it, if it follows the last sent record. A
    /// record that changes a membership may end subscriptions.
    pub fn dispatch(&mut self, record: &Record, frame: &Frame) -> (DispatchOutcome, HubEffects<P>) {
        let absent = if record.is_live_only() { DispatchOutcome::Delivered } else { DispatchOutcome::Stale };
        self.change_room(record.room(), absent, |room, names, effects| {
            room.advance(record, frame, names, effects)
        })
    }

    /// Sends a run of consecutive records if `first`, its first record, follows the last sent record. Otherwise does
    /// nothing and returns false, and the caller must dispatch each record. The records of a run are events that every
    /// member may see and that change no membership.
    pub fn dispatch_run(&mut self, first: &Record, run: &FrameRun) -> (bool, HubEffects<P>) {
        self.change_room(first.room(), false, |room, _, effects| {
            room.advance_by_run(Position::of_record(first), run, effects)
        })
    }

    /// Sends a record to one slice of the live subscriptions of a large room, if it follows the last sent record. Every
    /// member must be allowed to see the record, and the record must not change a membership. The first slice begins
    /// with slot 0. Returns the slot with which the next slice begins; `None` if no slice is left. The effects count no
    /// receivers.
    ///
    /// At the end, or at any time before, the caller must call [`Hub::dispatch`] with the record. This sends the record
    /// to the subscriptions that no slice has sent it to. No other record of the room may be dispatched before that.
    pub fn dispatch_slice(
        &mut self,
        record: &Record,
        frame: &Frame,
        from_slot: usize,
    ) -> (Option<usize>, HubEffects<P>) {
        self.change_room(record.room(), None, |room, _, effects| {
            room.send_slice(record, frame, from_slot, effects)
        })
    }
}
