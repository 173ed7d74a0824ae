//! Long poll: `POST /v1/poll`. One poll is a client that joins rooms at cursors, sends its commands, and is answered
//! when something happened; then it is forgotten. Nothing is kept between polls, so any node answers any poll.

mod gathered;
mod pace;
mod request;
mod route;

use std::{rc::Rc, time::Duration};

use tidings_shared::{
    auth::Identity,
    error::Refusal,
    ids::RoomId,
    protocol::{CloseCode, Command, JoinTarget, Parsed, client, server::rfc3339},
    telemetry::TraceContext,
};
use tokio::time::Instant;

use super::{
    Admitted, ChatSession, Client, Gate, join,
    line::{Collector, Line},
    now_ms, presence,
};
use crate::{asked::Asked, transport::Session, worker::Worker};
use gathered::{Answer, Gathered};
use request::PollRequest;

pub use route::configure;

/// A poll waits so long for its rooms to catch up and its commands to be answered, however soon its timeout comes:
/// else a short one would never bring what is there.
const SETTLE_WITHIN: Duration = Duration::from_secs(3);
/// An answer does not grow further than this by a replay; the next poll goes on.
const ENOUGH_BYTES: usize = 64 * 1024;

/// The rooms of a poll are left however it ends, also when its caller goes away.
struct Poll {
    session: ChatSession,
}

impl Drop for Poll {
    fn drop(&mut self) {
        // First, so that joins and replays that are still on their way find it closed, and give up.
        self.session.client.connection.close(crate::transport::close_code::NORMAL, "");
        self.session.on_closed(crate::transport::close_code::NORMAL);
    }
}

/// Carries one poll out; with nothing to tell it is answered then. Commands without a trace of their own belong to the
/// poll's.
///
/// # Errors
/// `forbidden` when the user was blocked meanwhile.
async fn poll(
    worker: &Rc<Worker>,
    admitted: Admitted,
    request: PollRequest,
    trace: Option<TraceContext>,
    until: Instant,
    gate: &Gate,
) -> Result<Vec<u8>, Refusal> {
    let expiry = Instant::now() + until_expiry(&admitted.identity);
    let deadline = until.min(expiry);
    let unsettled_deadline = (Instant::now() + SETTLE_WITHIN).min(expiry).max(deadline);
    let collector = Collector::new(request.cursors.len());
    let client = Rc::new(Client::new(Line::Poll(collector.clone())));
    let user = admitted.identity.user.clone();
    client.set_identity(admitted.identity);
    presence::arrived(worker, &client);
    let mut poll = Poll { session: ChatSession { worker: worker.clone(), client: client.clone() } };
    worker.enter(&client, admitted.entering, admitted.versions);

    let mut gathered = Gathered::new(&request);
    if request.rooms_version.as_ref().is_some_and(|version| *version != admitted.rooms_version) {
        gathered.rooms_changed(&admitted.rooms_version);
    }
    let target = JoinTarget::Many {
        rooms: request.cursors.iter().map(|(room, _)| room.clone()).collect(),
        after: request
            .cursors
            .iter()
            .filter_map(|(room, after)| Some((room.clone(), after.clone()?)))
            .collect(),
    };
    let asked = Asked::untold(Some(gathered::JOIN.to_owned()));
    join::start(worker, &client, asked, target, true);
    for (place, command) in request.commands.iter().enumerate() {
        carry_out(&mut poll, place, command.get(), trace);
    }
    loop {
        if gathered.take(&collector) {
            client.drained.notify_one();
        }
        gathered.retain(|room| client.joined(room).is_some());
        let enough = gathered.is_caught_up() || collector.bytes() >= ENOUGH_BYTES;
        let settled = enough && gathered.is_answered();
        let until = if settled { deadline } else { unsettled_deadline };
        // Of a node that drains the answer comes at once, but for commands that have begun.
        let draining = gate.closed.is_cancelled();
        let done = (draining && gathered.is_answered()) || (settled && gathered.has_something());
        if done || collector.closed().is_some() || gate.over.is_cancelled() || Instant::now() >= until {
            break;
        }
        // Whatever it was, it is looked at above.
        tokio::select! {
            () = collector.changed.notified() => {}
            () = gate.closed.cancelled(), if !draining => {}
            () = gate.over.cancelled() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }
    // From here on nothing is awaited: what the hub says was sent is in the collector.
    gathered.take(&collector);
    match collector.closed() {
        None => gathered.move_to(|room| live_position(worker, &client, room)),
        Some(code) if code == CloseCode::Forbidden.code() => {
            let code = tidings_shared::error::ErrorCode::Forbidden;
            return Err(Refusal::new(code, "this user is blocked or gone"));
        }
        // What came behind the bound is dropped; the cursors say so.
        Some(_) => {}
    }
    Ok(gathered.into_json(&Answer {
        rooms_version: &admitted.rooms_version,
        websocket: gate.websocket,
        user: user.as_str(),
        server_time: &rfc3339(now_ms()),
        limits: &worker.node.limits,
    }))
}

/// Reads a command like a frame, and carries it out under a `ref` of ours.
fn carry_out(poll: &mut Poll, place: usize, text: &str, trace: Option<TraceContext>) {
    let limits = &poll.session.worker.node.limits;
    let mut parsed = if text.len() > limits.max_frame_bytes {
        let message = format!("a command must not be over {} bytes", limits.max_frame_bytes);
        let refusal = Refusal::new(tidings_shared::error::ErrorCode::TooLarge, message);
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
    parsed.reference = Some(gathered::reference(place));
    poll.session.on_parsed(parsed);
}

/// Up to where a room was sent, if it is live. While it replays, others may be further there.
fn live_position(worker: &Worker, client: &Client, room: &RoomId) -> Option<crate::hub::Position> {
    let hub = worker.hub.borrow();
    client.joined(room).filter(|joined| hub.is_live(room, *joined)).and_then(|_| hub.live_position(room))
}

fn until_expiry(identity: &Identity) -> Duration {
    let left_ms = identity.expires_at_s.saturating_mul(1000).saturating_sub(now_ms());
    Duration::from_millis(u64::try_from(left_ms).unwrap_or(0))
}
