//! Runs the jobs of a connection's lanes. The node combines the read and delivered marks of all its connections, so a
//! mark is answered later, when it is stored.

use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::{RoomId, Seq},
};

use super::{ChatSession, access, append, join_room, live};
use crate::{
    client::{Job, SlotGuard},
    command::{AppendCommand, RoomCommand},
    request_context::RequestContext,
};

/// Adds a job to its room's lane, and starts the lane if it is idle.
pub(super) fn enqueue(session: &ChatSession, room: RoomId, job: Job) {
    if let Some(job) = session.client.add_job(&room, job) {
        tokio::task::spawn_local(run_lane(session.clone(), room, job));
    }
}

async fn run_lane(session: ChatSession, room: RoomId, first: Job) {
    let mut next = Some(first);
    while let Some(job) = next {
        let done = run_job(&session, &room, job).await;
        next = session.client.finish_jobs(&room, done);
        session.client.close_if_overdue();
    }
}

/// Runs one job. A message is appended together with the messages that wait behind it. Returns the number of jobs that
/// were done.
async fn run_job(session: &ChatSession, room: &RoomId, job: Job) -> usize {
    let (request, command) = match job {
        Job::Join { after, group, index } => {
            join_room::run_join(session, room, after, &group, index).await;
            return 1;
        }
        Job::Leave { group } => {
            join_room::run_leave(session, room, &group);
            return 1;
        }
        Job::Command(request, command) => (request, command),
    };
    match command {
        RoomCommand::Append(AppendCommand::Send(draft)) => {
            let sends = session.client.take_consecutive_sends(room, request, draft);
            let done = sends.len();
            append::append_sends(session, room, sends).await;
            return done;
        }
        RoomCommand::Append(AppendCommand::Change(change)) => {
            append::append_change(session, room, request, change).await;
        }
        RoomCommand::Mark { seq, delivered } => {
            let outcome = submit_mark(session, room, seq, delivered).await;
            answer_later(session, room, request, outcome);
        }
        RoomCommand::Typing { started } => {
            let outcome = live::submit_typing(session, room, started).await;
            answer_later(session, room, request, outcome);
        }
        RoomCommand::Signal { to, data } => {
            let outcome = live::publish_signal(session, room, to, &data).await;
            send_answer(session, room, &request, outcome);
        }
    }
    1
}

/// Accepts a read or delivered mark, and returns the future of its outcome. Marks never move back, so later jobs of the
/// lane need not wait for the outcome.
async fn submit_mark(
    session: &ChatSession,
    room: &RoomId,
    seq: Seq,
    delivered: bool,
) -> Result<(SlotGuard, impl Future<Output = Result<(), Refusal>> + use<>), Refusal> {
    let identity = access::current_identity(session)?;
    // An admin can act in any room, but only a member can have a mark.
    if access::role_in(session, &identity, room).await?.is_empty() {
        return Err(Refusal::new(ErrorCode::Forbidden, "only a member of the room has a mark in it"));
    }
    let slot = session.client.take_answer_slot()?;
    let (receipts, room) = (session.worker.node.receipts.clone(), room.clone());
    Ok((slot, async move { receipts.mark(&room, &identity.user, seq, delivered).await.map(drop) }))
}

/// Waits for the outcome of a command and answers it, in a separate task, so that the lane's next jobs need not wait.
fn answer_later(
    session: &ChatSession,
    room: &RoomId,
    request: RequestContext,
    accepted: Result<(SlotGuard, impl Future<Output = Result<(), Refusal>> + 'static), Refusal>,
) {
    let (slot, outcome) = match accepted {
        Ok(accepted) => accepted,
        Err(refusal) => return session.refuse(&request, Some(room), &refusal),
    };
    let (session, room) = (session.clone(), room.clone());
    tokio::task::spawn_local(async move {
        let _slot = slot;
        let outcome = outcome.await;
        send_answer(&session, &room, &request, outcome);
    });
}

fn send_answer(session: &ChatSession, room: &RoomId, request: &RequestContext, outcome: Result<(), Refusal>) {
    match outcome {
        Ok(()) => session.client.reply_ok(request),
        Err(refusal) => session.refuse(request, Some(room), &refusal),
    }
}
