//! `message:edit`, `message:delete`, `reaction:add` and `reaction:remove`: append a change of a message.

use std::time::Instant;

use tidings_shared::{
    ids::RoomId,
    message::change::{Actor, Change},
    telemetry::in_trace,
};

use super::{ConnectionHandle, access, answer};
use crate::request_context::RequestContext;

/// Appends a change. The lane continues when this function returns.
pub(super) async fn run(caller: &ConnectionHandle, room: &RoomId, request: RequestContext, change: &Change) {
    let Some(identity) = caller.client.identity() else { return };
    let (trace, started) = (request.trace(), Instant::now());
    let Some(pending) = answer::begin(caller, room, request, &change.client_id, change.ack, started) else {
        return;
    };
    let append = async {
        let role = access::role_in(caller, &identity, room).await?;
        let actor = Actor { user: &identity.user, role: &role, admin: identity.admin };
        change.permit(&actor)?;
        caller.worker.node.take_room_bytes(room, change.bytes())?;
        caller.worker.node.bus.log.change(room, &actor, change).await
    };
    let appended = match trace {
        None => append.await,
        // The traced future is boxed, so that the untraced future stays small.
        Some(trace) => in_trace(trace, Box::pin(answer::log_appended(append))).await,
    };
    answer::finish(&caller.worker, pending, appended);
}
