//! Joins or leaves one room, as a job of the room's lane. A join reads the membership, subscribes to the channel and
//! reads the head of each room. Then the join is answered, and the rooms are replayed.

use std::{num::NonZeroU32, rc::Rc};

use tidings_shared::{
    auth::Identity,
    error::{ErrorCode, Refusal},
    ids::{Cursor, RoomId, Seq, UserId},
    log::{AppendError, RoomHead, TailRead},
    protocol::server::{FailedRoom, JoinedRoom, ServerFrame},
};

use super::{ConnectionHandle, access, presence};
use crate::{
    bus::MembershipSnapshot,
    client::{Client, JoinGroup, JoinMemberships, LeaveGroup, Replay},
    hub::{Generation, Position, Subscription},
    limits::Limit,
    worker::Worker,
};

const MAX_JOINED_ROOMS: usize = 1000;
/// Maximum number of reads of a room's head in one join. The head is read again if the room's epoch has changed.
const MAX_HEAD_READS: usize = 4;

/// Joins one room of a group. After the last room the group is answered.
pub(super) async fn run_join(
    caller: &ConnectionHandle,
    room: &RoomId,
    after: Option<Cursor>,
    group: &JoinGroup,
    index: usize,
) {
    match join_when_online(caller, room, after, group).await {
        Ok((mut joined, replay)) => {
            if group.presence {
                caller.worker.hub.borrow_mut().watch_presence(room, replay.subscription);
                if group.is_single_room {
                    joined.online = presence::online_snapshot(caller, room, joined.members).await;
                }
            }
            group.joined.borrow_mut().push((index, joined, replay));
        }
        Err(refusal) => group.failed.borrow_mut().push((room.clone(), refusal)),
    }
    group.remaining.set(group.remaining.get() - 1);
    if group.remaining.get() == 0 {
        finish_join(caller, group);
    }
}

/// Answers a join, and starts the replay of its rooms.
pub(super) fn finish_join(caller: &ConnectionHandle, group: &JoinGroup) {
    let client = &caller.client;
    let mut joined = group.joined.take();
    joined.sort_by_key(|(index, ..)| *index);
    let mut failed = group.failed.take();
    for (_, room, _) in joined.iter().filter(|(_, room, _)| client.has_subscription_ended(&room.room)) {
        failed.push((room.room.clone(), Refusal::not_found("room")));
    }
    client.end_join();
    // The answer omits rooms that later commands have left or joined again, because the later answers include them.
    joined.retain(|(_, room, replay)| client.subscription(&room.room) == Some(replay.subscription));
    let request = &group.request;
    if let ([(room, refusal)], true) = (&failed[..], group.is_single_room) {
        return caller.refuse(request, Some(room), refusal);
    }
    let (rooms, replays): (Vec<_>, Vec<_>) =
        joined.into_iter().map(|(_, room, replay)| (room, replay)).unzip();
    let failed: Vec<_> =
        failed.into_iter().map(|(room, refusal)| FailedRoom { room, code: refusal.code }).collect();
    for room in &failed {
        caller.worker.node.counters.count_error(room.code);
    }
    let answer = ServerFrame::RoomJoined {
        reference: request.reference(),
        rooms: &rooms,
        failed: &failed,
        more: group.more,
    };
    client.reply(&answer);
    caller.worker.queue_replays(client, replays);
}

