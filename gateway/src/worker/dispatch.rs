//! Dispatches records to the hub of a worker, and starts the refills and replays that follow from the outcome.

use std::rc::Rc;

use tidings_shared::ids::RoomId;

use super::{Worker, refill};
use crate::{
    bus::PublishedRecord,
    hub::DispatchOutcome,
    transport::{Frame, FrameRun},
};

impl Worker {
    /// Dispatches a record, and does what its outcome requires. Adds the number of receivers to `receivers`. Returns
    /// the slot from which the record must be dispatched again if it was sent only to a slice of a large room.
    pub(super) fn dispatch(
        self: &Rc<Self>,
        record: &PublishedRecord,
        frame: &Frame,
        from_slot: usize,
        receivers: &mut usize,
    ) -> Option<usize> {
        let (outcome, ended, lagging) = {
            let mut hub = self.hub.borrow_mut();
            let (outcome, ended) = hub.dispatch(record, frame, from_slot);
            *receivers += hub.take_receiver_count();
            (outcome, ended, hub.take_lagging())
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
        if let DispatchOutcome::Partial(next_slot) = outcome { Some(next_slot) } else { None }
    }

    /// Dispatches a run. Returns `None` if each record must be dispatched by itself.
    pub(super) fn dispatch_run(
        self: &Rc<Self>,
        first: &PublishedRecord,
        run: &FrameRun,
        from_slot: usize,
        receivers: &mut usize,
    ) -> Option<DispatchOutcome> {
        let (outcome, lagging) = {
            let mut hub = self.hub.borrow_mut();
            let outcome = hub.dispatch_run(first, run, from_slot);
            *receivers += hub.take_receiver_count();
            (outcome, hub.take_lagging())
        };
        self.replay_lagging(lagging);
        outcome
    }
}
