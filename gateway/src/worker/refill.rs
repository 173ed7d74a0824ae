//! Bringing rooms up to their heads: after a hole, after the pub/sub connection was away, and by a slow sweep that
//! finds what no hint told of.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tidings_shared::{
    ids::RoomId,
    log::{AppendError, Record},
};

use super::Worker;
use crate::{
    bus::{MARKS_TRUSTED, take_time},
    hub::{Position, Refilled, Roles, RoomRead},
};

/// Between two attempts to read a room that cannot be read, or is not yet where it is known to be.
const RETRY_AFTER: Duration = Duration::from_millis(100);
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Heads compared in one turn of the sweep: 500 rooms a second cost Redis less than 1 ms of CPU.
const ROOMS_PER_SWEEP: usize = 500;

/// Reads a room until its live subscriptions are at its head, or nobody is live any more.
pub(super) async fn refill(worker: Rc<Worker>, room: RoomId) {
    let began = Instant::now();
    let mut told = false;
    // Asked for the next read, and for no other: they are out of date soon.
    let mut roles: Option<Roles> = None;
    loop {
        let turn = worker.refills.acquire().await;
        // They may have gone while it waited for its turn.
        if worker.hub.borrow().live_position(&room).is_none() {
            worker.hub.borrow_mut().abandon_refill(&room);
            return;
        }
        let (position, newest, generation, users) = {
            let hub = worker.hub.borrow();
            let position = hub.live_position(&room).unwrap_or_default();
            (position, hub.newest(&room), hub.generation(), hub.users(&room))
        };
        let read = worker.node.bus.read(&room, Some(position.seq), newest.epoch, &users).await;
        drop(turn);
        match read {
            Ok(tail) => {
                if began.elapsed() > MARKS_TRUSTED {
                    worker.hub.borrow_mut().doubt(&room);
                }
                let asked = roles.take();
                let read = RoomRead { tail: &tail, users: &users, roles: asked.as_ref() };
                let somebody_is_live = worker.hub.borrow().live_position(&room).is_some();
                let outcome = worker.hub.borrow_mut().refill(&room, read, generation);
                worker.give_up_ended();
                match outcome {
                    Refilled::FromTail | Refilled::Gap => {
                        // Of what a gap passes over, that which the tail still has: it came to nobody in time.
                        let behind = |record: &&Record| Position::of_record(record) > position;
                        let late = tail.records.iter().filter(|_| somebody_is_live).filter(behind);
                        for record in late {
                            if worker.node.late.is_first(&room, Position::of_record(record)) {
                                take_time(&worker.node.metrics.deliver_seconds, record);
                            }
                        }
                        let source = if outcome == Refilled::FromTail { "tail" } else { "history" };
                        return counted(&worker, source);
                    }
                    Refilled::Again => {
                        tokio::time::sleep(RETRY_AFTER).await;
                        continue;
                    }
                    Refilled::RolesUnknown => {
                        match worker.node.bus.roles(&room, tail.head.epoch, &users).await {
                            Ok(stored) => {
                                roles = Some(stored);
                                continue;
                            }
                            Err(error) => tracing::debug!(%room, %error, "refill waits for roles"),
                        }
                    }
                }
            }
            Err(AppendError::NoSuchRoom) => {
                if !told {
                    tracing::error!(%room, "a room that was live is not in PostgreSQL");
                    told = true;
                }
                tokio::time::sleep(SWEEP_EVERY).await;
            }
            Err(error) => {
                roles = None;
                tracing::debug!(%room, %error, "refill waits");
            }
        }
        tokio::time::sleep(RETRY_AFTER).await;
        if worker.hub.borrow().live_position(&room).is_none() {
            worker.hub.borrow_mut().abandon_refill(&room);
            return;
        }
    }
}

fn counted(worker: &Worker, source: &str) {
    worker.node.metrics.refills.with_label_values(&[source]).inc();
}

/// Compares the heads of rooms with Redis, some a second, round and round. What a head tells is held against where the
/// room is a turn later: the hints up to it may still have been on their way, and a room in which so much is said that
/// its tail holds no more than some milliseconds would be told a gap for nothing.
pub(super) async fn sweep(worker: Rc<Worker>) {
    let mut due: Vec<RoomId> = Vec::new();
    let mut read: Vec<(RoomId, Position)> = Vec::new();
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        for (room, head) in read.drain(..) {
            let sent = worker.hub.borrow().live_position(&room);
            if sent.is_some_and(|sent| sent < head) {
                worker.suspect(&room);
            }
        }
        if due.is_empty() {
            due = worker.hub.borrow().live_rooms().cloned().collect();
        }
        let rooms = due.split_off(due.len().saturating_sub(ROOMS_PER_SWEEP));
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
