//! `room:leave`: one job per room, in the room's lane, so that a leave cannot overtake an earlier join.

use std::{cell::Cell, rc::Rc};

use tidings_shared::ids::RoomId;

use super::{ConnectionHandle, join_room, lanes::enqueue};
use crate::{
    client::{Job, LeaveGroup},
    request_context::RequestContext,
};

pub(super) fn run(caller: &ConnectionHandle, request: RequestContext, rooms: Vec<RoomId>) {
    let group = Rc::new(LeaveGroup { request, remaining: Cell::new(rooms.len()), rooms: rooms.clone() });
    if rooms.is_empty() {
        join_room::send_left(&caller.client, &group);
    }
    for room in rooms {
        enqueue(caller, room, Job::Leave { group: group.clone() });
    }
}
