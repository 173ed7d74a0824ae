//! Delivers the records and user events of a worker's queue in bounded turns. After a turn the task yields, so that the
//! connections' tasks write to their sockets. Records above the bound of a turn wait in a backlog. The backlog has
//! queues by room, which are served in turn, so a busy room does not delay other rooms. A record that comes alone to a
//! large room is sent in slices, one in each turn.

mod delayed;

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tidings_shared::ids::{RoomId, UserId};

use super::{
    Inbox, Worker,
    fair_queue::{FairQueue, QueueIndex},
    slices::Slices,
};
use crate::{
    bus::{Hint, PublishedRecord, UserEvent, WorkerMessage, WorkerQueue},
    client::Client,
    hub::{DispatchOutcome, HubEffects},
    transport::Frame,
};
use delayed::DelayedEvents;

/// Maximum number of messages that one receive takes from the worker's queue. A message may have many records.
const MAX_MESSAGES_PER_RECEIVE: usize = 16;
/// Maximum number of messages that one receive moves to the backlog. The number is high, because a full queue of a
/// worker drops records of all rooms, but a full queue of the backlog drops only records of a busy room.
const MAX_MESSAGES_TO_BACKLOG: usize = 1024;
/// A turn ends after this many records and user events, or this many bytes, so that the outbox of a client that reads
/// quickly does not fill within one turn.
const MAX_TURN_RECORDS: usize = 128;
const MAX_TURN_BYTES: usize = 64 * 1024;
/// A turn ends after this many receivers of its records, because sending a record to a large room takes long.
const MAX_TURN_RECEIVERS: usize = 2048;
/// A turn ends this long after its last receive, unless that receive took only a single record.
const MAX_TURN_TIME: Duration = Duration::from_millis(2);
/// A record of the backlog is written to the sockets at once if it is the only one in its queue, and its room has at
/// most this many live subscriptions. So it does not wait until the connections of a large room have written.
const MAX_IMMEDIATE_RECEIVERS: usize = 64;

/// An item of the backlog: a record, or a user event that must not overtake the records of its room.
enum BacklogItem {
    Hint(Hint),
    User(UserId, Arc<UserEvent>),
}

impl BacklogItem {
    /// The bytes that the item holds in the backlog.
    fn bytes(&self) -> usize {
        match self {
            Self::Hint(hint) => hint.bytes(),
            Self::User(user, event) => user.as_str().len() + event.bytes(),
        }
    }
}

/// The work of the task since it last yielded at the end of a turn.
#[derive(Default)]
struct Turn {
    records: usize,
    bytes: usize,
    receivers: usize,
    /// The time of the last receive; `None` after a receive of a single record, because this common case must not cost
    /// a read of the clock.
    received_at: Option<Instant>,
}

impl Turn {
    fn is_over(&self) -> bool {
        self.records >= MAX_TURN_RECORDS
            || self.bytes >= MAX_TURN_BYTES
            || self.receivers >= MAX_TURN_RECEIVERS
            || self.received_at.is_some_and(|at| at.elapsed() >= MAX_TURN_TIME)
    }
}

/// The state of the task that delivers a worker's messages.
struct DeliveryTask {
    worker: Rc<Worker>,
    queue: WorkerQueue,
    backlog: FairQueue<BacklogItem>,
    slices: Slices,
    delayed: DelayedEvents,
    turn: Turn,
}

