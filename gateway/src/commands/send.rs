//! `message:send`: appends messages to the room's log.

use std::{collections::VecDeque, time::Instant};

use tidings_shared::{
    auth::Identity,
    error::Refusal,
    ids::RoomId,
    log::{Accepted, AppendError, Entry},
    message::{Draft, change::Actor},
    telemetry::in_trace,
};

use super::{ConnectionHandle, access, answer};
use crate::request_context::RequestContext;

/// Appends messages in their order with as few calls as possible. The lane continues when this function returns.
pub(super) async fn run(caller: &ConnectionHandle, room: &RoomId, sends: Vec<(RequestContext, Box<Draft>)>) {
    let worker = &caller.worker;
    let Some(identity) = caller.client.identity() else { return };
    let started = Instant::now();
    worker.node.typing.cancel_unpublished(room, &identity.user);
    let role = access::role_in(caller, &identity, room).await;
    let (mut pending, mut entries) = (VecDeque::with_capacity(sends.len()), Vec::with_capacity(sends.len()));
    for (request, draft) in sends {
        let mut entry =
            role.as_ref().map_err(Clone::clone).and_then(|role| entry(caller, &identity, role, room, &draft));
        if let Ok(message) = &mut entry
            && !draft.mentions.is_empty()
        {
            // Boxed, because few messages mention users.
            let checked = Box::pin(worker.node.bus.log.check_mentions(message, &draft.mentions)).await;
            // The check may wait for persistence, so the role is read again.
            let still_permitted = access::role_in(caller, &identity, room)
                .await
                .and_then(|role| draft.permit(&actor(&identity, &role)));
            entry = checked.and(still_permitted).and(entry);
        }
        let begun = answer::begin(caller, room, request, &draft.client_id, draft.ack, started);
        match (begun, entry) {
            (Some(next), Ok(entry)) => {
                pending.push_back(next);
                entries.push(entry);
            }
            (Some(next), Err(refusal)) => caller.refuse(&next.request, Some(room), &refusal),
            (None, _) => {}
        }
    }
    let trace = pending.front().and_then(|first| first.request.trace());
    let mut answered = |appended: Result<Accepted, AppendError>| {
        if let Some(next) = pending.pop_front() {
            answer::finish(worker, next, appended.map_err(Into::into));
        }
    };
    match (trace, entries.as_mut_slice()) {
        // The traced future is boxed, so that the untraced future stays small.
        (Some(trace), [entry]) => {
            answered(in_trace(trace, Box::pin(answer::log_appended(worker.node.bus.append(entry)))).await);
        }
        _ => worker.node.bus.append_messages(&worker.batcher, &mut entries, answered).await,
    }
}

fn actor<'a>(identity: &'a Identity, role: &'a str) -> Actor<'a> {
    Actor { user: &identity.user, role, admin: identity.admin }
}

/// The log entry of a message, after the checks that need no call.
fn entry<'a>(
    caller: &ConnectionHandle,
    identity: &'a Identity,
    role: &'a str,
    room: &'a RoomId,
    draft: &Draft,
) -> Result<Entry<'a>, Refusal> {
    let (name, picture) = (identity.name.as_deref(), identity.picture.as_deref());
    let entry = draft.sent_by(room, &actor(identity, role), name, picture)?;
    caller.worker.node.take_room_bytes(room, draft.bytes())?;
    Ok(entry)
}
