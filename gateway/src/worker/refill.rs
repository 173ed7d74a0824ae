//! Bringing rooms up to their heads: after a hole, after the pub/sub connection was away, and by a slow sweep that
//! finds what no hint told of.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tidings_shared::{ids::RoomId, log::AppendError};

use super::Worker;
use crate::{
    bus::MARKS_TRUSTED,
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
                let outcome = worker.hub.borrow_mut().refill(&room, read, generation);
                worker.give_up_ended();
                match outcome {
                    Refilled::FromTail => return counted(&worker, "tail"),
                    Refilled::Gap => return counted(&worker, "history"),
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

/// Compares the heads of rooms with Redis, some a second, round and round.
pub(super) async fn sweep(worker: Rc<Worker>) {
    let mut due: Vec<RoomId> = Vec::new();
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        if due.is_empty() {
            due = worker.hub.borrow().live_rooms().cloned().collect();
        }
        let rooms = due.split_off(due.len().saturating_sub(ROOMS_PER_SWEEP));
        if rooms.is_empty() {
            continue;
        }
        let Ok(heads) = worker.node.bus.log.heads(&rooms).await else { continue };
        for (room, head) in rooms.iter().zip(heads) {
            let Some((epoch, seq)) = head else { continue };
            let sent = worker.hub.borrow().live_position(room);
            if sent.is_some_and(|sent| sent < Position { epoch, seq }) {
                worker.suspect(room);
            }
        }
    }
}
