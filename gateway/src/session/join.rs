//! Joining and leaving rooms: membership, subscription, head; then the answer, then the replays.

mod standings;

use std::{
    cell::{Cell, RefCell},
    num::NonZeroU32,
    rc::Rc,
};

use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::{Cursor, RoomId, Seq, UserId},
    log::{AppendError, RoomHead, TailRead},
    protocol::{
        JoinTarget,
        server::{FailedRoom, JoinedRoom, ServerFrame},
    },
};
use tokio::sync::Semaphore;

use super::{
    client::Client,
    lane::{Job, enqueue},
    presence, refuse,
    replay::{self, Replay},
    send,
};
use crate::{
    asked::Asked,
    bus::Standing,
    hub::{Generation, Position, Subscription},
    limits::{Limit, rooms_cost},
    worker::Worker,
};
use standings::Standings;

/// Rooms joined on one connection, at most.
const MAX_ROOMS: usize = 1000;
/// Rooms of one join that are being joined at one time: what it still costs when its connection has gone.
const ROOMS_AT_ONCE: usize = 32;
/// How often a join follows the room into another epoch.
const ROUNDS: usize = 4;

/// One `room:join`: answered once, when each of its rooms was joined or refused.
pub(super) struct JoinGroup {
    asked: Asked,
    /// A single room that fails is an `error`, not a `room:joined`.
    single: bool,
    /// It is told of people who come and go in these rooms.
    presence: bool,
    more: Option<bool>,
    standings: Standings,
    turns: Semaphore,
    missing: Cell<usize>,
    joined: RefCell<Vec<(usize, JoinedRoom, Replay)>>,
    failed: RefCell<Vec<(RoomId, Refusal)>>,
}

/// One `room:leave`.
pub(super) struct LeaveGroup {
    asked: Asked,
    missing: Cell<usize>,
    rooms: Vec<RoomId>,
}

/// Starts a join: one job per room.
pub(super) fn start(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    asked: Asked,
    target: JoinTarget,
    presence: bool,
) {
    match target {
        JoinTarget::One { room, after } => {
            spread(worker, client, asked, vec![(room, after)], true, presence, None);
        }
        JoinTarget::Many { rooms, mut after } => {
            let rooms = rooms.into_iter().map(|room| (room.clone(), after.remove(&room))).collect();
            spread(worker, client, asked, rooms, false, presence, None);
        }
        JoinTarget::Mine { mut after } => {
            let (worker, client) = (worker.clone(), client.clone());
            // Which rooms these are must be known before a later frame can touch them.
            client.hold_reading();
            tokio::task::spawn_local(async move {
                if let Some(identity) = client.identity() {
                    match my_rooms(&worker, &identity.user).await {
                        Ok((rooms, more)) => {
                            let rooms =
                                rooms.into_iter().map(|room| (room.clone(), after.remove(&room))).collect();
                            spread(&worker, &client, asked, rooms, false, presence, Some(more));
                        }
                        Err(refusal) => refuse(&worker, &client, &asked, None, &refusal),
                    }
                }
                client.release_reading();
                client.go_once_answered();
            });
        }
    }
}

/// The rooms that `"mine"` means, and whether there are more. Now that their number is known, they count.
async fn my_rooms(worker: &Worker, user: &UserId) -> Result<(Vec<RoomId>, bool), Refusal> {
    let (rooms, more) = worker.node.bus.my_rooms(user).await?;
    if let Some(cost) = NonZeroU32::new(rooms_cost(rooms.len())) {
        let allowed = worker.node.allow_many(Limit::Joins, user, cost);
        allowed.map_err(|retry_after_ms| Limit::Joins.refusal(retry_after_ms))?;
    }
    Ok((rooms, more))
}

