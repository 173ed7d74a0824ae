//! A lane holds the jobs of one connection for one room. The jobs of a lane run one after the other, and different
//! lanes run concurrently. This module stores the waiting jobs, and `commands` runs them.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::Rc,
};

use rustc_hash::FxHashMap;
use tidings_shared::{
    error::Refusal,
    ids::{Cursor, RoomId, Seq, UserId},
    message::Draft,
    protocol::{RoomCommand, server::JoinedRoom},
};
use tokio::sync::{OnceCell, Semaphore};

use super::Client;
use crate::{
    bus::{Bus, MembershipSnapshot},
    hub::{Generation, Position, Subscription},
    request_context::RequestContext,
};

/// Maximum number of waiting and running jobs of one connection. At the maximum, reading pauses until half of the jobs
/// are done.
const MAX_JOBS: usize = 64;
/// One append call takes messages until they have this many bytes together, because the call copies them.
const APPEND_BATCH_TARGET_BYTES: usize = 64 * 1024;

/// A command, or the part of a join or leave for one room. `index` orders the rooms in the answer of a join.
pub(crate) enum Job {
    Join { after: Option<Cursor>, group: Rc<JoinGroup>, index: usize },
    Leave { group: Rc<LeaveGroup> },
    Command(RequestContext, RoomCommand),
}

/// One `room:join` command, which is answered once, when each of its rooms was joined or refused.
pub(crate) struct JoinGroup {
    pub request: RequestContext,
    /// Whether the client named one room and not a list. If the join of a single room fails, `error` is the answer.
    pub is_single_room: bool,
    /// Whether the connection receives presence changes of the rooms' members.
    pub presence: bool,
    /// Whether the user has more rooms than this join; `None` if the client named the rooms.
    pub more: Option<bool>,
    pub memberships: JoinMemberships,
    /// Limits how many rooms are joined at the same time.
    pub permits: Semaphore,
    /// Number of rooms that are neither joined nor refused yet.
    pub remaining: Cell<usize>,
    /// The joined rooms, each with its index in the command.
    pub joined: RefCell<Vec<(usize, JoinedRoom, Replay)>>,
    pub failed: RefCell<Vec<(RoomId, Refusal)>>,
}

/// The user's memberships in the rooms of one join. The first [`JoinMemberships::get_or_load`] makes one read for all
/// rooms whose lanes were idle, and later calls use its result.
pub(crate) struct JoinMemberships {
    /// The rooms that are read together. The first call of [`JoinMemberships::get_or_load`] takes this list.
    rooms: Cell<Vec<RoomId>>,
    snapshots: OnceCell<Result<HashMap<RoomId, MembershipSnapshot>, Refusal>>,
}

impl JoinMemberships {
    /// `rooms` are the rooms of the join whose lanes are idle, and are read together. In any other room the membership
    /// is read separately, after the earlier commands of the room's lane.
    pub fn new(rooms: Vec<RoomId>) -> Self {
        Self { rooms: Cell::new(rooms), snapshots: OnceCell::new() }
    }

    /// The user's membership in a room of the join, read after the join began.
    pub async fn get_or_load(
        &self,
        bus: &Bus,
        user: &UserId,
        room: &RoomId,
    ) -> Result<MembershipSnapshot, Refusal> {
        // A failed read is not repeated, because each room of the join would then wait for another failing read.
        let read = self.snapshots.get_or_init(async || {
            let rooms = self.rooms.take();
            if rooms.is_empty() {
                return Ok(HashMap::new());
            }
            let snapshots = bus.membership_snapshots(user, &rooms).await?;
            Ok(rooms.into_iter().zip(snapshots).collect())
        });
        match read.await {
            Ok(snapshots) => match snapshots.get(room) {
                Some(snapshot) => Ok(snapshot.clone()),
                None => Ok(bus.membership_snapshot(user, room).await?),
            },
            Err(refusal) => Err(refusal.clone()),
        }
    }
}

/// One `room:leave` command, which is answered once, when all its rooms were left.
pub(crate) struct LeaveGroup {
    pub request: RequestContext,
    pub remaining: Cell<usize>,
    pub rooms: Vec<RoomId>,
}

