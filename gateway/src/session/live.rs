//! What is neither stored nor replayed: typing and signals go by the room's lane, presence is not of a room.

use std::rc::Rc;

use tidings_shared::{
    auth::Identity,
    error::Refusal,
    ids::RoomId,
    log::{AppendError, Minimum},
    role::{self, Permission},
};

use super::{
    Client,
    lane::{Job, enqueue},
    presence, send,
};
use crate::{asked::Asked, command::Live, worker::Worker};

pub(super) fn start(worker: &Rc<Worker>, client: &Rc<Client>, asked: Asked, live: Live) {
    match live {
        Live::Typing { room, started } => enqueue(worker, client, room, Job::Typing { asked, started }),
        Live::Signal { room, to, data } => enqueue(worker, client, room, Job::Signal { asked, to, data }),
        Live::PresenceSet(status) => presence::set(worker, client, &asked, status),
        Live::PresenceGet(users) => {
            let (worker, client) = (worker.clone(), client.clone());
            tokio::task::spawn_local(async move {
                presence::get(&worker, &client, &asked, users).await;
            });
        }
    }
}

/// The least rank that someone must still have when what they do goes out; refused when they lack it already.
pub(super) async fn least_rank(
    worker: &Worker,
    client: &Client,
    identity: &Identity,
    room: &RoomId,
) -> Result<Minimum, Refusal> {
    let role = send::role_in(worker, client, identity, room).await?;
    if identity.admin {
        return Ok(Minimum::Anyone);
    }
    if !role::allows(&role, Permission::Send) {
        return Err(AppendError::RoleTooLow.into());
    }
    Ok(Permission::Send.minimum())
}
