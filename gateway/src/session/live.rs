//! Commands that are neither stored nor replayed: typing and signals use the room's lane, presence belongs to no
//! room.

use std::rc::Rc;

use tidings_shared::{
    auth::Identity,
    error::Refusal,
    ids::RoomId,
    log::{AppendError, MinRole},
    role::{self, Permission},
};

use super::{
    Client,
    lane::{Job, enqueue},
    presence, send,
};
use crate::{command::LiveCommand, request_context::RequestContext, worker::Worker};

pub(super) fn start(worker: &Rc<Worker>, client: &Rc<Client>, request: RequestContext, live: LiveCommand) {
    match live {
        LiveCommand::Typing { room, started } => {
            enqueue(worker, client, room, Job::Typing { request, started })
        }
        LiveCommand::Signal { room, to, data } => {
            enqueue(worker, client, room, Job::Signal { request, to, data })
        }
        LiveCommand::PresenceSet(status) => presence::set(worker, client, &request, status),
        LiveCommand::PresenceGet(users) => {
            let (worker, client) = (worker.clone(), client.clone());
            tokio::task::spawn_local(async move {
                presence::get(&worker, &client, &request, users).await;
            });
        }
    }
}

/// The minimum role that the user must still have when the record is published. Refuses a user without permission
/// now.
pub(super) async fn min_role(
    worker: &Worker,
    client: &Client,
    identity: &Identity,
    room: &RoomId,
) -> Result<MinRole, Refusal> {
    let role = send::role_in(worker, client, identity, room).await?;
    if identity.admin {
        return Ok(MinRole::Anyone);
    }
    if !role::allows(&role, Permission::Send) {
        return Err(AppendError::RoleTooLow.into());
    }
    Ok(Permission::Send.min_role())
}