/// Delivers the messages of a worker's queue until the node ends.
pub(super) async fn deliver_messages(worker: Rc<Worker>, mut inbox: Inbox) {
    let mut messages = Vec::with_capacity(MAX_MESSAGES_PER_RECEIVE);
    let (backlog, slices, turn) = (FairQueue::default(), Slices::default(), Turn::default());
    let delayed = DelayedEvents::default();
    let mut task = DeliveryTask { worker, queue: inbox.queue, backlog, slices, delayed, turn };
    loop {
        if task.backlog.is_empty() && task.slices.current().is_none() {
            let has_delayed = !task.delayed.is_empty();
            // Without delayed events no timer is made, because this is the common case.
            let check_delayed = async {
                match has_delayed {
                    true => tokio::time::sleep(delayed::CHECK_INTERVAL).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                count = inbox.receiver.recv_many(&mut messages, MAX_MESSAGES_PER_RECEIVE) => if count == 0 { return },
                () = task.queue.wake.notified() => {}
                () = check_delayed => {}
            }
        } else {
            // New messages join a backlog that is not empty, because a record must not overtake earlier records of its
            // room.
            messages
                .extend(std::iter::from_fn(|| inbox.receiver.try_recv().ok()).take(MAX_MESSAGES_TO_BACKLOG));
        }
        // The frame of a single record is written to the sockets at once. The frames of several records are queued, so
        // that they are written together.
        let immediate = task.backlog.is_empty()
            && matches!(&messages[..], [WorkerMessage::Hints { hints, .. }] if hints.len() == 1);
        let had_backlog = !task.backlog.is_empty();
        task.turn.received_at = (!immediate).then(Instant::now);
        for message in messages.drain(..) {
            task.handle_message(message, immediate);
        }
        if had_backlog {
            task.serve_backlog();
        }
        task.continue_slices();
        task.refill_if_missed();
        task.send_delayed();
        if !task.backlog.is_empty() || task.slices.current().is_some() || task.turn.is_over() {
            task.turn = Turn::default();
            tokio::task::yield_now().await;
        }
    }
}

impl DeliveryTask {
    /// Delivers the content of a message. Adds to the backlog the records that are left when the turn is over, and a
    /// user event that must not overtake them.
    fn handle_message(&mut self, message: WorkerMessage, immediate: bool) {
        match message {
            WorkerMessage::Hints { hints, bytes } => {
                let (mut hints, mut waiting_bytes) = (hints.into_iter(), 0);
                while self.backlog.is_empty()
                    && (immediate || !self.turn.is_over())
                    && let Some(hint) = hints.next()
                {
                    self.deliver(hint, &mut hints, immediate);
                }
                for hint in hints {
                    waiting_bytes += hint.bytes();
                    self.push_to_backlog(QueueIndex::of_room(hint.record.room()), BacklogItem::Hint(hint));
                }
                self.queue.subtract_bytes(bytes - waiting_bytes);
            }
            WorkerMessage::User { user, event } => {
                let index = event.room().map(|room| QueueIndex::of_room(room.as_str()));
                match index.filter(|index| !self.backlog.is_queue_empty(*index)) {
                    Some(index) => {
                        let item = BacklogItem::User(user, event);
                        self.queue.add_bytes(item.bytes());
                        self.push_to_backlog(index, item);
                    }
                    None => self.send_event(user, event),
                }
            }
        }
    }

    fn send_now(&mut self, user: &UserId, event: &UserEvent) {
        if let Some(room) = event.room() {
            self.finish_slices(room.as_str());
        }
        self.turn.records += 1;
        self.turn.bytes += event.bytes();
        self.worker.send_event(user, event);
    }

    /// Adds an item to the backlog. If the item's queue is then too large, drops the records of the queue, sends its
    /// user events, and requests a refill of its rooms, which reads the dropped records from Redis.
    fn push_to_backlog(&mut self, index: QueueIndex, item: BacklogItem) {
        let bytes = item.bytes();
        let Some((items, bytes)) = self.backlog.push(index, item, bytes) else { return };
        self.queue.subtract_bytes(bytes);
        self.worker.hub.borrow_mut().invalidate_reads();
        let is_of_queue = |room: &&RoomId| QueueIndex::of_room(room.as_str()) == index;
        let rooms: Vec<RoomId> = self.worker.hub.borrow().live_rooms().filter(is_of_queue).cloned().collect();
        rooms.iter().for_each(|room| self.worker.request_refill(room));
        for item in items {
            match item {
                BacklogItem::Hint(_) => self.worker.node.metrics.hints_dropped.inc(),
                BacklogItem::User(user, event) => self.send_now(&user, &event),
            }
        }
    }

    /// Delivers items of the backlog, at least one, until the turn is over.
    fn serve_backlog(&mut self) {
        while let Some((item, index, bytes)) = self.backlog.pop() {
            match item {
                BacklogItem::User(user, event) => {
                    self.queue.subtract_bytes(bytes);
                    self.send_event(user, event);
                }
                BacklogItem::Hint(hint) => self.deliver_from_backlog(index, hint, bytes),
            }
            if self.turn.is_over() {
                return self.backlog.end_visit(index);
            }
        }
    }

    /// Delivers a record of the backlog, with the other records of its run, which follow in the same queue.
    fn deliver_from_backlog(&mut self, index: QueueIndex, hint: Hint, mut bytes: usize) {
        let mut rest = Vec::new();
        for _ in 1..hint.run.as_ref().map_or(1, |run| run.frames().len()) {
            let Some((BacklogItem::Hint(hint), item_bytes)) = self.backlog.pop_from(index) else { break };
            bytes += item_bytes;
            rest.push(hint);
        }
        let room = hint.record.room();
        let immediate = rest.is_empty()
            && self.backlog.is_queue_empty(index)
            && self.worker.hub.borrow().live_count(room) <= MAX_IMMEDIATE_RECEIVERS;
        self.queue.subtract_bytes(bytes);
        let mut rest = rest.into_iter();
        let mut next = Some(hint);
        while let Some(hint) = next {
            self.deliver(hint, &mut rest, immediate);
            next = rest.next();
        }
    }

    /// Delivers a record. If the record begins a run that can be sent as a whole, also delivers the other records of
    /// the run, which come first in `rest`. Keeps a record that must be sent in slices for [`Self::continue_slices`].
    fn deliver(&mut self, hint: Hint, rest: &mut impl Iterator<Item = Hint>, immediate: bool) {
        self.finish_slices(hint.record.room());
        self.turn.records += 1;
        self.turn.bytes += hint.frame.len();
        let hint = if immediate {
            let live_count = self.worker.hub.borrow().live_count(hint.record.room());
            let Some(hint) = self.slices.begin(hint, live_count, Instant::now) else { return };
            hint
        } else {
            hint
        };
        let Hint { record, frame, run } = hint;
        if let Some(run) = run {
            let (sent, effects) = self.worker.hub.borrow_mut().dispatch_run(&record, &run);
            self.carry_out(record.room(), effects);
            if sent {
                record.mark_delivered();
                for hint in rest.take(run.frames().len() - 1) {
                    self.turn.records += 1;
                    self.turn.bytes += hint.frame.len();
                    hint.record.mark_delivered();
                }
                return;
            }
        }
        // A live-only record cannot reveal a missed removal of one of its receivers, so it is dropped.
        if record.is_live_only() && self.queue.may_have_missed_hints(record.room()) {
            return;
        }
        let frame = if immediate { frame.to_immediate() } else { frame };
        self.pass_to_hub(&record, &frame);
    }

    /// Sends the next slice of the record that is being sent in slices. Dispatches the record if no slice is left, or
    /// if the slices have taken too long.
    fn continue_slices(&mut self) {
        let Some(current) = self.slices.current() else { return };
        let (record, frame) = (&current.hint.record, current.hint.frame.to_immediate());
        let (next, effects) = self.worker.hub.borrow_mut().dispatch_slice(record, &frame, current.next_slot);
        self.worker.carry_out(effects);
        if let Some(hint) = self.slices.advance(next, Instant::now()) {
            self.pass_to_hub(&hint.record, &hint.frame);
        }
    }

    /// If a record is being sent to this room in slices, sends it to the rest of the room, so that no later record
    /// overtakes it. Queues its frame, so that one write contains this frame and the next frame of the room.
    fn finish_slices(&mut self, room: &str) {
        if let Some(hint) = self.slices.take_of_room(room) {
            self.pass_to_hub(&hint.record, &hint.frame);
        }
    }

    /// Lets the hub send a record to the live subscriptions that no slice has sent it to.
    fn pass_to_hub(&mut self, record: &PublishedRecord, frame: &Frame) {
        let (outcome, effects) = self.worker.hub.borrow_mut().dispatch(record, frame);
        self.carry_out(record.room(), effects);
        match outcome {
            DispatchOutcome::Delivered => record.mark_delivered(),
            DispatchOutcome::Refill => self.worker.node.metrics.holes.inc(),
            DispatchOutcome::NobodyLive | DispatchOutcome::Stale | DispatchOutcome::RefillUnderWay => {}
        }
    }

    /// Counts the receivers of a delivery, and carries out its effects.
    fn carry_out(&mut self, room: &str, effects: HubEffects<Client>) {
        self.turn.receivers += effects.receivers;
        self.slices.record_dispatch(room, effects.receivers, Instant::now);
        self.worker.carry_out(effects);
    }

    /// Refills the rooms of partitions whose records the bus may have missed or has dropped.
    fn refill_if_missed(&self) {
        let (missed, marks_expired) = self.queue.take_missed();
        if missed.is_empty() {
            return;
        }
        let rooms: Vec<RoomId> = {
            let mut hub = self.worker.hub.borrow_mut();
            hub.invalidate_reads();
            hub.expire_marks_of(marks_expired);
            hub.live_rooms_of(missed).cloned().collect()
        };
        rooms.iter().for_each(|room| self.worker.request_refill(room));
    }
}

#[cfg(test)]
mod tests {
    use tidings_shared::ids::Seq;

    use super::*;

    #[test]
    fn user_events_of_a_room_are_bounded_in_bytes() {
        let (mut backlog, room) = (FairQueue::default(), RoomId::parse("r").unwrap());
        let (index, user) = (QueueIndex::of_room("r"), UserId::parse("alice").unwrap());
        let frame = Frame::text("x".repeat(1_000));
        for _ in 0..10_000 {
            let event = UserEvent::Membership { room: room.clone(), seq: Seq(1), frame: frame.clone() };
            let item = BacklogItem::User(user.clone(), Arc::new(event));
            let bytes = item.bytes();
            assert!((1_000..2_000).contains(&bytes), "{bytes}");
            if let Some((items, all)) = backlog.push(index, item, bytes) {
                assert_eq!(all, items.len() * bytes);
                return;
            }
        }
        panic!("10 MB of user events wait");
    }
}