/// Joins one room at the cursor `after`, or at the head if there is no cursor. Returns the room's part of the answer,
/// and its replay.
async fn join_room(
    caller: &ConnectionHandle,
    room: &RoomId,
    after: Option<&Cursor>,
    memberships: &JoinMemberships,
) -> Result<(JoinedRoom, Replay), Refusal> {
    let ConnectionHandle { worker, client } = caller;
    let connection_closed = || Refusal::unavailable("the connection is gone");
    // Called before each step, because a connection or poll that has closed needs no further work.
    let check_open = || if client.connection.is_closed() { Err(connection_closed()) } else { Ok(()) };
    check_open()?;
    let identity = client.identity().ok_or_else(connection_closed)?;
    let already_joined = usize::from(client.subscription(room).is_some());
    let Some(_slot) = client.take_room_slot(MAX_JOINED_ROOMS + already_joined) else {
        let message = format!("a connection can join at most {MAX_JOINED_ROOMS} rooms");
        return Err(Refusal::new(ErrorCode::TooLarge, message));
    };
    let bus = &worker.node.bus;
    let mut snapshot = memberships.get_or_load(bus, &identity.user, room).await?;
    check_open()?;
    if snapshot.membership.is_none() {
        if let Err(refusal) = access::recently_added_role(worker, &identity, room).await {
            // Boxed, so that the future of a usual join stays small.
            snapshot = Box::pin(enter_room(caller, &identity, room, refusal)).await?;
        }
        check_open()?;
    }
    let (shared_id, subscription) = worker.subscribe(room, client.clone());
    let read = read_head_and_role(worker, room, subscription, &identity.user, snapshot).await;
    let (head, role, read_seq, generation) = match read {
        Ok(read) if !client.connection.is_closed() => read,
        other => {
            // An earlier subscription of this connection to the room stays.
            worker.unsubscribe(room, subscription);
            return Err(other.err().unwrap_or_else(connection_closed));
        }
    };
    let reached = Position::of_head(&head);
    worker.hub.borrow_mut().set_initial_role(room, subscription, &role, (reached, generation));
    if let Some(previous) = client.insert_subscription(shared_id.clone(), subscription) {
        // The new subscription, which starts at the new cursor, replaces the earlier one.
        worker.unsubscribe(room, previous);
    }
    let position = after.map_or(reached, |cursor| Position { epoch: head.epoch, seq: cursor.seq });
    let gap = after.and_then(|cursor| head.gap_after(cursor));
    let replay = Replay {
        room: shared_id,
        subscription,
        position,
        head: reached,
        gap,
        generation,
        was_live: false,
        source: "memory",
    };
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

/// Makes the user a member of a room, which is created if it does not exist, if the dialect of the connection makes rooms
/// on demand. Otherwise returns `refusal`, the refusal of users who are not members.
async fn enter_room(
    ConnectionHandle { worker, client }: &ConnectionHandle,
    identity: &Identity,
    room: &RoomId,
    refusal: Refusal,
) -> Result<MembershipSnapshot, Refusal> {
    let is_non_member = matches!(refusal.code, ErrorCode::NotFound | ErrorCode::Forbidden);
    let name = client.connection.name_to_create(room).filter(|_| is_non_member);
    let Some(name) = name else { return Err(refusal) };
    worker.node.take_tokens_or_refuse(Limit::Commands, &identity.user, NonZeroU32::MIN)?;
    worker.node.bus.enter_room(identity, room, name).await?;
    Ok(worker.node.bus.membership_snapshot(&identity.user, room).await?)
}

/// Reads the head of a room, and determines the member's role and read mark as of the head. The membership mark that is
/// read with the head gives the role, because it is newer than any cache. Without a mark, the snapshot gives the role
/// if the snapshot has the head's epoch.
async fn read_head_and_role(
    worker: &Rc<Worker>,
    room: &RoomId,
    subscription: Subscription,
    user: &UserId,
    mut snapshot: MembershipSnapshot,
) -> Result<(RoomHead, String, Seq, Generation), Refusal> {
    for _ in 0..MAX_HEAD_READS {
        let (mut read, generation) = read_head(worker, room, subscription, user).await?;
        let head = read.head;
        let role = match read.marks.pop().flatten() {
            Some(mark) => mark.role,
            None if snapshot.epoch == head.epoch => {
                snapshot.membership.as_ref().map(|membership| membership.role.clone())
            }
            None => {
                snapshot = worker.node.bus.membership_snapshot(user, room).await?;
                continue;
            }
        };
        let role = role.ok_or_else(|| access::non_member_refusal(&head))?;
        // A user who is not a member in the snapshot was just added, and has read nothing.
        let read_seq = snapshot.membership.map_or(Seq(0), |membership| membership.read_seq);
        return Ok((head, role, read_seq, generation));
    }
    Err(Refusal::unavailable("the room is moving to another epoch; retry"))
}

/// Joins a room when its partition is online. The rooms of an offline partition wait for it together and without
/// permits, so that they do not delay each other and the rooms of other partitions.
async fn join_when_online(
    caller: &ConnectionHandle,
    room: &RoomId,
    after: Option<Cursor>,
    group: &JoinGroup,
) -> Result<(JoinedRoom, Replay), Refusal> {
    let bus = &caller.worker.node.bus;
    let _permit = loop {
        bus.until_online(room).await?;
        // The semaphore is never closed. A job with a permit is the first in its lane, so no deadlock is possible.
        let permit = group.permits.acquire().await;
        // The partition may have gone offline meanwhile. Then other rooms need the permit.
        if !bus.is_offline(room) {
            break permit;
        }
    };
    join_room(caller, room, after.as_ref(), &group.memberships).await
}

/// Reads the head of a room and the membership mark of a user, after Redis has confirmed the room's channel.
async fn read_head(
    worker: &Rc<Worker>,
    room: &RoomId,
    subscription: Subscription,
    user: &UserId,
) -> Result<(TailRead, Generation), AppendError> {
    let confirmed = worker.hub.borrow().room(room).channel_confirmed;
    if !confirmed {
        worker.node.bus.subscribe_room(worker.index, room).await?;
        let mut hub = worker.hub.borrow_mut();
        // If this subscription has ended, the hub may have removed and recreated the room. Its channel is then not
        // confirmed yet.
        if hub.room(room).has_subscription(subscription) {
            hub.mark_channel_confirmed(room);
        }
    }
    worker.node.bus.until_online(room).await?;
    let (newest, generation) = {
        let hub = worker.hub.borrow();
        (hub.room(room).newest_position().epoch, hub.generation())
    };
    Ok((worker.node.bus.read_room(room, None, newest, std::slice::from_ref(user)).await?, generation))
}

/// Leaves one room of a group. After the last room the group is answered.
pub(super) fn run_leave(caller: &ConnectionHandle, room: &RoomId, group: &LeaveGroup) {
    if let Some(subscription) = caller.client.remove_subscription(room) {
        caller.worker.unsubscribe(room, subscription);
    }
    group.remaining.set(group.remaining.get() - 1);
    if group.remaining.get() == 0 {
        send_left(&caller.client, group);
    }
}

/// Answers a `room:leave` with `room:left`, after all its rooms were left.
pub(super) fn send_left(client: &Client, group: &LeaveGroup) {
    let left = ServerFrame::RoomLeft { reference: group.request.reference(), rooms: &group.rooms };
    client.reply(&left);
}