fn spread(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    asked: Asked,
    rooms: Vec<(RoomId, Option<Cursor>)>,
    single: bool,
    presence: bool,
    more: Option<bool>,
) {
    client.begin_join();
    let idle = |room: &RoomId| client.lanes.borrow().is_idle(room);
    let standings = rooms.iter().map(|(room, _)| room).filter(|room| idle(room)).cloned();
    let group = Rc::new(JoinGroup {
        asked,
        single,
        presence,
        more,
        standings: Standings::of(standings.collect()),
        turns: Semaphore::new(ROOMS_AT_ONCE),
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
    // Nobody closes them, so it is a turn. Who has one stands first in the lane of its room, and waits for no other.
    let _turn = group.turns.acquire().await;
    match join_room(worker, client, room, after.as_ref(), &group.standings).await {
        Ok((mut joined, replay)) => {
            if group.presence {
                worker.hub.borrow_mut().watch(room, replay.subscription);
                if group.single {
                    joined.online = presence::snapshot(worker, client, room, joined.members).await;
                }
            }
            group.joined.borrow_mut().push((place, joined, replay));
        }
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
    let mut failed = group.failed.take();
    for (_, room, _) in joined.iter().filter(|(_, room, _)| client.has_ended(&room.room)) {
        failed.push((room.room.clone(), Refusal::not_found("room")));
    }
    client.end_join();
    // What was left or joined again while the others were on their way is told by those answers.
    joined.retain(|(_, room, replay)| client.joined(&room.room) == Some(replay.subscription));
    let asked = &group.asked;
    if let ([(room, refusal)], true) = (&failed[..], group.single) {
        return refuse(worker, client, asked, Some(room), refusal);
    }
    let (rooms, replays): (Vec<_>, Vec<_>) =
        joined.into_iter().map(|(_, room, replay)| (room, replay)).unzip();
    let failed: Vec<_> =
        failed.into_iter().map(|(room, refusal)| FailedRoom { room, code: refusal.code }).collect();
    for room in &failed {
        worker.node.hot.error(room.code);
    }
    let answer = ServerFrame::RoomJoined {
        reference: asked.reference(),
        rooms: &rooms,
        failed: &failed,
        more: group.more,
    };
    client.reply(&answer);
    replay::enqueue(worker, client, replays);
}

async fn join_room(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    room: &RoomId,
    after: Option<&Cursor>,
    standings: &Standings,
) -> Result<(JoinedRoom, Replay), Refusal> {
    let gone = || Refusal::unavailable("the connection is gone");
    // Asked before each step: nothing more is done for a connection, or a poll, that has ended.
    let go_on = || if client.connection.is_closed() { Err(gone()) } else { Ok(()) };
    go_on()?;
    let identity = client.identity().ok_or_else(gone)?;
    let already_joined = usize::from(client.joined(room).is_some());
    let Some(_place) = client.take_room_place(MAX_ROOMS + already_joined) else {
        let message = format!("at most {MAX_ROOMS} rooms can be joined on one connection");
        return Err(Refusal::new(ErrorCode::TooLarge, message));
    };
    let bus = &worker.node.bus;
    let standing = standings.in_room(bus, &identity.user, room).await?;
    go_on()?;
    if standing.membership.is_none() {
        send::newcomer(worker, &identity, room).await?;
        go_on()?;
    }
    let (shared_id, subscription) = worker.subscribe(room, client.clone());
    let entered = match enter(worker, room, subscription, &identity.user, standing).await {
        Ok(entered) if !client.connection.is_closed() => entered,
        other => {
            // What was joined before, if it was, stays as it is.
            worker.unsubscribe(room, subscription);
            return Err(other.err().unwrap_or_else(gone));
        }
    };
    let Entered { head, role, read_seq, generation } = entered;
    let reached = Position::of(&head);
    worker.hub.borrow_mut().settle(room, subscription, &role, (reached, generation));
    if let Some(before) = client.join(shared_id.clone(), subscription) {
        // It starts again at the cursor given now.
        worker.unsubscribe(room, before);
    }
    let position = after.map_or(reached, |cursor| Position { epoch: head.epoch, seq: cursor.seq });
    let gap = after.and_then(|cursor| head.gap_after(cursor));
    let replay = Replay { room: shared_id, subscription, position, head: reached, gap, generation };
    let joined = JoinedRoom {
        room: room.clone(),
        kind: head.kind,
        name: head.name,
        role,
        head: Cursor::new(head.epoch, head.seq),
        read_seq,
        members: head.members,
        online: None,
    };
    Ok((joined, replay))
}

/// What a join has read: the head, and the role as of there.
struct Entered {
    head: RoomHead,
    role: String,
    read_seq: Seq,
    generation: Generation,
}

/// Finds a member's role as of the head. A mark is newer than any cache; without one the standing counts, when it is
/// of the head's epoch.
async fn enter(
    worker: &Rc<Worker>,
    room: &RoomId,
    subscription: Subscription,
    user: &UserId,
    mut standing: Standing,
) -> Result<Entered, Refusal> {
    for _ in 0..ROUNDS {
        let (mut read, generation) = head_of(worker, room, subscription, user).await?;
        let head = read.head;
        let role = match read.marks.pop().flatten() {
            Some(mark) => mark.role,
            None if standing.epoch == head.epoch => {
                standing.membership.as_ref().map(|held| held.role.clone())
            }
            None => {
                standing = worker.node.bus.standing(user, room).await?;
                continue;
            }
        };
        let role = role.ok_or_else(|| send::refused(&head))?;
        // Whoever was added just now has read nothing.
        let read_seq = standing.membership.map_or(Seq(0), |held| held.read_seq);
        return Ok(Entered { head, role, read_seq, generation });
    }
    Err(Refusal::unavailable("the room is moving to another epoch; try again"))
}

/// Makes sure that the node hears of the room, and only then reads its head.
async fn head_of(
    worker: &Rc<Worker>,
    room: &RoomId,
    subscription: Subscription,
    user: &UserId,
) -> Result<(TailRead, Generation), AppendError> {
    let confirmed = worker.hub.borrow().is_confirmed(room);
    if !confirmed {
        worker.node.bus.subscribe(worker.index, room).await?;
        let mut hub = worker.hub.borrow_mut();
        // Left meanwhile, it may be another's room by now, whose channel is yet to be confirmed.
        if hub.has(room, subscription) {
            hub.confirm(room);
        }
    }
    let (newest, generation) = {
        let hub = worker.hub.borrow();
        (hub.newest(room).epoch, hub.generation())
    };
    Ok((worker.node.bus.read(room, None, newest, std::slice::from_ref(user)).await?, generation))
}

/// Starts a leave: one job per room, so that it does not overtake a join.
pub(super) fn leave(worker: &Rc<Worker>, client: &Rc<Client>, asked: Asked, rooms: Vec<RoomId>) {
    let group = Rc::new(LeaveGroup { asked, missing: Cell::new(rooms.len()), rooms: rooms.clone() });
    if rooms.is_empty() {
        left(client, &group);
    }
    for room in rooms {
        enqueue(worker, client, room, Job::Leave { group: group.clone() });
    }
}

pub(super) fn leave_room(worker: &Worker, client: &Client, room: &RoomId, group: &LeaveGroup) {
    if let Some(subscription) = client.leave(room) {
        worker.unsubscribe(room, subscription);
    }
    group.missing.set(group.missing.get() - 1);
    if group.missing.get() == 0 {
        left(client, group);
    }
}

fn left(client: &Client, group: &LeaveGroup) {
    let left = ServerFrame::RoomLeft { reference: group.asked.reference(), rooms: &group.rooms };
    client.reply(&left);
}
