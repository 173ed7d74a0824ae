//! Replay sends the records that a connection missed, one room after the other, as fast as the outbox empties. When a
//! subscription reaches the room's position, the connection gets `room:caught_up` and the subscription goes live.

use std::time::Duration;

use tidings_shared::{
    ids::{Cursor, RoomId, Seq},
    log::{AppendError, Record},
    protocol::server::ServerFrame,
};

use super::ChatSession;
use crate::{
    client::{Client, Replay},
    hub::{MarkRead, Peer, Position, RoleRefresh},
};

/// A replay sends the next record only while fewer bytes than this are queued for the connection.
const LOW_WATER_BYTES: usize = 64 * 1024;
/// Delay before another attempt to read a room that cannot be read, or for which the hub or Redis is behind.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Adds rooms to be replayed, and starts the connection's replay task if it is not running.
pub(super) fn enqueue(session: &ChatSession, replays: Vec<Replay>) {
    let mut waiting = session.client.replays.borrow_mut();
    let idle = waiting.is_empty();
    waiting.extend(replays);
    if idle && !waiting.is_empty() {
        tokio::task::spawn_local(run(session.clone()));
    }
}

async fn run(session: ChatSession) {
    loop {
        // The running replay stays at the front of the queue, so a non-empty queue means that the task runs.
        let Some(replay) = session.client.replays.borrow().front().cloned() else { return };
        replay_room(&session, &replay).await;
        let mut waiting = session.client.replays.borrow_mut();
        waiting.pop_front();
        if waiting.is_empty() {
            waiting.shrink_to_fit();
            return;
        }
    }
}

async fn replay_room(session: &ChatSession, replay: &Replay) {
    let ChatSession { worker, client } = session;
    let Replay { room, subscription, .. } = replay;
    let (mut reached, mut head, mut generation) = (replay.position, replay.head, replay.generation);
    let mut source = "memory";
    // The stored roles are valid for the next read only, because roles become outdated soon.
    let mut roles = None;
    if !worker.hub.borrow().room(room).has(*subscription) {
        return;
    }
    if let Some(after) = replay.gap {
        send_gap(client, room, after, head);
        reached = head;
        source = "history";
    }
    loop {
        if client.connection.is_closed() || !worker.hub.borrow().room(room).has(*subscription) {
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
        let newest = worker.hub.borrow().room(room).newest();
        let read_generation = worker.hub.borrow().generation();
        if newest.epoch < reached.epoch {
            // The replay has read a newer epoch than any hint, so the live subscriptions must move to that epoch first.
            worker.request_refill(room);
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
        let (refresh, ended) = {
            let mark = read.marks.first().and_then(Option::as_ref);
            let read = MarkRead { head: Position::of(&read.head), mark, generation: read_generation };
            worker.hub.borrow_mut().refresh_role(room, *subscription, read, roles.as_ref())
        };
        worker.release(&ended);
        match refresh {
            RoleRefresh::UpToDate => roles = None,
            RoleRefresh::Ended => return,
            RoleRefresh::RoleUnknown => {
                match worker.node.bus.roles(room, read.head.epoch, user).await {
                    Ok(stored) => roles = Some(stored),
                    Err(_) => tokio::time::sleep(RETRY_AFTER).await,
                }
                continue;
            }
        }
        if Position::of(&read.head) == reached {
            // The read found nothing new, but the subscription could not go live: the hub or Redis is behind.
            tokio::time::sleep(RETRY_AFTER).await;
        }
        // The head and the generation are updated only now, because a failed read shows no missed records.
        (head, generation) = (Position::of(&read.head), read_generation);
        let diverged = read.head.gap_after_position(reached.epoch, reached.seq);
        match (diverged, read.records_after(reached.seq)) {
            (None, Some(records)) => {
                if read.head.epoch != reached.epoch {
                    // `room:caught_up` must be sent before the first record of the new epoch, because it moves the
                    // client's cursor to that epoch.
                    let (epoch, seq) = (read.head.epoch, reached.seq);
                    client.reply(&ServerFrame::CaughtUp { room, epoch, seq });
                }
                if !send_records(session, replay, records).await {
                    return;
                }
                if source == "memory" {
                    source = "tail";
                }
            }
            (after, _) => {
                send_gap(client, room, after.unwrap_or(reached.seq), head);
                source = "history";
            }
        }
        reached = head;
    }
}

fn send_gap(client: &Client, room: &RoomId, after: Seq, head: Position) {
    let head = Cursor::new(head.epoch, head.seq);
    client.reply(&ServerFrame::Gap { room, after, head: &head });
}

/// Sends records as fast as the outbox empties. Returns false if the subscription has ended.
async fn send_records(session: &ChatSession, replay: &Replay, records: &[Record]) -> bool {
    let ChatSession { worker, client } = session;
    for record in records {
        while client.connection.queued_bytes() >= LOW_WATER_BYTES {
            if client.connection.is_closed() {
                return false;
            }
            client.connection.notify_drained();
            client.drained.notified().await;
        }
        let sent = worker.hub.borrow().room(&replay.room).replay(replay.subscription, record);
        if !sent {
            return false;
        }
    }
    true
}
