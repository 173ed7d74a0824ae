//! `room:leave`: one job per room, in the room's lane, so that a leave cannot overtake an earlier join.

use std::{cell::Cell, rc::Rc};

use tidings_shared::{ids::RoomId, protocol::server::ServerFrame};

use super::{ConnectionHandle, lanes::enqueue};
use crate::{
    client::{Client, Job, LeaveGroup},
    request_context::RequestContext,
};

pub(super) fn run(caller: &ConnectionHandle, request: RequestContext, rooms: Vec<RoomId>) {
    let group = Rc::new(LeaveGroup { request, remaining: Cell::new(rooms.len()), rooms: rooms.clone() });
    if rooms.is_empty() {
        send_left(&caller.client, &group);
    }
    for room in rooms {
        enqueue(caller, room, Job::Leave { group: group.clone() });
    }
}

/// Leaves one room of a group. After the last room the group is answered.
pub(super) fn run_in_lane(caller: &ConnectionHandle, room: &RoomId, group: &LeaveGroup) {
    if let Some(subscription) = caller.client.remove_subscription(room) {
        caller.worker.unsubscribe(room, subscription);
    }
    group.remaining.set(group.remaining.get() - 1);
    if group.remaining.get() == 0 {
        send_left(&caller.client, group);
    }
}

fn send_left(client: &Client, group: &LeaveGroup) {
    let left = ServerFrame::RoomLeft { reference: group.request.reference(), rooms: &group.rooms };
    client.reply(&left);
}
