//! Lanes: the jobs of one connection on one room run one after the other; lanes of different rooms run concurrently.

use std::{collections::VecDeque, rc::Rc};

use rustc_hash::FxHashMap;
use tidings_shared::ids::{Cursor, RoomId};

use super::{
    append,
    client::Client,
    join::{self, JoinGroup, LeaveGroup},
    mark, signal, typing,
};
use crate::{command::RoomCommand, request_context::RequestContext, worker::Worker};

/// Maximum of waiting and running jobs of one connection. At the maximum, reading stops until half of them are done.
const MAX_JOBS: usize = 64;

/// A job in one room.
pub(super) enum Job {
    Join { after: Option<Cursor>, group: Rc<JoinGroup>, index: usize },
    Leave { group: Rc<LeaveGroup> },
    Command(RequestContext, RoomCommand),
}

/// The jobs of one connection.
#[derive(Default)]
pub(super) struct Lanes {
    waiting: FxHashMap<RoomId, VecDeque<Job>>,
    /// Waiting and running.
    jobs: usize,
    /// Whether the connection is not read because of too many jobs.
    full: bool,
}

impl Lanes {
    /// Whether no job waits or runs.
    pub fn are_idle(&self) -> bool {
        self.jobs == 0
    }

    /// Whether no job waits or runs in a room.
    pub fn is_idle(&self, room: &RoomId) -> bool {
        !self.waiting.contains_key(room)
    }

    /// Ends a room's job, and takes the next one of its lane.
    fn finish_job(&mut self, client: &Client, room: &RoomId) -> Option<Job> {
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

/// Adds a job to its room's lane, and starts the lane if it is idle.
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
        next = client.lanes.borrow_mut().finish_job(&client, &room);
        client.close_if_overdue();
    }
}

async fn perform(worker: &Rc<Worker>, client: &Rc<Client>, room: &RoomId, job: Job) {
    match job {
        Job::Join { after, group, index } => join::join(worker, client, room, after, &group, index).await,
        Job::Leave { group } => join::leave_room(worker, client, room, &group),
        Job::Command(request, command) => match command {
            RoomCommand::Append(command) => append::start(worker, client, room, request, command).await,
            RoomCommand::Mark { seq, delivered } => {
                mark::mark(worker, client, room, request, seq, delivered).await;
            }
            RoomCommand::Typing { started } => typing::typing(worker, client, room, request, started).await,
            RoomCommand::Signal { to, data } => {
                signal::signal(worker, client, room, request, to, &data).await
            }
        },
    }
}
