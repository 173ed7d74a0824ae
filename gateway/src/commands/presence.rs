//! Presence on a connection: reports that the connection has opened or closed, runs `presence:set` and `presence:get`,
//! and reads who is online in a joined room. Presence never delays other commands of the connection.

use std::time::Duration;

use tidings_shared::{
    error::Refusal,
    ids::{RoomId, UserId},
    presence::MAX_SMALL_ROOM_MEMBERS,
    protocol::{
        Status,
        server::{PresentMember, ServerFrame},
    },
};

use super::ConnectionHandle;
use crate::{
    bus::LookupError, client::ReportedPresence, presence::StatusEvent, request_context::RequestContext,
    worker::Worker,
};

/// Timeout of a snapshot. If the snapshot takes longer, the join is answered without presence.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum number of reads of a snapshot. A snapshot is read again if a presence change arrived during the read.
const MAX_SNAPSHOT_READS: usize = 3;

/// Reports an admitted user as online, unless the connection has closed. A poll's user is present for 30 s.
pub(crate) fn report_opened(caller: &ConnectionHandle) {
    let ConnectionHandle { worker, client } = caller;
    let Some(identity) = client.identity() else { return };
    if client.is_poll() {
        client.reported_presence.set(ReportedPresence::None);
        worker.node.presence.report_poll(&identity.user, None);
    } else if client.reported_presence.get() == ReportedPresence::None {
        client.reported_presence.set(ReportedPresence::Status(Status::Online));
        worker.node.presence.report_status_event(&identity.user, StatusEvent::Opened(Status::Online));
    }
}

/// Reports that a connection has closed, or that a poll is answered. A poll's user stays present for 30 s after the
/// first such call.
pub(crate) fn report_closed(caller: &ConnectionHandle) {
    let ConnectionHandle { worker, client } = caller;
    let before = client.reported_presence.replace(ReportedPresence::Closed);
    let Some(identity) = client.identity() else { return };
    if client.is_poll() {
        if before != ReportedPresence::Closed {
            worker.node.presence.report_poll(&identity.user, None);
        }
    } else if let ReportedPresence::Status(status) = before {
        // A peer that was cut off was last seen before the server noticed.
        let silence = client.connection.silence();
        worker.node.presence.report_status_event(&identity.user, StatusEvent::Closed(status, silence));
    }
}

/// Runs `presence:set`, which is answered at once and published later.
pub(super) fn set(caller: &ConnectionHandle, request: &RequestContext, status: Status) {
    let ConnectionHandle { worker, client } = caller;
    let Some(identity) = client.identity() else { return };
    if client.is_poll() {
        worker.node.presence.report_poll(&identity.user, Some(status));
    } else if let ReportedPresence::Status(before) = client.reported_presence.get() {
        client.reported_presence.set(ReportedPresence::Status(status));
        if before != status {
            let event = StatusEvent::Changed { from: before, to: status };
            worker.node.presence.report_status_event(&identity.user, event);
        }
    }
    client.reply_ok(request);
}

/// Runs `presence:get`, which reveals nothing about users who share no room with the asking user.
pub(super) fn get(caller: &ConnectionHandle, request: RequestContext, users: Vec<UserId>) {
    let caller = caller.clone();
    tokio::task::spawn_local(async move { answer_get(&caller, &request, users).await });
}

async fn answer_get(caller: &ConnectionHandle, request: &RequestContext, mut users: Vec<UserId>) {
    let ConnectionHandle { worker, client } = caller;
    let Some(identity) = client.identity() else { return };
    let _slot = match client.take_answer_slot() {
        Ok(slot) => slot,
        Err(refusal) => return caller.refuse(request, None, &refusal),
    };
    let mut seen = std::collections::HashSet::with_capacity(users.len());
    users.retain(|user| seen.insert(user.clone()));
    match worker.node.bus.presence_for(&identity.user, &users).await {
        Ok(users) => {
            client.reply(&ServerFrame::PresenceList { reference: request.reference(), users: &users })
        }
        Err(error) => {
            count_failure(worker, &error);
            let refusal = Refusal::unavailable("presence is unavailable; retry");
            caller.refuse(request, None, &refusal);
        }
    }
}

/// Returns the users who are online or away in a small room that the connection has joined, including its own user;
/// `None` if the room is not small or presence cannot be read. The caller must not await anything between the snapshot
/// and the answer, because a presence change that is sent before the answer must not be newer than the snapshot.
pub(super) async fn online_snapshot(
    caller: &ConnectionHandle,
    room: &RoomId,
    members: u64,
) -> Option<Vec<PresentMember>> {
    if usize::try_from(members).is_ok_and(|members| members > MAX_SMALL_ROOM_MEMBERS) {
        return None;
    }
    match tokio::time::timeout(SNAPSHOT_TIMEOUT, read_online_users(caller, room)).await {
        Ok(Ok(online)) => return online,
        Ok(Err(error)) => count_failure(&caller.worker, &error),
        Err(_) => count_failure(&caller.worker, &"no answer in time"),
    }
    None
}

/// Reads the users that [`online_snapshot`] returns, without its timeout.
async fn read_online_users(
    caller: &ConnectionHandle,
    room: &RoomId,
) -> Result<Option<Vec<PresentMember>>, LookupError> {
    let ConnectionHandle { worker, client } = caller;
    let Some(users) = worker.node.bus.small_room_members(room).await? else { return Ok(None) };
    let identity = client.identity();
    let watch = worker.watch_snapshot(room);
    let mut states = None;
    for _ in 0..MAX_SNAPSHOT_READS {
        let before = watch.change_count();
        let read = worker.node.bus.presence_of(&users).await?;
        if read.len() < users.len() {
            // The list would show users of a shard that does not answer as offline.
            return Ok(None);
        }
        if watch.change_count() == before {
            states = Some(read);
            break;
        }
    }
    let Some(mut states) = states else { return Ok(None) };
    let own = match client.reported_presence.get() {
        ReportedPresence::Status(status) => Some(status),
        ReportedPresence::None | ReportedPresence::Closed => None,
    };
    let online = users.into_iter().filter_map(|user| {
        let found = states.remove(&user).and_then(|state| state.status);
        // The presence of the connection's own user may not be in Redis yet.
        let is_me = identity.as_ref().is_some_and(|identity| identity.user == user);
        let status = if is_me { found.max(own) } else { found };
        status.map(|status| PresentMember { user, status })
    });
    Ok(Some(online.collect()))
}

fn count_failure(worker: &Worker, error: &dyn std::fmt::Display) {
    tracing::debug!(%error, "presence cannot be read");
    worker.node.metrics.presence_failures.with_label_values(&["read"]).inc();
}
