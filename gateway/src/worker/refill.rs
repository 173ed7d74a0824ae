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
    log::{AppendError, Record},
};

use super::Worker;
use crate::{
    bus::{MARKS_TRUSTED_FOR, observe_delivery},
    hub::{Position, RefillOutcome, Roles, RoomRead},
    lock::lock,
};

/// Delay before another attempt to read a room that cannot be read, or whose read is older than a record of a hint.
const RETRY_AFTER: Duration = Duration::from_millis(100);
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Maximum number of heads that the sweep compares per second, which costs Redis less than 1 ms of CPU.
const ROOMS_PER_INTERVAL: usize = 500;

/// The map of late deliveries is cleared when it has this many rooms. Some messages may then be counted twice.
const MAX_LATE_ROOMS: usize = 10_000;

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
        if rooms.len() >= MAX_LATE_ROOMS {
            rooms.clear();
        }
        rooms.insert(room.clone(), position);
        true
    }
}

/// Reads a room until its live subscriptions are at its head, or no subscription is live.
pub(super) async fn refill(worker: Rc<Worker>, room: RoomId) {
    let began = Instant::now();
    let mut logged = false;
    // The stored roles are valid for the next read only, because roles become outdated soon.
    let mut roles: Option<Roles> = None;
    loop {
        let permit = worker.refills.acquire().await;
        let (position, newest, generation, users) = {
            let hub = worker.hub.borrow();
            let room = hub.room(&room);
            (room.live_position(), room.newest(), hub.generation(), room.users_with_known_role())
        };
        // The live subscriptions may have ended while the task waited for a permit.
        let Some(position) = position else { return worker.hub.borrow_mut().abandon_refill(&room) };
        let read = worker.node.bus.read(&room, Some(position.seq), newest.epoch, &users).await;
        drop(permit);
        match read {
            Ok(tail) => {
                if began.elapsed() > MARKS_TRUSTED_FOR {
                    worker.hub.borrow_mut().expire_marks(&room);
                }
                let read_roles = roles.take();
                let read = RoomRead { tail: &tail, users: &users, roles: read_roles.as_ref() };
                let had_live = worker.hub.borrow().room(&room).live_position().is_some();
                let (outcome, ended) = worker.hub.borrow_mut().refill(&room, read, generation);
                worker.release(&ended);
                match outcome {
                    RefillOutcome::FromTail | RefillOutcome::Gap => {
                        // Records that a gap skips also count as late, because no subscription got them in time.
                        let is_late = |record: &&Record| Position::of_record(record) > position;
                        let late = tail.records.iter().filter(|_| had_live).filter(is_late);
                        for record in late {
                            if worker.node.late_deliveries.mark_counted(&room, Position::of_record(record)) {
                                observe_delivery(&worker.node.metrics.deliver_seconds, record);
                            }
                        }
                        let source = if outcome == RefillOutcome::FromTail { "tail" } else { "history" };
                        return worker.node.metrics.refills.with_label_values(&[source]).inc();
                    }
                    RefillOutcome::Retry => {}
                    RefillOutcome::RolesUnknown => {
                        match worker.node.bus.roles(&room, tail.head.epoch, &users).await {
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
                if !logged {
                    tracing::error!(%room, "a room with live subscriptions does not exist in PostgreSQL");
                    logged = true;
                }
                tokio::time::sleep(SWEEP_EVERY).await;
            }
            Err(error) => {
                roles = None;
                tracing::debug!(%room, %error, "a room cannot be read for a refill; retrying");
            }
        }
        tokio::time::sleep(RETRY_AFTER).await;
        // Without this check the refill of a room without live subscriptions would run on while it waits for a permit,
        // and a subscription that goes live meanwhile would get no live-only records and no role.
        if worker.hub.borrow().room(&room).live_position().is_none() {
            return worker.hub.borrow_mut().abandon_refill(&room);
        }
    }
}

/// Compares the positions of live rooms with the heads in Redis, some rooms per second, in turn. Each head is compared
/// with the room's position one interval after it was read, because hints up to the head may arrive meanwhile. Without
/// this delay, a busy room whose tail holds only some milliseconds of records would be sent an unnecessary gap.
pub(super) async fn sweep(worker: Rc<Worker>) {
    let mut due: Vec<RoomId> = Vec::new();
    let mut read: Vec<(RoomId, Position)> = Vec::new();
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        for (room, head) in read.drain(..) {
            let sent = worker.hub.borrow().room(&room).live_position();
            if sent.is_some_and(|sent| sent < head) {
                worker.request_refill(&room);
            }
        }
        if due.is_empty() {
            due = worker.hub.borrow().live_rooms().cloned().collect();
        }
        let rooms = due.split_off(due.len().saturating_sub(ROOMS_PER_INTERVAL));
        if rooms.is_empty() {
            continue;
        }
        let Ok(heads) = worker.node.bus.log.heads(&rooms).await else { continue };
        let position = |(room, head): (RoomId, Option<_>)| {
            let (epoch, seq) = head?;
            Some((room, Position { epoch, seq }))
        };
        read.extend(rooms.into_iter().zip(heads).filter_map(position));
    }
}

#[cfg(test)]
mod tests {
    use tidings_shared::ids::{Epoch, Seq};

    use super::*;

    #[test]
    fn late_message_is_counted_by_one_worker() {
        let (dedup, room) = (LateDeliveryDedup::default(), RoomId::fresh());
        let at = |seq| Position { epoch: Epoch(1), seq: Seq(seq) };
        assert!(dedup.mark_counted(&room, at(1)) && dedup.mark_counted(&room, at(2)));
        assert!(!dedup.mark_counted(&room, at(1)) && !dedup.mark_counted(&room, at(2)));
        assert!(dedup.mark_counted(&room, at(3)) && dedup.mark_counted(&RoomId::fresh(), at(1)));
    }
}
