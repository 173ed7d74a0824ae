//! Joining and leaving rooms: membership, subscription, head; then the answer, then the replays.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::{Cursor, RoomId},
    protocol::{
        JoinTarget,
        server::{FailedRoom, JoinedRoom, ServerFrame},
    },
};

use super::{
    client::{Client, Joined},
    lane::{Job, enqueue},
    refuse,
    replay::{self, Replay},
    send::stranger,
};
use crate::{hub::Position, worker::Worker};

/// Rooms joined on one connection, at most.
const MAX_ROOMS: usize = 1000;

/// One `room:join`: answered once, when each of its rooms was joined or refused.
pub(super) struct JoinGroup {
    reference: Option<String>,
    /// A single room that fails is an `error`, not a `room:joined`.
    single: bool,
    more: Option<bool>,
    missing: Cell<usize>,
    joined: RefCell<Vec<(usize, JoinedRoom, Replay)>>,
    failed: RefCell<Vec<(RoomId, Refusal)>>,
}

/// One `room:leave`.
pub(super) struct LeaveGroup {
    reference: Option<String>,
    missing: Cell<usize>,
    rooms: Vec<RoomId>,
}

/// Starts a join: one job per room.
pub(super) fn start(worker: &Rc<Worker>, client: &Rc<Client>, reference: Option<String>, target: JoinTarget) {
    match target {
        JoinTarget::One { room, after } => spread(worker, client, reference, vec![(room, after)], true, None),
        JoinTarget::Many { rooms, mut after } => {
            let rooms = rooms.into_iter().map(|room| (room.clone(), after.remove(&room))).collect();
            spread(worker, client, reference, rooms, false, None);
        }
        JoinTarget::Mine { mut after } => {
            let (worker, client) = (worker.clone(), client.clone());
            // Which rooms these are must be known before a later frame can touch them.
            client.hold_reading();
            tokio::task::spawn_local(async move {
                if let Some(identity) = client.identity() {
                    match worker.node.bus.my_rooms(&identity.user).await {
                        Ok((rooms, more)) => {
                            let rooms =
                                rooms.into_iter().map(|room| (room.clone(), after.remove(&room))).collect();
                            spread(&worker, &client, reference, rooms, false, Some(more));
                        }
                        Err(error) => refuse(&worker, &client, reference.as_deref(), None, &error.into()),
                    }
                }
                client.release_reading();
            });
        }
    }
}

fn spread(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    reference: Option<String>,
    rooms: Vec<(RoomId, Option<Cursor>)>,
    single: bool,
    more: Option<bool>,
) {
    let group = Rc::new(JoinGroup {
        reference,
        single,
        more,
        missing: Cell::new(rooms.len()),
        joined: RefCell::default(),
        failed: RefCell::default(),
    });
    if rooms.is_empty() {
        finish(worker, client, &group);
    }
    for (place, (room, after)) in rooms.into_iter().enumerate() {
        enqueue(worker, client, room, Job::Join { after, group: group.clone(), place });
    }
}

/// Joins one room of a group; with the last one the group is answered.
pub(super) async fn join(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    after: Option<Cursor>,
    group: &Rc<JoinGroup>,
    place: usize,
) {
    match join_room(worker, client, room, after.as_ref()).await {
        Ok((joined, replay)) => group.joined.borrow_mut().push((place, joined, replay)),
        Err(refusal) => group.failed.borrow_mut().push((room.clone(), refusal)),
    }
    group.missing.set(group.missing.get() - 1);
    if group.missing.get() == 0 {
        finish(worker, client, group);
    }
}

