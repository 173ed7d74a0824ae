//! Presence on a connection: that it is there, what it says of itself, what it asks about others, and who is here in
//! a room that it joins. Nothing here keeps a connection from its other business.

use std::{rc::Rc, time::Duration};

use tidings_shared::{
    error::Refusal,
    ids::{RoomId, UserId},
    presence::{self, SMALL_ROOM},
    protocol::{
        Status,
        server::{Online, ServerFrame},
    },
};

use super::{Client, refuse};
use crate::{asked::Asked, bus::PeopleError, worker::Worker};

/// A join does not wait longer for who is here: it is told without.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(1);
/// A snapshot that was overtaken by a change is read again, so often.
const SNAPSHOT_ROUNDS: usize = 3;

/// What a connection says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing yet: nobody knows who it is.
    #[default]
    Nothing,
    Is(Status),
    /// It is gone, and cannot come back.
    Gone,
}

/// Someone was let in: they are online, unless the connection is gone by now. Of a poll: they are here for a while.
pub(super) fn arrived(worker: &Worker, client: &Client) {
    let Some(identity) = client.identity() else { return };
    if client.is_poll() {
        worker.node.presence.polled(&identity.user, None);
    } else if client.said.get() == Said::Nothing {
        client.said.set(Said::Is(Status::Online));
        worker.node.presence.opened(&identity.user, Status::Online);
    }
}

/// A connection is gone.
pub(super) fn left(worker: &Worker, client: &Client) {
    if client.is_poll() {
        if let Some(identity) = client.identity() {
            worker.node.presence.polled(&identity.user, None);
        }
        return;
    }
    if let Said::Is(status) = client.said.replace(Said::Gone)
        && let Some(identity) = client.identity()
    {
        worker.node.presence.closed(&identity.user, status);
    }
}

/// `presence:set`: answered at once, told when its turn comes.
pub(super) fn set(worker: &Worker, client: &Client, asked: &Asked, status: Status) {
    let Some(identity) = client.identity() else { return };
    if client.is_poll() {
        worker.node.presence.polled(&identity.user, Some(status));
    } else if let Said::Is(before) = client.said.get() {
        client.said.set(Said::Is(status));
        if before != status {
            worker.node.presence.moved(&identity.user, before, status);
        }
    }
    if let reference @ Some(_) = asked.reference() {
        client.reply(&ServerFrame::Ok { reference });
    }
}

/// `presence:get`: nothing is told of those with whom one shares no room.
pub(super) async fn get(worker: &Rc<Worker>, client: &Rc<Client>, asked: &Asked, mut users: Vec<UserId>) {
    let Some(identity) = client.identity() else { return };
    let Some(_place) = client.take_answer_place() else {
        return refuse(worker, client, asked, None, &super::send::too_many_unanswered());
    };
    let mut named = std::collections::HashSet::with_capacity(users.len());
    users.retain(|user| named.insert(user.clone()));
    match worker.node.bus.presence_for(&identity.user, &users).await {
        Ok(users) => client.reply(&ServerFrame::PresenceList { reference: asked.reference(), users: &users }),
        Err(error) => {
            failed(worker, &error);
            let refusal = Refusal::unavailable("who is here cannot be found out now; try again");
            refuse(worker, client, asked, None, &refusal);
        }
    }
}

/// Who is here in a small room that was joined, oneself among them. `None`: the room is not small, or it cannot be
/// found out now. It is not older than any change that was told on this connection; nothing may be awaited between
/// it and the answer.
pub(super) async fn snapshot(
    worker: &Rc<Worker>,
    client: &Client,
    room: &RoomId,
    members: u64,
) -> Option<Vec<Online>> {
    if usize::try_from(members).is_ok_and(|members| members > SMALL_ROOM) {
        return None;
    }
    let read = tokio::time::timeout(SNAPSHOT_PATIENCE, read(worker, client, room)).await;
    match read {
        Ok(Ok(online)) => online,
        Ok(Err(error)) => {
            failed(worker, &error);
            None
        }
        Err(_) => {
            failed(worker, &"no answer in time");
            None
        }
    }
}

async fn read(
    worker: &Rc<Worker>,
    client: &Client,
    room: &RoomId,
) -> Result<Option<Vec<Online>>, PeopleError> {
    let Some(users) = worker.node.bus.members_of(room).await? else { return Ok(None) };
    let identity = client.identity();
    let watch = worker.watch_presence(room);
    let mut states = None;
    for _ in 0..SNAPSHOT_ROUNDS {
        let before = watch.changes();
        let read = worker.node.bus.presence_of(&users).await?;
        if watch.changes() == before {
            states = Some(read);
            break;
        }
    }
    let Some(states) = states else { return Ok(None) };
    let own = match client.said.get() {
        Said::Is(status) => Some(status),
        Said::Nothing | Said::Gone => None,
    };
    let online = users.into_iter().zip(states).filter_map(|(user, state)| {
        // One's own state may not have come to Redis yet.
        let is_me = identity.as_ref().is_some_and(|identity| identity.user == user);
        let status = if is_me { presence::higher(state.status, own) } else { state.status };
        status.map(|status| Online { user, status })
    });
    Ok(Some(online.collect()))
}

fn failed(worker: &Worker, error: &dyn std::fmt::Display) {
    tracing::debug!(%error, "presence cannot be read");
    worker.node.metrics.presence_failures.with_label_values(&["read"]).inc();
}
