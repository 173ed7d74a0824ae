//! Long poll: `POST /v1/poll`. A poll is a client that joins rooms at cursors, runs its commands, and is answered when
//! there is something to return. Any node can answer any poll. After its answer a poll is kept for some seconds, so
//! that the next poll on this node need not join the same rooms again.

mod answer;
mod kept;
mod request;
mod route;
mod workers;

use std::{rc::Rc, sync::Arc, time::Duration};

use tidings_shared::{
    auth::Identity,
    clock::unix_ms,
    error::{ErrorCode, Refusal},
    ids::RoomId,
    protocol::{CloseCode, Command, JoinTarget, Parsed, client, server::rfc3339},
    telemetry::TraceContext,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::AdmissionControl;
use crate::{
    client::{Client, ClientTransport, PollBuffer, time_until_expiry},
    commands::{self, ConnectionHandle, join, presence},
    request_context::RequestContext,
    transport::Session,
    worker::Worker,
};
use answer::{AnswerBuilder, AnswerMetadata};
use kept::KeptPolls;
use workers::{PollJob, PollResult};

pub use route::configure;
pub use workers::PollWorkers;

/// A poll waits up to this time for its rooms to catch up and its commands to be answered, even if the timeout of the
/// poll is shorter. Otherwise a poll with a short timeout would never return missed records.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(3);
/// Soft limit of an answer, in bytes. At this size the poll is answered, and the next poll continues the replay.
const SOFT_ANSWER_BYTES: usize = 64 * 1024;
/// Maximum number of polls of one worker that join rooms at the same time. The tasks of the joins wait in one queue with
/// the deliveries of the worker, and would delay them.
const MAX_JOINING_POLLS: usize = 4;
/// After this time a joining poll does not count any more, so that polls with slow rooms do not delay the others.
const MAX_COUNTED_JOIN_TIME: Duration = Duration::from_millis(250);

/// What the polls of one worker share.
struct PollContext {
    worker: Rc<Worker>,
    admission: Arc<AdmissionControl>,
    kept: Rc<KeptPolls>,
    joining: Semaphore,
}

impl PollContext {
    fn new(worker: Rc<Worker>, admission: Arc<AdmissionControl>, kept: Rc<KeptPolls>) -> Self {
        Self { worker, admission, kept, joining: Semaphore::new(MAX_JOINING_POLLS) }
    }

    /// Waits until a poll may join its rooms. Refuses the poll at the deadline, or when the node drains.
    async fn joining_permit(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Refusal> {
        let permit = tokio::select! {
            permit = timeout_at(deadline, self.joining.acquire()) => permit.ok().and_then(Result::ok),
            () = self.admission.draining.cancelled() => None,
        };
        permit.ok_or_else(|| Refusal::unavailable("too many polls are joining rooms; poll again"))
    }
}

/// A running or kept poll. Dropping this value leaves the poll's rooms, also when the caller disconnects.
struct Poll {
    handle: ConnectionHandle,
    buffer: Rc<PollBuffer>,
}

impl Poll {
    /// Creates the client of a poll of this many rooms.
    fn open(worker: &Rc<Worker>, identity: Identity, rooms: usize) -> Self {
        let buffer = PollBuffer::new(rooms);
        let client = Rc::new(Client::new(ClientTransport::Poll(buffer.clone())));
        client.set_identity(identity);
        Self { handle: ConnectionHandle { worker: worker.clone(), client }, buffer }
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        // The connection is closed first, so that joins and replays in progress find it closed and stop.
        self.handle.client.connection.close(crate::transport::close_code::NORMAL, "");
        self.handle.on_closed(crate::transport::close_code::NORMAL);
    }
}

/// Runs one poll, as a continuation of a kept poll if one matches. Refuses a user who was blocked meanwhile.
async fn run_poll(context: &PollContext, job: PollJob) -> PollResult {
    let PollContext { worker, admission, kept, .. } = context;
    let PollJob { admitted, request, trace, until } = job;
    let expiry = Instant::now() + time_until_expiry(&admitted.identity, unix_ms());
    let deadline = until.min(expiry);
    let unsettled_deadline = || (Instant::now() + SETTLE_TIMEOUT).min(expiry).max(deadline);
    let (user, rooms) = (admitted.identity.user.clone(), request.cursors.len());
    let mut answer = AnswerBuilder::new(&request);
    let poll = if let Some((poll, epochs)) = kept.take(&user, &request.cursors) {
        worker.node.metrics.polls_continued.inc();
        answer.set_epochs(epochs);
        poll.buffer.begin_answer(rooms);
        // The client of the kept poll is already registered.
        drop(admitted.registration);
        poll.handle.client.set_identity(admitted.identity);
        poll
    } else {
        let poll = Poll::open(worker, admitted.identity, rooms);
        worker.register(&poll.handle.client, admitted.registration, admitted.versions);
        poll
    };
    presence::report_opened(&poll.handle);
    let (client, buffer) = (poll.handle.client.clone(), poll.buffer.clone());

    if request.rooms_version.as_ref().is_some_and(|version| *version != admitted.rooms_version) {
        answer.add_rooms_changed(&admitted.rooms_version, admitted.spread_ms);
    }
    let new_rooms = || request.cursors.iter().filter(|(room, _)| client.subscription(room).is_none());
    let mut joining = match new_rooms().next() {
        Some(_) => Some(context.joining_permit(unsettled_deadline()).await?),
        None => None,
    };
    // The times start after the wait for other polls.
    let unsettled_deadline = unsettled_deadline();
    let joining_until = Instant::now() + MAX_COUNTED_JOIN_TIME;
    let target = JoinTarget::Many {
        rooms: new_rooms().map(|(room, _)| room.clone()).collect(),
        after: new_rooms().filter_map(|(room, after)| Some((room.clone(), after.clone()?))).collect(),
    };
    let request_context = RequestContext::unobserved(Some(answer::JOIN_REF.to_owned()));
    join::run(&poll.handle, request_context, target, true);
    for (index, command) in request.commands.iter().enumerate() {
        run_command(&poll, index, command.get(), trace);
    }
    loop {
        if answer.collect(&buffer) {
            client.drained.notify_one();
        }
        if answer.has_joined() {
            drop(joining.take());
        }
        answer.retain_replaying(|room| client.subscription(room).is_some());
        let may_return = answer.is_caught_up() || buffer.bytes() >= SOFT_ANSWER_BYTES;
        let settled = may_return && answer.has_answered_all();
        let until = if settled { deadline } else { unsettled_deadline };
        // A draining node answers as soon as no command is in progress.
        let draining = admission.draining.is_cancelled();
        let done = (draining && answer.has_answered_all()) || (settled && answer.has_content());
        if done
            || buffer.close_code().is_some()
            || admission.polls_must_end.is_cancelled()
            || Instant::now() >= until
        {
            break;
        }
        // After any of these events, the loop checks all conditions again.
        tokio::select! {
            () = buffer.changed.notified() => {}
            () = admission.draining.cancelled(), if !draining => {}
            () = admission.polls_must_end.cancelled() => {}
            () = tokio::time::sleep_until(joining_until), if joining.is_some() => drop(joining.take()),
            () = tokio::time::sleep_until(until) => {}
        }
    }
    // This function must not await anything from here on, so that the answer holds everything that the hub counts as
    // sent.
    answer.collect(&buffer);
    match buffer.close_code() {
        None => answer.advance_cursors(|room| live_position(worker, &client, room)),
        Some(code) if code == CloseCode::Forbidden.code() => {
            return Err(Refusal::new(ErrorCode::Forbidden, "this user is blocked or deleted"));
        }
        // Frames above the size limit were dropped, so the cursors must stay before the dropped frames.
        Some(_) => {}
    }
    let complete = buffer.close_code().is_none()
        && answer.is_caught_up()
        && answer.has_answered_all()
        && client.has_answered_all()
        && !admission.draining.is_cancelled()
        && !admission.polls_must_end.is_cancelled();
    let (body, reached) = answer.into_json(&AnswerMetadata {
        rooms_version: &admitted.rooms_version,
        websocket: admission.websocket,
        user: user.as_str(),
        server_time: &rfc3339(unix_ms()),
        limits: &worker.node.limits,
    });
    if complete {
        presence::report_closed(&poll.handle);
        client.drained.notify_one();
        kept.keep(&user, poll, reached);
    }
    Ok(body)
}

/// Parses a command like a frame, and runs it with a `ref` that the server has chosen instead of the client's `ref`.
fn run_command(poll: &Poll, index: usize, text: &str, trace: Option<TraceContext>) {
    let limits = &poll.handle.worker.node.limits;
    let mut parsed = if text.len() > limits.max_frame_bytes {
        let message = format!("a command can have at most {} bytes", limits.max_frame_bytes);
        let refusal = Refusal::new(ErrorCode::TooLarge, message);
        Parsed::refused(refusal)
    } else {
        client::parse(text, limits.max_message_chars)
    };
    if let Ok(Command::Auth { .. } | Command::Join { .. } | Command::Leave { .. }) = &parsed.frame {
        let refusal =
            Refusal::bad_field("type", "a poll names its rooms in `cursors` and its token in the header");
        parsed.frame = Err(refusal);
    }
    parsed.trace = parsed.trace.or(trace);
    parsed.reference = Some(answer::command_ref(index));
    commands::receive(&poll.handle, parsed);
}

/// The position of a room up to which the poll was sent all records. Returns `None` if the poll's subscription is not
/// live, because the room's position then applies to other subscriptions only.
fn live_position(worker: &Worker, client: &Client, room: &RoomId) -> Option<crate::hub::Position> {
    let hub = worker.hub.borrow();
    client
        .subscription(room)
        .filter(|joined| hub.room(room).receives_live_only(*joined))
        .and_then(|_| hub.room(room).live_position())
}
