//! Dispatches records to the hub of a worker, and starts the refills and replays that this requires.

use std::rc::Rc;

use tidings_shared::ids::RoomId;

use super::{Worker, refill};
use crate::{
    bus::PublishedRecord,
    hub::DispatchOutcome,
    transport::{Frame, FrameRun},
};

impl Worker {
    /// Dispatches a record, and does what its outcome requires. Returns the number of receivers.
    pub(super) fn dispatch(self: &Rc<Self>, record: &PublishedRecord, frame: &Frame) -> usize {
        let (outcome, ended, receivers, lagging) = {
            let mut hub = self.hub.borrow_mut();
            let (outcome, ended) = hub.dispatch(record, frame);
            (outcome, ended, hub.take_receiver_count(), hub.take_lagging())
        };
        self.release_ended(&ended);
        self.replay_lagging(lagging);
        if outcome == DispatchOutcome::Delivered {
            record.mark_delivered();
        }
        if outcome == DispatchOutcome::Refill {
            self.node.metrics.holes.inc();
            if let Ok(room) = RoomId::parse(record.room()) {
                tokio::task::spawn_local(refill::run_refill(self.clone(), room));
            }
        }
        receivers
    }

    /// Dispatches a run, and returns the number of receivers; `None` if each record must be dispatched by itself.
    pub(super) fn dispatch_run(self: &Rc<Self>, first: &PublishedRecord, run: &FrameRun) -> Option<usize> {
        let (sent, receivers, lagging) = {
            let mut hub = self.hub.borrow_mut();
            let sent = hub.dispatch_run(first, run);
            (sent, hub.take_receiver_count(), hub.take_lagging())
        };
        self.replay_lagging(lagging);
        sent.then_some(receivers)
    }

    /// Sends a slice of a record: see [`Hub::dispatch_slice`](crate::hub::Hub::dispatch_slice).
    pub(super) fn dispatch_slice(
        self: &Rc<Self>,
        record: &PublishedRecord,
        frame: &Frame,
        from_slot: usize,
    ) -> Option<usize> {
        let (next_slot, lagging) = {
            let mut hub = self.hub.borrow_mut();
            (hub.dispatch_slice(record, frame, from_slot), hub.take_lagging())
        };
        self.replay_lagging(lagging);
        next_slot
    }
}
