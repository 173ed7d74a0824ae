//! The commands of clients. [`receive`] gets a parsed frame, asks the [`gate`] whether its command may run, and runs
//! it. A command for a room waits in a [lane](lanes) until all earlier commands of its connection for this room have
//! taken effect. The files named after commands contain what these commands do.

mod access;
mod answer;
pub mod auth;
mod change;
mod gate;
mod handle;
pub mod join;
mod join_room;
mod lanes;
mod leave;
mod mark;
mod ping;
pub mod presence;
mod send;
mod signal;
mod typing;

use tidings_shared::protocol::{Command, Parsed, RoomCommand};

use crate::{client::Job, request_context::RequestContext};
pub use handle::ConnectionHandle;

/// Runs the command of a frame, or refuses it. WebSockets, polls and Socket.IO clients pass every command to this
/// function.
pub fn receive(caller: &ConnectionHandle, parsed: Parsed) {
    let node = &caller.worker.node;
    let Parsed { reference, room, trace, frame } = parsed;
    let command = frame.as_ref().ok();
    let room_command = command.and_then(Command::in_room);
    let is_send = matches!(room_command, Some(RoomCommand::Send(_)));
    let mut request = RequestContext::new(reference, is_send, node.counters.count_frame(command));
    // Only commands that append to the log are traced, because only their path leads through all services.
    if let (Some(command), Some(RoomCommand::Send(_) | RoomCommand::Change(_))) = (command, room_command) {
        request = request.with_span(command.frame(), trace);
    }
    let take_tokens = |limit, user: &_, cost| node.take_tokens(limit, user, cost);
    let admitted = gate::admit(&caller.client.state.borrow(), frame, &take_tokens);
    match admitted {
        Ok(command) => run(caller, command, request),
        Err(gate::Refused::Command(refusal)) => caller.refuse(&request, room.as_ref(), &refusal),
        Err(gate::Refused::Auth(refusal)) => auth::finish(caller, request, Err(refusal)),
    }
}

fn run(caller: &ConnectionHandle, command: Command, request: RequestContext) {
    match command {
        Command::Auth { token } => auth::run(caller, request, token),
        Command::Join { target, presence } => join::run(caller, request, target, presence),
        Command::Leave { rooms } => leave::run(caller, request, rooms),
        Command::PresenceSet { status } => presence::set(caller, &request, status),
        Command::PresenceGet { users } => presence::get(caller, request, users),
        Command::Ping => ping::run(caller, &request),
        Command::InRoom { room, command } => lanes::enqueue(caller, room, Job::Command(request, command)),
    }
}
