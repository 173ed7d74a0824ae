//! Runs the commands for rooms. Each connection has a *lane* for each room: a command starts when the previous one of
//! its lane is done. A send is done when its message is appended; the lane does not wait until it is stored.

use tidings_shared::{ids::RoomId, protocol::RoomCommand};

use super::{ConnectionHandle, change, join_room, mark, send, signal, typing};
use crate::client::Job;

/// Adds a job to its room's lane, and starts the lane if it is idle.
pub(super) fn enqueue(caller: &ConnectionHandle, room: RoomId, job: Job) {
    if let Some(job) = caller.client.add_job(&room, job) {
        tokio::task::spawn_local(run_lane(caller.clone(), room, job));
    }
}

async fn run_lane(caller: ConnectionHandle, room: RoomId, first: Job) {
    let mut next = Some(first);
    while let Some(job) = next {
        let done = run_job(&caller, &room, job).await;
        next = caller.client.finish_jobs(&room, done);
        caller.client.close_if_overdue();
    }
}

/// Runs one job. A message is appended together with the messages that wait behind it. Returns the number of jobs that
/// were done.
async fn run_job(caller: &ConnectionHandle, room: &RoomId, job: Job) -> usize {
    let (request, command) = match job {
        Job::Join { after, group, index } => {
            join_room::run_join(caller, room, after, &group, index).await;
            return 1;
        }
        Job::Leave { group } => {
            join_room::run_leave(caller, room, &group);
            return 1;
        }
        Job::Command(request, command) => (request, command),
    };
    match command {
        RoomCommand::Send(draft) => {
            let sends = caller.client.take_consecutive_sends(room, request, draft);
            let done = sends.len();
            send::run(caller, room, sends).await;
            return done;
        }
        RoomCommand::Change(change) => change::run(caller, room, request, &change).await,
        RoomCommand::Mark { seq, delivered } => mark::run(caller, room, request, seq, delivered).await,
        RoomCommand::Typing { started } => typing::run(caller, room, request, started).await,
        RoomCommand::Signal { to, data } => {
            let outcome = signal::publish(caller, room, to, &data).await;
            caller.answer(&request, room, outcome);
        }
    }
    1
}
