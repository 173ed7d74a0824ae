//! Brings rooms up to their heads: after a hole in the seqs, after a reconnect of pub/sub, and by a slow sweep that
//! finds records whose hints were lost.

use std::{
    rc::Rc,
    sync::Mutex,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;
use tidings_shared::{
    ids::RoomId,
    log::{AppendError, Record, TailPart},
};
use tokio::sync::oneshot;

use super::{Worker, replay::report_missing_room};
use crate::{
    bus::{MARKS_TRUST_PERIOD, observe_delivery},
    hub::{Position, RefillOutcome, RoomRead, StoredRoles},
    lock::lock,
};

/// Delay before another attempt to read a room that cannot be read, or whose read lacks a record that has already
/// arrived as a hint.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// How long a command waits for a refill. Afterwards the role of its user is looked up without it.
const MAX_REFILL_WAIT: Duration = Duration::from_secs(3);
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum number of heads that the sweep compares per second, which costs Redis less than 1 ms of CPU.
const MAX_ROOMS_PER_INTERVAL: usize = 500;

/// Maximum number of rooms in [`LateDeliveryDedup`]. At this size it is cleared, and some messages may then be counted
/// twice.
const MAX_DEDUP_ROOMS: usize = 10_000;

/// The position up to which late messages of each room were counted. Each late delivery by a refill is counted once per
/// node, like a delivery in time, although each worker with subscriptions in the room reads the same late messages.
/// Refills are rare, so a lock is cheap enough.
#[derive(Debug, Default)]
pub struct LateDeliveryDedup(Mutex<FxHashMap<RoomId, Position>>);

impl LateDeliveryDedup {
    /// Marks a message as counted. Returns true if it was not counted before.
    pub fn mark_counted(&self, room: &RoomId, position: Position) -> bool {
        let mut rooms = lock(&self.0);
        if rooms.get(room).is_some_and(|counted| *counted >= position) {
            return false;
        }
        if rooms.len() >= MAX_DEDUP_ROOMS {
            rooms.clear();
        }
        rooms.insert(room.clone(), position);
        true
    }
}

/// Reads a room until its live subscriptions are at its head, or no subscription is live.
pub(super) async fn run_refill(worker: Rc<Worker>, room: RoomId) {
    refill_until_at_head(&worker, &room).await;
    // Dropping the senders wakes the waiting tasks.
    worker.refill_waiters.borrow_mut().remove(&room);
}

/// Waits until a refill of a room ends, at most 3 s.
pub async fn wait_for_refill(worker: &Worker, room: &RoomId) {
    let (waiter, ended) = oneshot::channel::<()>();
    worker.refill_waiters.borrow_mut().entry(room.clone()).or_default().push(waiter);
    if tokio::time::timeout(MAX_REFILL_WAIT, ended).await.is_err() {
        let mut waiters = worker.refill_waiters.borrow_mut();
        let still_waiting = waiters.get_mut(room).is_some_and(|of_room| {
            of_room.retain(|waiter| !waiter.is_closed());
            !of_room.is_empty()
        });
        if !still_waiting {
            waiters.remove(room);
        }
    }
}

async fn refill_until_at_head(worker: &Rc<Worker>, room: &RoomId) {
    let began = Instant::now();
    // The stored roles are valid for the next read only, because roles become outdated soon.
    let mut roles: Option<StoredRoles> = None;
    loop {
        let Ok(process) = worker.node.bus.until_online(room).await else {
            roles = None;
            // Checked for the same reason as after a failed read.
            if worker.hub.borrow().room(room).live_position().is_none() {
                return worker.hub.borrow_mut().abandon_refill(room);
            }
            continue;
        };
        let permit = worker.refill_permits.acquire(&process).await;
        let (position, newest, generation, users) = {
            let hub = worker.hub.borrow();
            let room = hub.room(room);
            (room.live_position(), room.newest_position(), hub.generation(), room.users_with_known_role())
        };
        // The live subscriptions may have ended while the task waited for a permit.
        let Some(position) = position else { return worker.hub.borrow_mut().abandon_refill(room) };
        let part = TailPart::all_after(position.seq);
        let read = worker.node.bus.read_room(room, Some(part), newest.epoch, &users).await;
        drop(permit);
        match read {
            Ok(tail) => {
                if began.elapsed() > MARKS_TRUST_PERIOD {
                    worker.hub.borrow_mut().expire_marks(room);
                }
                let read_roles = roles.take();
                let read = RoomRead { tail: &tail, users: &users, roles: read_roles.as_ref() };
                let had_live = worker.hub.borrow().room(room).live_position().is_some();
                let (outcome, effects) = worker.hub.borrow_mut().refill(room, read, generation);
                worker.carry_out(effects);
                match outcome {
                    RefillOutcome::FromTail | RefillOutcome::Gap => {
                        // Records that a gap skips also count as late, because no subscription got them in time.
                        let is_late = |record: &&Record| Position::of_record(record) > position;
                        let late = tail.records.iter().filter(|_| had_live).filter(is_late);
                        for record in late {
                            if worker.node.late_deliveries.mark_counted(room, Position::of_record(record)) {
                                observe_delivery(&worker.node.metrics.deliver_seconds, record);
                            }
                        }
                        let source = if outcome == RefillOutcome::FromTail { "tail" } else { "history" };
                        return worker.node.metrics.refills.with_label_values(&[source]).inc();
                    }
                    RefillOutcome::Retry => {}
                    RefillOutcome::RolesUnknown => {
                        match worker.node.bus.stored_roles(room, tail.head.epoch, &users).await {
                            Ok(stored) => {
                                roles = Some(stored);
                                continue;
                            }
                            Err(error) => {
                                tracing::debug!(%room, %error, "the roles for a refill cannot be read; retrying")
                            }
                        }
                    }
                }
            }
            Err(AppendError::NoSuchRoom) => {
                tracing::error!(%room, "a room with live subscriptions is not in PostgreSQL");
                let effects = worker.hub.borrow_mut().end_live_subscriptions(room);
                effects.ended.iter().for_each(|ended| report_missing_room(&ended.peer, room));
                return worker.carry_out(effects);
            }
            Err(error) => {
                roles = None;
                tracing::debug!(%room, %error, "a room cannot be read for a refill; retrying");
            }
        }
        tokio::time::sleep(RETRY_AFTER).await;
        // Without this check the refill would wait for a permit although no subscription is live. A subscription that
        // goes live during this wait would get no live-only records.
        if worker.hub.borrow().room(room).live_position().is_none() {
            return worker.hub.borrow_mut().abandon_refill(room);
        }
    }
}

/// Compares the positions of live rooms with the heads in Redis, some rooms per second, in turn. Each head is compared
/// with the room's position one interval after it was read, because hints up to the head may arrive meanwhile. Without
/// this delay, a busy room whose tail holds only some milliseconds of records would be sent an unnecessary gap.
pub(super) async fn sweep_rooms(worker: Rc<Worker>) {
    let mut due_rooms: Vec<RoomId> = Vec::new();
    let mut read_heads: Vec<(RoomId, Position)> = Vec::new();
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        for (room, head) in read_heads.drain(..) {
            let sent = worker.hub.borrow().room(&room).live_position();
            if sent.is_some_and(|sent| sent < head) {
                worker.request_refill(&room);
            }
        }
        if due_rooms.is_empty() {
            due_rooms = worker.hub.borrow().live_rooms().cloned().collect();
        }
        let rooms = due_rooms.split_off(due_rooms.len().saturating_sub(MAX_ROOMS_PER_INTERVAL));
        if rooms.is_empty() {
            continue;
        }
        let Ok(heads) = worker.node.bus.log.heads(&rooms).await else { continue };
        let position = |(room, head): (RoomId, Option<_>)| {
            let (epoch, seq) = head?;
            Some((room, Position { epoch, seq }))
        };
        read_heads.extend(rooms.into_iter().zip(heads).filter_map(position));
    }
}

#[cfg(test)]
mod tests {
    use tidings_shared::ids::{Epoch, Seq};

    use super::*;

    #[test]
    fn late_message_is_counted_by_one_worker() {
        let (dedup, room) = (LateDeliveryDedup::default(), RoomId::generate());
        let at = |seq| Position { epoch: Epoch(1), seq: Seq(seq) };
        assert!(dedup.mark_counted(&room, at(1)) && dedup.mark_counted(&room, at(2)));
        assert!(!dedup.mark_counted(&room, at(1)) && !dedup.mark_counted(&room, at(2)));
        assert!(dedup.mark_counted(&room, at(3)) && dedup.mark_counted(&RoomId::generate(), at(1)));
    }
}
