//! Lanes: the jobs of one connection on one room, one after the other; lanes of different rooms run side by side.

use std::{collections::VecDeque, rc::Rc};

use rustc_hash::FxHashMap;
use serde_json::value::RawValue;
use tidings_shared::{
    ids::{Cursor, RoomId, Seq, UserId},
    message::{Draft, change::Change},
    telemetry::in_trace,
};

use super::{
    change,
    client::Client,
    join::{self, JoinGroup, LeaveGroup},
    mark, send, signal, typing,
};
use crate::{asked::Asked, worker::Worker};

/// Jobs that may wait or run for one connection; at that many it is not read from until half are done.
const MAX_JOBS: usize = 64;

/// Something to be done in one room.
pub(super) enum Job {
    Join { after: Option<Cursor>, group: Rc<JoinGroup>, place: usize },
    Leave { group: Rc<LeaveGroup> },
    Send { asked: Asked, draft: Box<Draft> },
    Change { asked: Asked, change: Box<Change> },
    Mark { asked: Asked, seq: Seq, delivered: bool },
    Typing { asked: Asked, started: bool },
    Signal { asked: Asked, to: Option<UserId>, data: Box<RawValue> },
}

/// The jobs of one connection.
#[derive(Default)]
pub(super) struct Lanes {
    waiting: FxHashMap<RoomId, VecDeque<Job>>,
    /// Waiting and running.
    jobs: usize,
    /// They were so many that the connection is not read from.
    full: bool,
}

impl Lanes {
    /// Whether nothing waits or runs at all.
    pub fn are_idle(&self) -> bool {
        self.jobs == 0
    }

    /// Whether nothing waits or runs in a room.
    pub fn is_idle(&self, room: &RoomId) -> bool {
        !self.waiting.contains_key(room)
    }

    /// A room's job is done: the next one of its lane.
    fn next(&mut self, client: &Client, room: &RoomId) -> Option<Job> {
        self.jobs -= 1;
        if self.full && self.jobs <= MAX_JOBS / 2 {
            self.full = false;
            client.release_reading();
        }
        let next = self.waiting.get_mut(room).and_then(VecDeque::pop_front);
        if next.is_none() {
            self.waiting.remove(room);
            if self.waiting.is_empty() {
                // Idle connections hold no buffers.
                self.waiting.shrink_to_fit();
            }
        }
        next
    }
}

/// Puts a job at the end of its room's lane, and starts the lane when it stands still.
pub(super) fn enqueue(worker: &Rc<Worker>, client: &Rc<Client>, room: RoomId, job: Job) {
    let mut lanes = client.lanes.borrow_mut();
    lanes.jobs += 1;
    if lanes.jobs >= MAX_JOBS && !lanes.full {
        lanes.full = true;
        client.hold_reading();
    }
    if let Some(lane) = lanes.waiting.get_mut(&room) {
        lane.push_back(job);
        return;
    }
    lanes.waiting.insert(room.clone(), VecDeque::new());
    tokio::task::spawn_local(run(worker.clone(), client.clone(), room, job));
}

async fn run(worker: Rc<Worker>, client: Rc<Client>, room: RoomId, first: Job) {
    let mut next = Some(first);
    while let Some(job) = next {
        perform(&worker, &client, &room, job).await;
        next = client.lanes.borrow_mut().next(&client, &room);
        client.go_once_answered();
    }
}

async fn perform(worker: &Rc<Worker>, client: &Rc<Client>, room: &RoomId, job: Job) {
    match job {
        Job::Join { after, group, place } => join::join(worker, client, room, after, &group, place).await,
        Job::Leave { group } => join::leave_room(worker, client, room, &group),
        Job::Send { asked, draft } => match asked.trace() {
            None => send::send(worker, client, room, asked, *draft).await,
            // In a box, so that the way of the many that are not traced is no longer for it.
            Some(trace) => {
                in_trace(trace, Box::pin(send::send(worker, client, room, asked, *draft))).await;
            }
        },
        Job::Change { asked, change } => match asked.trace() {
            None => change::change(worker, client, room, asked, *change).await,
            Some(trace) => {
                in_trace(trace, Box::pin(change::change(worker, client, room, asked, *change))).await;
            }
        },
        Job::Mark { asked, seq, delivered } => {
            mark::mark(worker, client, room, asked, seq, delivered).await;
        }
        Job::Typing { asked, started } => typing::typing(worker, client, room, asked, started).await,
        Job::Signal { asked, to, data } => {
            signal::signal(worker, client, room, asked, to, &data).await;
        }
    }
}