fn finish(worker: &Rc<Worker>, client: &Rc<Client>, group: &JoinGroup) {
    let mut joined = group.joined.take();
    joined.sort_by_key(|(place, ..)| *place);
    let failed = group.failed.take();
    let reference = group.reference.as_deref();
    if let ([(room, refusal)], true) = (&failed[..], group.single) {
        return refuse(worker, client, reference, Some(room), refusal);
    }
    let (rooms, replays): (Vec<_>, Vec<_>) =
        joined.into_iter().map(|(_, room, replay)| (room, replay)).unzip();
    let failed: Vec<_> =
        failed.into_iter().map(|(room, refusal)| FailedRoom { room, code: refusal.code }).collect();
    for room in &failed {
        worker.node.metrics.errors.with_label_values(&[room.code.as_str()]).inc();
    }
    let answer = ServerFrame::RoomJoined { reference, rooms: &rooms, failed: &failed, more: group.more };
    client.reply(answer.to_json());
    replay::enqueue(worker, client, replays);
}

async fn join_room(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    after: Option<&Cursor>,
) -> Result<(JoinedRoom, Replay), Refusal> {
    let gone = || Refusal::unavailable("the connection is gone");
    let identity = client.identity().ok_or_else(gone)?;
    if let Some(before) = client.leave(room) {
        // It starts again at the cursor given now.
        worker.unsubscribe(room, before.subscription);
    }
    let Some(_place) = client.take_room_place(MAX_ROOMS) else {
        let message = format!("at most {MAX_ROOMS} rooms can be joined on one connection");
        return Err(Refusal::new(ErrorCode::TooLarge, message));
    };
    let Some(membership) = worker.node.bus.membership(&identity.user, room).await? else {
        return Err(stranger(worker, room).await);
    };
    let bus = &worker.node.bus;
    let role: Rc<str> = membership.role.as_str().into();
    let (shared_id, subscription, confirmed, first) = {
        let mut hub = worker.hub.borrow_mut();
        let rooms = hub.room_count();
        let (shared_id, subscription) = hub.subscribe(room, client.clone(), role.clone());
        (shared_id, subscription, hub.is_confirmed(room), hub.room_count() > rooms)
    };
    if first {
        worker.node.metrics.rooms.inc();
    }
    if !client.join(shared_id, Joined { subscription, role }) {
        worker.unsubscribe(room, subscription);
        return Err(gone());
    }
    // From here on the connection's end takes the subscription away.
    let read = async {
        if !confirmed {
            bus.subscribe(worker.index, room).await?;
            worker.hub.borrow_mut().confirm(room);
        }
        let newest = worker.hub.borrow().newest(room).epoch;
        bus.read(room, None, newest).await
    };
    let head = match read.await {
        Ok(read) => read.head,
        Err(error) => {
            if client.leave(room).is_some() {
                worker.unsubscribe(room, subscription);
            }
            return Err(error.into());
        }
    };
    let reached = Position::of(&head);
    let position = after.map_or(reached, |cursor| Position { epoch: head.epoch, seq: cursor.seq });
    let gap = after.and_then(|cursor| head.gap_after(cursor));
    let replay = Replay { room: room.clone(), subscription, position, head: reached, gap };
    let joined = JoinedRoom {
        room: room.clone(),
        kind: head.kind,
        name: head.name,
        role: membership.role,
        head: Cursor::new(head.epoch, head.seq),
        read_seq: membership.read_seq,
        members: head.members,
    };
    Ok((joined, replay))
}

/// Starts a leave: one job per room, so that it does not overtake a join.
pub(super) fn leave(worker: &Rc<Worker>, client: &Rc<Client>, reference: Option<String>, rooms: Vec<RoomId>) {
    let group = Rc::new(LeaveGroup { reference, missing: Cell::new(rooms.len()), rooms: rooms.clone() });
    if rooms.is_empty() {
        left(client, &group);
    }
    for room in rooms {
        enqueue(worker, client, room, Job::Leave { group: group.clone() });
    }
}

pub(super) fn leave_room(worker: &Worker, client: &Client, room: &RoomId, group: &LeaveGroup) {
    if let Some(joined) = client.leave(room) {
        worker.unsubscribe(room, joined.subscription);
    }
    group.missing.set(group.missing.get() - 1);
    if group.missing.get() == 0 {
        left(client, group);
    }
}

fn left(client: &Client, group: &LeaveGroup) {
    let left = ServerFrame::RoomLeft { reference: group.reference.as_deref(), rooms: &group.rooms };
    client.reply(left.to_json());
}