/// The replay of a joined room, whose subscription is not live yet or is lagging. A replay that cannot continue keeps
/// its state here until its next turn.
#[derive(Debug, Clone)]
pub(crate) struct Replay {
    pub room: RoomId,
    pub subscription: Subscription,
    /// The position that the replay has reached.
    pub position: Position,
    pub head: Position,
    /// The last seq up to which the client's cursor is valid; `None` if the whole cursor is valid.
    pub gap: Option<Seq>,
    /// The hub's generation before `head` was read.
    pub generation: Generation,
    /// Whether the subscription was live before. Then its client gets no `room:caught_up`.
    pub was_live: bool,
    /// Where the missed records were found so far, for the metric of replays: `memory`, `tail` or `history`.
    pub source: &'static str,
}

/// The lanes of one connection. A room without a waiting or running job has no lane.
#[derive(Default)]
pub(super) struct Lanes {
    waiting_jobs: FxHashMap<RoomId, VecDeque<Job>>,
    /// Number of waiting and running jobs.
    pub jobs: usize,
    /// Whether reading is paused because of too many jobs.
    reading_paused: bool,
}

impl Client {
    /// Whether the connection has no waiting or running job for a room.
    pub(crate) fn is_idle_in(&self, room: &RoomId) -> bool {
        !self.lanes.borrow().waiting_jobs.contains_key(room)
    }

    /// Adds a job to its room's lane. Returns the job if the lane was idle, so that the caller must run it.
    pub(crate) fn add_job(&self, room: &RoomId, job: Job) -> Option<Job> {
        let mut lanes = self.lanes.borrow_mut();
        lanes.jobs += 1;
        if lanes.jobs >= MAX_JOBS && !lanes.reading_paused {
            lanes.reading_paused = true;
            self.pause_reading();
        }
        if let Some(lane) = lanes.waiting_jobs.get_mut(room) {
            lane.push_back(job);
            return None;
        }
        lanes.waiting_jobs.insert(room.clone(), VecDeque::new());
        Some(job)
    }

    /// Returns a message together with the messages that wait directly behind it in the room's lane, to be appended in
    /// one call. A traced message is returned alone, because its append call has its own span.
    pub(crate) fn take_consecutive_sends(
        &self,
        room: &RoomId,
        request: RequestContext,
        draft: Box<Draft>,
    ) -> Vec<(RequestContext, Box<Draft>)> {
        // The check of mentions may wait for persistence, and must not delay other messages.
        let is_alone =
            |request: &RequestContext, draft: &Draft| request.trace().is_some() || !draft.mentions.is_empty();
        let alone = is_alone(&request, &draft);
        let mut sends = vec![(request, draft)];
        let mut lanes = self.lanes.borrow_mut();
        let Some(lane) = lanes.waiting_jobs.get_mut(room).filter(|_| !alone) else { return sends };
        let mut bytes = sends[0].1.bytes();
        let is_send = |job: &Job| matches!(job, Job::Command(request, RoomCommand::Send(draft)) if !is_alone(request, draft));
        while bytes < APPEND_BATCH_TARGET_BYTES && lane.front().is_some_and(is_send) {
            let Some(Job::Command(request, RoomCommand::Send(draft))) = lane.pop_front() else { break };
            bytes += draft.bytes();
            sends.push((request, draft));
        }
        sends
    }

    /// Ends `done` jobs of a room, and takes the next job of the room's lane.
    pub(crate) fn finish_jobs(&self, room: &RoomId, done: usize) -> Option<Job> {
        let mut lanes = self.lanes.borrow_mut();
        lanes.jobs -= done;
        if lanes.reading_paused && lanes.jobs <= MAX_JOBS / 2 {
            lanes.reading_paused = false;
            self.resume_reading();
        }
        let next = lanes.waiting_jobs.get_mut(room).and_then(VecDeque::pop_front);
        if next.is_none() {
            lanes.waiting_jobs.remove(room);
            if lanes.waiting_jobs.is_empty() {
                // Idle connections hold no buffers.
                lanes.waiting_jobs.shrink_to_fit();
            }
        }
        next
    }
}
