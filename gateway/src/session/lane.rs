//! Runs the jobs of a connection's lanes.

use std::rc::Rc;

use tidings_shared::{error::Refusal, ids::RoomId};

use super::{append, join_room, live, mark};
use crate::{
    client::{Client, Job, SlotGuard},
    command::{AppendCommand, RoomCommand},
    request_context::RequestContext,
    worker::Worker,
};

/// Adds a job to its room's lane, and starts the lane if it is idle.
pub(super) fn enqueue(worker: &Rc<Worker>, client: &Rc<Client>, room: RoomId, job: Job) {
    if let Some(job) = client.add_job(&room, job) {
        tokio::task::spawn_local(run(worker.clone(), client.clone(), room, job));
    }
}

async fn run(worker: Rc<Worker>, client: Rc<Client>, room: RoomId, first: Job) {
    let mut next = Some(first);
    while let Some(job) = next {
        let done = perform(&worker, &client, &room, job).await;
        next = client.finish_jobs(&room, done);
        client.close_if_overdue();
    }
}

/// Runs one job. A message is appended together with the messages behind it. Returns the number of jobs that were done.
async fn perform(worker: &Rc<Worker>, client: &Rc<Client>, room: &RoomId, job: Job) -> usize {
    let (request, command) = match job {
        Job::Join { after, group, index } => {
            join_room::join(worker, client, room, after, &group, index).await;
            return 1;
        }
        Job::Leave { group } => {
            join_room::leave(worker, client, room, &group);
            return 1;
        }
        Job::Command(request, command) => (request, command),
    };
    match command {
        RoomCommand::Append(AppendCommand::Send(draft)) => {
            let sends = client.take_sends_from(room, request, draft);
            let done = sends.len();
            append::send(worker, client, room, sends).await;
            return done;
        }
        RoomCommand::Append(AppendCommand::Change(change)) => {
            append::change(worker, client, room, request, change).await;
        }
        RoomCommand::Mark { seq, delivered } => {
            let outcome = mark::mark(worker, client, room, seq, delivered).await;
            answer_later(worker, client, room, request, outcome);
        }
        RoomCommand::Typing { started } => {
            let outcome = live::typing(worker, client, room, started).await;
            answer_later(worker, client, room, request, outcome);
        }
        RoomCommand::Signal { to, data } => {
            let outcome = live::signal(worker, client, room, to, &data).await;
            answer(worker, client, room, &request, outcome);
        }
    }
    1
}

/// Answers a command when its outcome is known, in a separate task, so that the lane's next jobs need not wait.
fn answer_later(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    request: RequestContext,
    accepted: Result<(SlotGuard, impl Future<Output = Result<(), Refusal>> + 'static), Refusal>,
) {
    let (slot, outcome) = match accepted {
        Ok(accepted) => accepted,
        Err(refusal) => return worker.refuse(client, &request, Some(room), &refusal),
    };
    let (worker, client, room) = (worker.clone(), client.clone(), room.clone());
    tokio::task::spawn_local(async move {
        let _slot = slot;
        let outcome = outcome.await;
        answer(&worker, &client, &room, &request, outcome);
    });
}

fn answer(
    worker: &Worker,
    client: &Client,
    room: &RoomId,
    request: &RequestContext,
    outcome: Result<(), Refusal>,
) {
    match outcome {
        Ok(()) => client.reply_ok(request),
        Err(refusal) => worker.refuse(client, request, Some(room), &refusal),
    }
}
