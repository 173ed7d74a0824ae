//! Membership notices that arrived before the records of the changes that they report. In a Redis Cluster, a room and a
//! user may be in different shards, so two connections bring records and notices. A connection that has joined the room
//! must get the records before the notice. So the notice waits until the room has reached the record, at most a second.
//! If the record does not arrive soon, it may be lost, and the room is refilled. With a single Redis, a notice arrives
//! after its record, and waits only if the record was lost.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tidings_shared::ids::{RoomId, UserId};

use super::DeliveryTask;
use crate::bus::UserEvent;

/// Pause between two checks whether the rooms have reached the records.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// When a notice has waited this long, its room is refilled.
const REFILL_AFTER: Duration = Duration::from_millis(100);
/// When a notice has waited this long, it is sent although the room has not reached the record.
const MAX_DELAY: Duration = Duration::from_secs(1);
/// Maximum number of notices that wait. If there are more, all of them are sent.
const MAX_WAITING: usize = 4096;

struct DelayedEvent {
    user: UserId,
    event: Arc<UserEvent>,
    arrived_at: Instant,
    refill_requested: bool,
}

/// The waiting events of a worker, in the order of their arrival.
#[derive(Default)]
pub(super) struct DelayedEvents(VecDeque<DelayedEvent>);

impl DelayedEvents {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the events that must be sent now. `is_early` tells whether an event's room has not reached its record.
    /// Also returns the rooms to refill.
    fn take_due(
        &mut self,
        now: Instant,
        is_early: impl Fn(&UserId, &UserEvent) -> bool,
    ) -> (Vec<DelayedEvent>, Vec<RoomId>) {
        let (mut due, mut rooms) = (Vec::new(), Vec::new());
        for mut delayed in std::mem::take(&mut self.0) {
            let waited = now.saturating_duration_since(delayed.arrived_at);
            if waited >= MAX_DELAY || !is_early(&delayed.user, &delayed.event) {
                due.push(delayed);
                continue;
            }
            if waited >= REFILL_AFTER && !std::mem::replace(&mut delayed.refill_requested, true) {
                rooms.extend(delayed.event.room().cloned());
            }
            self.0.push_back(delayed);
        }
        (due, rooms)
    }
}

impl DeliveryTask {
    /// Sends an event to a user's connections. If the event's room has not reached its record, the event waits.
    pub(super) fn send_event(&mut self, user: UserId, event: Arc<UserEvent>) {
        let is_of_room = event.room().is_some();
        // While events wait, a later event waits behind them, and is checked with them.
        let must_wait = is_of_room && (!self.delayed.is_empty() || self.worker.is_early(&user, &event));
        if !must_wait {
            return self.send_now(&user, &event);
        }
        if self.delayed.0.len() >= MAX_WAITING {
            // A notice must not overtake an earlier one.
            let due = std::mem::take(&mut self.delayed.0);
            self.send_all(due);
            return self.send_now(&user, &event);
        }
        self.queue.add_bytes(event.bytes());
        self.delayed.0.push_back(DelayedEvent {
            user,
            event,
            arrived_at: Instant::now(),
            refill_requested: false,
        });
    }

    /// Sends the waiting events whose rooms have reached their records, and those that have waited too long.
    pub(super) fn send_delayed(&mut self) {
        if self.delayed.is_empty() {
            return;
        }
        let worker = &self.worker;
        let (due, rooms) = self.delayed.take_due(Instant::now(), |user, event| worker.is_early(user, event));
        rooms.iter().for_each(|room| worker.request_refill(room));
        self.send_all(due);
    }

    fn send_all(&mut self, events: impl IntoIterator<Item = DelayedEvent>) {
        for DelayedEvent { user, event, .. } in events {
            self.queue.subtract_bytes(event.bytes());
            self.send_now(&user, &event);
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_shared::ids::Seq;

    use super::*;
    use crate::transport::Frame;

    fn event(room: &str, seq: u64) -> Arc<UserEvent> {
        let frame = Frame::text("{}");
        Arc::new(UserEvent::Membership { room: RoomId::parse(room).unwrap(), seq: Seq(seq), frame })
    }

    fn seqs(events: &[DelayedEvent]) -> Vec<u64> {
        let seq = |delayed: &DelayedEvent| match &*delayed.event {
            UserEvent::Membership { seq, .. } => seq.0,
            _ => 0,
        };
        events.iter().map(seq).collect()
    }

    /// Whether the event is above this position of its room.
    fn is_above(position: u64) -> impl Fn(&UserId, &UserEvent) -> bool {
        move |_, event| matches!(event, UserEvent::Membership { seq, .. } if seq.0 > position)
    }

    fn delayed(arrived_at: Instant, events: impl IntoIterator<Item = Arc<UserEvent>>) -> DelayedEvents {
        let user = UserId::parse("bob").unwrap();
        let delay = |event| DelayedEvent { user: user.clone(), event, arrived_at, refill_requested: false };
        DelayedEvents(events.into_iter().map(delay).collect())
    }

    #[test]
    fn notice_waits_for_its_record_and_keeps_the_order() {
        let now = Instant::now();
        let mut delayed = delayed(now, [event("r", 2), event("r", 1), event("r", 3)]);
        let (due, rooms) = delayed.take_due(now, is_above(0));
        assert!(due.is_empty() && rooms.is_empty());
        assert_eq!(seqs(&delayed.take_due(now, is_above(2)).0), [2, 1]);
        assert_eq!(seqs(&delayed.take_due(now, is_above(3)).0), [3]);
        assert!(delayed.is_empty());
    }

    #[test]
    fn late_record_is_refilled_once_and_then_not_awaited() {
        let now = Instant::now();
        let mut delayed = delayed(now, [event("r", 1)]);
        let later = |waited: Duration| now + waited;
        assert_eq!(delayed.take_due(later(REFILL_AFTER), is_above(0)).1, [RoomId::parse("r").unwrap()]);
        let (due, rooms) = delayed.take_due(later(REFILL_AFTER * 2), is_above(0));
        assert!(due.is_empty() && rooms.is_empty());
        assert_eq!(seqs(&delayed.take_due(later(MAX_DELAY), is_above(0)).0), [1]);
    }
}
