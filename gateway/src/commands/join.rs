//! `room:join`: one job per room, in the room's lane. The last job answers the join.

use std::{
    cell::{Cell, RefCell},
    num::NonZeroU32,
    rc::Rc,
};

use tidings_shared::{
    error::Refusal,
    ids::{Cursor, RoomId, UserId},
    protocol::JoinTarget,
};
use tokio::sync::Semaphore;

use super::{ConnectionHandle, join_room, lanes::enqueue};
use crate::{
    client::{Job, JoinGroup, JoinMemberships},
    limits::{Limit, rooms_cost},
    request_context::RequestContext,
    worker::Worker,
};

/// Maximum number of rooms of one join that are joined at the same time. The limit also bounds the work that a join
/// continues after its connection has closed.
const MAX_CONCURRENT_ROOMS: usize = 32;

/// Starts a join: one job per room. For `"mine"`, first reads the rooms of the user.
pub(crate) fn run(caller: &ConnectionHandle, request: RequestContext, target: JoinTarget, presence: bool) {
    match target {
        JoinTarget::One { room, after } => {
            start_group(caller, request, vec![(room, after)], true, presence, None);
        }
        JoinTarget::Many { rooms, mut after } => {
            let rooms = rooms.into_iter().map(|room| (room.clone(), after.remove(&room))).collect();
            start_group(caller, request, rooms, false, presence, None);
        }
        JoinTarget::Mine { mut after } => {
            let waiting = caller.clone();
            // Reading is paused, because a later frame may refer to the rooms that are read here.
            caller.spawn_paused(async move {
                let Some(identity) = waiting.client.identity() else { return };
                match read_my_rooms(&waiting.worker, &identity.user).await {
                    Ok((rooms, more)) => {
                        let rooms =
                            rooms.into_iter().map(|room| (room.clone(), after.remove(&room))).collect();
                        start_group(&waiting, request, rooms, false, presence, Some(more));
                    }
                    Err(refusal) => waiting.refuse(&request, None, &refusal),
                }
            });
        }
    }
}

/// Reads the rooms of a join of `"mine"`, and whether the user has more rooms. Takes the rate limit tokens for the
/// rooms, because their number is known only here.
async fn read_my_rooms(worker: &Worker, user: &UserId) -> Result<(Vec<RoomId>, bool), Refusal> {
    let (rooms, more) = worker.node.bus.recent_rooms(user).await?;
    if let Some(cost) = NonZeroU32::new(rooms_cost(rooms.len())) {
        worker.node.take_tokens_or_refuse(Limit::Joins, user, cost)?;
    }
    Ok((rooms, more))
}

/// Queues one job per room. The last job answers the join.
fn start_group(
    caller: &ConnectionHandle,
    request: RequestContext,
    rooms: Vec<(RoomId, Option<Cursor>)>,
    is_single_room: bool,
    presence: bool,
    more: Option<bool>,
) {
    let client = &caller.client;
    client.begin_join();
    let idle_rooms = rooms.iter().map(|(room, _)| room).filter(|room| client.is_idle_in(room)).cloned();
    let group = Rc::new(JoinGroup {
        request,
        is_single_room,
        presence,
        more,
        memberships: JoinMemberships::new(idle_rooms.collect()),
        permits: Semaphore::new(MAX_CONCURRENT_ROOMS),
        remaining: Cell::new(rooms.len()),
        joined: RefCell::default(),
        failed: RefCell::default(),
    });
    if rooms.is_empty() {
        join_room::finish_join(caller, &group);
    }
    for (index, (room, after)) in rooms.into_iter().enumerate() {
        enqueue(caller, room, Job::Join { after, group: group.clone(), index });
    }
}
