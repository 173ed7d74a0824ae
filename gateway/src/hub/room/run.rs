//! Sends a run of consecutive records together.

use tidings_shared::ids::Seq;

use super::{HubEffects, Room};
use crate::{
    hub::{Peer, Position},
    transport::FrameRun,
};

impl<P: Peer> Room<P> {
    /// Sends a run of consecutive records: see [`Hub::dispatch_run`](crate::hub::Hub::dispatch_run).
    pub(in crate::hub) fn advance_by_run(
        &mut self,
        first: Position,
        run: &FrameRun,
        effects: &mut HubEffects<P>,
    ) -> bool {
        let at = |index: usize| Position { seq: Seq(first.seq.0 + index as u64), ..first };
        let follows = self.live_position().is_some_and(|position| {
            (first.epoch, first.seq) == (position.epoch, position.seq.next()) && !self.refilling
        });
        if !follows || run.frames().is_empty() {
            return false;
        }
        effects.receivers = self.live_count;
        for (slot, subscriber) in self.subscribers.iter_mut().filter(|(_, subscriber)| subscriber.live) {
            let sent = if subscriber.role_as_of < first {
                subscriber.peer.try_send_run(run)
            } else {
                // This subscription went live above the room's position, so its peer already got the first records.
                let mut due = run.frames().iter().enumerate();
                due.position(|(index, frame)| {
                    subscriber.role_as_of < at(index) && !subscriber.peer.try_send(frame)
                })
                .unwrap_or(run.frames().len())
            };
            if sent < run.frames().len() {
                let before = Position { seq: Seq(at(sent).seq.0 - 1), ..first };
                self.live_count -= 1;
                effects.lagging.push(subscriber.mark_lagging(slot, before));
            }
        }
        let last = at(run.frames().len() - 1);
        self.newest_seen = self.newest_seen.max(last);
        self.position = Some(last);
        true
    }
}
