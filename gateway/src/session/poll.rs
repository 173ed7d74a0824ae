//! Long poll: `POST /v1/poll`. One poll is a client that joins rooms at cursors, runs its commands, and is answered
//! when there is something to return. No state is kept between polls, so any node can answer any poll.

mod answer;
mod request;
mod route;

use std::{rc::Rc, time::Duration};

use tidings_shared::{
    clock::unix_ms,
    error::{ErrorCode, Refusal},
    ids::RoomId,
    protocol::{CloseCode, Command, JoinTarget, Parsed, client, server::rfc3339},
    telemetry::TraceContext,
};
use tokio::time::Instant;

use super::{Admitted, ChatSession, Gate, join, presence};
use crate::{
    client::{Client, ClientTransport, PollBuffer, until_expiry},
    request_context::RequestContext,
    transport::Session,
    worker::Worker,
};
use answer::{AnswerBuilder, AnswerMetadata};
use request::PollRequest;

pub use route::configure;

/// A poll waits up to this time for its rooms to catch up and its commands to be answered, even if the timeout of the
/// poll is shorter. Otherwise a poll with a short timeout would never return missed records.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(3);
/// Soft limit of an answer, in bytes. At this size the poll is answered, and the next poll continues the replay.
const SOFT_ANSWER_BYTES: usize = 64 * 1024;

/// Leaves the rooms of a poll when the poll ends in any way, also when its caller disconnects.
struct Poll {
    session: ChatSession,
}

impl Drop for Poll {
    fn drop(&mut self) {
        // The connection is closed first, so that joins and replays in progress find it closed and stop.
        self.session.client.connection.close(crate::transport::close_code::NORMAL, "");
        self.session.on_closed(crate::transport::close_code::NORMAL);
    }
}

/// Runs one poll, and returns the body of the answer. A poll with nothing to return is answered at `until`. Commands
/// without their own trace use `trace`. Refuses a user who was blocked meanwhile with `forbidden`.
async fn poll(
    worker: &Rc<Worker>,
    admitted: Admitted,
    request: PollRequest,
    trace: Option<TraceContext>,
    until: Instant,
    gate: &Gate,
) -> Result<Vec<u8>, Refusal> {
    let expiry = Instant::now() + until_expiry(&admitted.identity, unix_ms());
    let deadline = until.min(expiry);
    let unsettled_deadline = (Instant::now() + SETTLE_TIMEOUT).min(expiry).max(deadline);
    let buffer = PollBuffer::new(request.cursors.len());
    let client = Rc::new(Client::new(ClientTransport::Poll(buffer.clone())));
    let user = admitted.identity.user.clone();
    client.set_identity(admitted.identity);
    let session = ChatSession { worker: worker.clone(), client: client.clone() };
    presence::report_opened(&session);
    let mut poll = Poll { session };
    worker.register(&client, admitted.registration, admitted.versions);

    let mut answer = AnswerBuilder::new(&request);
    if request.rooms_version.as_ref().is_some_and(|version| *version != admitted.rooms_version) {
        answer.add_rooms_changed(&admitted.rooms_version);
    }
    let target = JoinTarget::Many {
        rooms: request.cursors.iter().map(|(room, _)| room.clone()).collect(),
        after: request
            .cursors
            .iter()
            .filter_map(|(room, after)| Some((room.clone(), after.clone()?)))
            .collect(),
    };
    let request_context = RequestContext::unobserved(Some(answer::JOIN.to_owned()));
    join::start(&poll.session, request_context, target, true);
    for (index, command) in request.commands.iter().enumerate() {
        run_command(&mut poll, index, command.get(), trace);
    }
    loop {
        if answer.collect(&buffer) {
            client.drained.notify_one();
        }
        answer.retain_replaying(|room| client.subscription(room).is_some());
        let may_return = answer.is_caught_up() || buffer.bytes() >= SOFT_ANSWER_BYTES;
        let settled = may_return && answer.is_answered();
        let until = if settled { deadline } else { unsettled_deadline };
        // A draining node answers as soon as no command is in progress.
        let draining = gate.draining.is_cancelled();
        let done = (draining && answer.is_answered()) || (settled && answer.has_content());
        if done
            || buffer.close_code().is_some()
            || gate.polls_must_end.is_cancelled()
            || Instant::now() >= until
        {
            break;
        }
        // After any of these events, the loop checks all conditions again.
        tokio::select! {
            () = buffer.changed.notified() => {}
            () = gate.draining.cancelled(), if !draining => {}
            () = gate.polls_must_end.cancelled() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
    // Nothing may be awaited from here on, so that the answer holds everything that the hub counts as sent.
    answer.collect(&buffer);
    match buffer.close_code() {
        None => answer.advance_cursors(|room| live_position(worker, &client, room)),
        Some(code) if code == CloseCode::Forbidden.code() => {
            return Err(Refusal::new(ErrorCode::Forbidden, "this user is blocked or deleted"));
        }
        // Frames above the size limit were dropped, so the cursors must stay before the dropped frames.
        Some(_) => {}
    }
    Ok(answer.into_json(&AnswerMetadata {
        rooms_version: &admitted.rooms_version,
        websocket: gate.websocket,
        user: user.as_str(),
        server_time: &rfc3339(unix_ms()),
        limits: &worker.node.limits,
    }))
}

/// Parses a command like a frame, and runs it with a `ref` that the server has chosen instead of the client's `ref`.
fn run_command(poll: &mut Poll, index: usize, text: &str, trace: Option<TraceContext>) {
    let limits = &poll.session.worker.node.limits;
    let mut parsed = if text.len() > limits.max_frame_bytes {
        let message = format!("a command can have at most {} bytes", limits.max_frame_bytes);
        let refusal = Refusal::new(ErrorCode::TooLarge, message);
        Parsed { reference: None, room: None, trace: None, frame: Err(refusal) }
    } else {
        client::parse(text, limits.max_message_chars)
    };
    if let Ok(Command::Auth { .. } | Command::Join { .. } | Command::Leave { .. }) = &parsed.frame {
        let refusal =
            Refusal::bad_field("type", "a poll names its rooms in `cursors` and its token in the header");
        parsed.frame = Err(refusal);
    }
    parsed.trace = parsed.trace.or(trace);
    parsed.reference = Some(answer::reference(index));
    poll.session.on_parsed(parsed);
}

/// The position up to which a poll was sent the records of a live room. Returns `None` if the poll's subscription is
/// not live, because the room's position then applies to other subscriptions only.
fn live_position(worker: &Worker, client: &Client, room: &RoomId) -> Option<crate::hub::Position> {
    let hub = worker.hub.borrow();
    client
        .subscription(room)
        .filter(|joined| hub.room(room).is_live(*joined))
        .and_then(|_| hub.room(room).live_position())
}
