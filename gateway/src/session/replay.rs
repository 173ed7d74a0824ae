//! Replay: what a connection missed in a room, pulled as its outbox has room, one room after the other, until it
//! stands where the room stands; then it is told so and goes live.

use std::{rc::Rc, time::Duration};

use tidings_shared::{
    ids::{Cursor, RoomId, Seq},
    log::{AppendError, Record},
    protocol::server::ServerFrame,
};

use super::Client;
use crate::{
    hub::{Generation, MarkRead, Peer, Position, Renewed, Subscription},
    worker::Worker,
};

/// A replay goes on when fewer bytes than this are queued.
const LOW_WATER_BYTES: usize = 64 * 1024;
/// Between two attempts to read a room that cannot be read, or whose hub is in another epoch.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// A joined room that is not live yet.
#[derive(Debug)]
pub(super) struct Replay {
    pub room: RoomId,
    pub subscription: Subscription,
    /// Where the client stands.
    pub position: Position,
    /// Where the room stood at the join.
    pub head: Position,
    /// The client's cursor is not good above this.
    pub gap: Option<Seq>,
    /// When the head was read.
    pub generation: Generation,
}

/// Adds rooms to be replayed, and starts the connection's one replay task when it stands still.
pub(super) fn enqueue(worker: &Rc<Worker>, client: &Rc<Client>, replays: Vec<Replay>) {
    let mut waiting = client.replays.borrow_mut();
    let idle = waiting.is_empty();
    waiting.extend(replays);
    if idle && !waiting.is_empty() {
        tokio::task::spawn_local(run(worker.clone(), client.clone()));
    }
}

async fn run(worker: Rc<Worker>, client: Rc<Client>) {
    loop {
        // The one under way stays at the front, so that the queue tells whether the task runs.
        let Some(replay) = front(&client) else { return };
        replay_room(&worker, &client, &replay).await;
        let mut waiting = client.replays.borrow_mut();
        waiting.pop_front();
        if waiting.is_empty() {
            waiting.shrink_to_fit();
            return;
        }
    }
}

fn front(client: &Client) -> Option<Replay> {
    let waiting = client.replays.borrow();
    let next = waiting.front()?;
    Some(Replay { room: next.room.clone(), ..*next })
}

async fn replay_room(worker: &Rc<Worker>, client: &Rc<Client>, replay: &Replay) {
    let Replay { room, subscription, .. } = replay;
    let (mut reached, mut head, mut generation) = (replay.position, replay.head, replay.generation);
    let mut source = "memory";
    // Asked for the next read, and for no other: they are out of date soon.
    let mut roles = None;
    if !worker.hub.borrow().has(room, *subscription) {
        return;
    }
    if let Some(after) = replay.gap {
        tell_gap(client, room, after, head);
        reached = head;
        source = "history";
    }
    loop {
        if client.connection.is_closed() || !worker.hub.borrow().has(room, *subscription) {
            return;
        }
        let live =
            reached >= head && worker.hub.borrow_mut().go_live(room, *subscription, reached, generation);
        if live {
            if source != "history" {
                let (epoch, seq) = (reached.epoch, reached.seq);
                client.reply(&ServerFrame::CaughtUp { room, epoch, seq });
            }
            worker.node.metrics.replays.with_label_values(&[source]).inc();
            return;
        }
        let newest = worker.hub.borrow().newest(room);
        let began = worker.hub.borrow().generation();
        if newest.epoch < reached.epoch {
            // Redis told of a new epoch before any hint did: those who are live must be taken there first.
            worker.suspect(room);
        }
        let not_before = newest.epoch.max(reached.epoch);
        let user = std::slice::from_ref(client.user());
        let read = match worker.node.bus.read(room, Some(reached.seq), not_before, user).await {
            Ok(read) => read,
            Err(AppendError::NoSuchRoom) => {
                tracing::error!(%room, "a joined room is not in PostgreSQL");
                return;
            }
            Err(_) => {
                roles = None;
                tokio::time::sleep(RETRY_AFTER).await;
                continue;
            }
        };
        let renewed = {
            let mark = read.marks.first().and_then(Option::as_ref);
            let read = MarkRead { head: Position::of(&read.head), mark, generation: began };
            worker.hub.borrow_mut().renew(room, *subscription, read, roles.as_ref())
        };
        worker.give_up_ended();
        match renewed {
            Renewed::Stands => roles = None,
            Renewed::Ended => return,
            Renewed::RoleUnknown => {
                match worker.node.bus.roles(room, read.head.epoch, user).await {
                    Ok(stored) => roles = Some(stored),
                    Err(_) => tokio::time::sleep(RETRY_AFTER).await,
                }
                continue;
            }
        }
        if Position::of(&read.head) == reached {
            // The hub is behind, or Redis is: give them a moment.
            tokio::time::sleep(RETRY_AFTER).await;
        }
        // Only with what was read: a read that failed says nothing about what was missed.
        (head, generation) = (Position::of(&read.head), began);
        let diverged = read.head.gap_after_position(reached.epoch, reached.seq);
        match (diverged, read.records_after(reached.seq)) {
            (None, Some(records)) => {
                if read.head.epoch != reached.epoch {
                    // Before the first record of the epoch: it takes the client's cursor there.
                    let (epoch, seq) = (read.head.epoch, reached.seq);
                    client.reply(&ServerFrame::CaughtUp { room, epoch, seq });
                }
                if !send_records(worker, client, replay, records).await {
                    return;
                }
                if source == "memory" {
                    source = "tail";
                }
            }
            (after, _) => {
                tell_gap(client, room, after.unwrap_or(reached.seq), head);
                source = "history";
            }
        }
        reached = head;
    }
}

fn tell_gap(client: &Client, room: &RoomId, after: Seq, head: Position) {
    let head = Cursor::new(head.epoch, head.seq);
    client.reply(&ServerFrame::Gap { room, after, head: &head });
}

/// Sends records as the outbox has room. False: the subscription is gone.
async fn send_records(worker: &Rc<Worker>, client: &Rc<Client>, replay: &Replay, records: &[Record]) -> bool {
    for record in records {
        while client.connection.queued_bytes() >= LOW_WATER_BYTES {
            if client.connection.is_closed() {
                return false;
            }
            client.connection.notify_drained();
            client.drained.notified().await;
        }
        let sent = worker.hub.borrow().replay(&replay.room, replay.subscription, record);
        if !sent {
            return false;
        }
    }
    true
}
