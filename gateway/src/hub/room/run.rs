//! Sends a run of consecutive records together.

use tidings_shared::ids::Seq;

use super::{Room, Subscriber, deliver::visit_slice};
use crate::{
    hub::{DispatchOutcome, Peer, Position},
    transport::FrameRun,
};

impl<P: Peer> Room<P> {
    /// Sends a run of consecutive records: see [`Hub::dispatch_run`](crate::hub::Hub::dispatch_run).
    pub(in crate::hub) fn dispatch_run(
        &mut self,
        first: Position,
        run: &FrameRun,
        from_slot: usize,
    ) -> Option<DispatchOutcome> {
        let at = |index: usize| Position { seq: Seq(first.seq.0 + index as u64), ..first };
        let follows = self.live_position().is_some_and(|position| {
            (first.epoch, first.seq) == (position.epoch, position.seq.next()) && !self.refilling
        });
        if !follows || run.frames().is_empty() {
            return None;
        }
        let last = at(run.frames().len() - 1);
        self.newest_seen = self.newest_seen.max(last);
        let is_large = self.is_large();
        let Self { subscribers, live_count, lagging_slots, .. } = self;
        // Returns whether the subscription was sent the whole run.
        let mut send = |slot: usize, subscriber: &mut Subscriber<P>| {
            let sent = if subscriber.role_as_of < first {
                subscriber.peer.send_run(run)
            } else if subscriber.role_as_of >= last {
                return true;
            } else {
                // This subscription went live above the room's position, so its peer already got the first records.
                let mut due = run.frames().iter().enumerate();
                due.position(|(index, frame)| {
                    subscriber.role_as_of < at(index) && !subscriber.peer.send_shared(frame)
                })
                .unwrap_or(run.frames().len())
            };
            if sent < run.frames().len() {
                let before = Position { seq: Seq(at(sent).seq.0 - 1), ..first };
                *live_count -= 1;
                lagging_slots.push((slot, subscriber.mark_lagging(before)));
            }
            subscriber.live
        };
        if is_large {
            let next_slot = visit_slice(subscribers, from_slot, |slot, subscriber| {
                if subscriber.live && send(slot, subscriber) {
                    subscriber.role_as_of = subscriber.role_as_of.max(last);
                }
            });
            if let Some(next_slot) = next_slot {
                return Some(DispatchOutcome::Partial(next_slot));
            }
        }
        for (slot, subscriber) in subscribers.iter_mut().filter(|(_, subscriber)| subscriber.live) {
            send(slot, subscriber);
        }
        self.position = Some(last);
        Some(DispatchOutcome::Delivered)
    }
}
