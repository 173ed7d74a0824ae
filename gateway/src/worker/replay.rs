//! Replay sends the records that a connection missed, one room after the other, as fast as the outbox empties. When a
//! subscription reaches the room's position, the subscription goes live, and the client of a new subscription gets
//! `room:caught_up`. A lagging subscription, whose connection did not take a live record, is replayed in the same way.
//! While a room cannot be read, the connection's other rooms are replayed.

use std::{rc::Rc, time::Duration};

use tidings_shared::{
    error::{ErrorCode, Refusal},
    ids::{Cursor, RoomId, Seq, UserId},
    log::{AppendError, Record, TailPart},
    protocol::server::ServerFrame,
};

use super::Worker;
use crate::{
    client::{Client, Replay},
    hub::{MarkRead, Peer, Position, RoleRefresh},
};

/// A replay reads and sends only while fewer bytes than this are queued for the connection.
const LOW_WATER_BYTES: usize = 64 * 1024;
/// Maximum number of records in one read of a replay. Further records are read after these were sent.
const MAX_RECORDS_PER_READ: usize = 64;
/// Delay before the next round of a queue in which no replay could continue.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// The delay if all partitions of the queue are offline. A partition that goes online ends it earlier.
const OFFLINE_RETRY_AFTER: Duration = Duration::from_secs(3);

/// The result of one turn of a replay.
enum ReplayTurn {
    /// The subscription is live or has ended, or the connection has closed.
    Ended,
    /// The room could not be read, or the hub or Redis is behind. The replay must get another turn.
    Unfinished,
}

impl Worker {
    /// Queues replays of a connection, and starts the connection's replay task if the task is not running.
    pub(crate) fn queue_replays(self: &Rc<Self>, client: &Rc<Client>, replays: Vec<Replay>) {
        let must_start_task = client.replays.borrow_mut().extend(replays);
        if must_start_task {
            tokio::task::spawn_local(run_replays(self.clone(), client.clone()));
        } else {
            // The task may be waiting because no earlier replay can continue.
            client.drained.notify_one();
        }
    }

    /// Whether this user can join a room after this cursor and would be sent all missed events, without a gap. The
    /// membership mark of the user counts before `is_member`, because it is newer.
    pub(crate) async fn can_replay(
        &self,
        room: &RoomId,
        after: &Cursor,
        user: &UserId,
        is_member: bool,
    ) -> bool {
        let Ok(process) = self.node.bus.until_online(room).await else { return false };
        let _permit = self.replay_read_permits.acquire(&process).await;
        let newest = self.hub.borrow().room(room).newest_position().epoch;
        // The tail has no holes, so the first missed event proves the others.
        let part = TailPart { after: after.seq, max_records: Some(1) };
        let read = self.node.bus.read_room(room, Some(part), newest, std::slice::from_ref(user)).await;
        let Ok(read) = read else { return false };
        let mark = read.marks.first().and_then(Option::as_ref);
        mark.map_or(is_member, |mark| mark.role.is_some())
            && read.head.gap_after(after).is_none()
            && read.next_records(after.seq).is_some()
    }
}

/// Runs the queued replays of a connection, one after the other, until the queue is empty. A replay that cannot
/// continue lets the others go first.
async fn run_replays(worker: Rc<Worker>, client: Rc<Client>) {
    loop {
        let Some(mut replay) = client.replays.borrow().front() else { return };
        let turn = replay_room(&worker, &client, &mut replay).await;
        let must_wait = {
            let mut queue = client.replays.borrow_mut();
            match turn {
                ReplayTurn::Ended => {
                    queue.remove_front();
                    false
                }
                ReplayTurn::Unfinished => queue.move_front_to_end(replay),
            }
        };
        if must_wait {
            wait_to_retry(&worker, &client).await;
        }
    }
}

/// Waits after a round in which no replay of a connection could continue. Ends early when a replay is added, when a
/// partition goes online, or when the connection closes.
async fn wait_to_retry(worker: &Worker, client: &Client) {
    let bus = &worker.node.bus;
    // Created before the check, so that no change is missed.
    let partition_change = bus.partition_change();
    let all_offline = client.replays.borrow().rooms().all(|room| bus.is_offline(room));
    let delay = if all_offline { OFFLINE_RETRY_AFTER } else { RETRY_AFTER };
    tokio::select! {
        () = partition_change => {}
        () = client.drained.notified() => {}
        () = tokio::time::sleep(delay) => {}
    }
}

/// Replays one room until its subscription is live or has ended, or the connection has closed. Ends the turn when the
/// room cannot be read now.
async fn replay_room(worker: &Rc<Worker>, client: &Rc<Client>, replay: &mut Replay) -> ReplayTurn {
    let room = &replay.room.clone();
    let subscription = replay.subscription;
    // The stored roles are valid for the next read only, because roles become outdated soon.
    let mut roles = None;
    if !worker.hub.borrow().room(room).has_subscription(subscription) {
        return ReplayTurn::Ended;
    }
    if let Some(after) = replay.gap.take() {
        send_gap(client, room, after, replay.head);
        replay.position = replay.head;
        replay.source = "history";
    }
    loop {
        // Waiting comes before reading, so that no records are kept in memory for a client that does not read.
        if !wait_until_drained(client).await || !worker.hub.borrow().room(room).has_subscription(subscription)
        {
            return ReplayTurn::Ended;
        }
        let reached = replay.position;
        let is_live = reached >= replay.head
            && worker.hub.borrow_mut().go_live(room, subscription, reached, replay.generation);
        if is_live {
            if replay.source != "history" && !replay.was_live {
                let (epoch, seq) = (reached.epoch, reached.seq);
                client.reply(&ServerFrame::CaughtUp { room, epoch, seq });
            }
            worker.node.metrics.replays.with_label_values(&[replay.source]).inc();
            return ReplayTurn::Ended;
        }
        // The partition is not awaited here, because the connection's other rooms may be in other partitions.
        let Some(process) = worker.node.bus.process_of(room) else { return ReplayTurn::Unfinished };
        let permit = worker.replay_read_permits.acquire(&process).await;
        // The subscription may have ended while the task waited for a permit.
        if !worker.hub.borrow().room(room).has_subscription(subscription) {
            return ReplayTurn::Ended;
        }
        let newest = worker.hub.borrow().room(room).newest_position();
        let read_generation = worker.hub.borrow().generation();
        if newest.epoch < reached.epoch {
            // The replay has read a newer epoch than any hint, so the live subscriptions must move to that epoch first.
            worker.request_refill(room);
        }
        let not_before = newest.epoch.max(reached.epoch);
        let user = std::slice::from_ref(client.user());
        let part = TailPart { after: reached.seq, max_records: Some(MAX_RECORDS_PER_READ) };
        let read = worker.node.bus.read_room(room, Some(part), not_before, user).await;
        drop(permit);
        let read = match read {
            Ok(read) => read,
            Err(AppendError::NoSuchRoom) => {
                tracing::error!(%room, "a joined room is not in PostgreSQL");
                end_missing_room(worker, client, replay);
                return ReplayTurn::Ended;
            }
            Err(_) => return ReplayTurn::Unfinished,
        };
        let (refresh, effects) = {
            let mark = read.marks.first().and_then(Option::as_ref);
            let read = MarkRead { head: Position::of_head(&read.head), mark, generation: read_generation };
            worker.hub.borrow_mut().refresh_role(room, subscription, read, roles.as_ref())
        };
        worker.carry_out(effects);
        match refresh {
            RoleRefresh::UpToDate => roles = None,
            RoleRefresh::Ended => return ReplayTurn::Ended,
            RoleRefresh::RoleUnknown => {
                match worker.node.bus.stored_roles(room, read.head.epoch, user).await {
                    Ok(stored) => roles = Some(stored),
                    Err(_) => return ReplayTurn::Unfinished,
                }
                continue;
            }
        }
        let head = Position::of_head(&read.head);
        // `head` and `generation` are updated only after a successful read, because `go_live` needs the generation in
        // which the head was read.
        (replay.head, replay.generation) = (head, read_generation);
        let diverged = read.head.gap_after_position(reached.epoch, reached.seq);
        replay.position = match (diverged, read.next_records(reached.seq)) {
            (None, Some(records)) => {
                if read.head.epoch != reached.epoch {
                    // `room:caught_up` must be sent before the first record of the new epoch, because this frame moves
                    // the client's cursor to that epoch.
                    let (epoch, seq) = (read.head.epoch, reached.seq);
                    client.reply(&ServerFrame::CaughtUp { room, epoch, seq });
                }
                if !send_records(worker, client, replay, records).await {
                    return ReplayTurn::Ended;
                }
                if replay.source == "memory" {
                    replay.source = "tail";
                }
                Position { seq: records.last().map_or(reached.seq, |last| last.seq), ..head }
            }
            (after, _) => {
                send_gap(client, room, after.unwrap_or(reached.seq), head);
                replay.source = "history";
                head
            }
        };
        if head == reached {
            // The read found nothing new, but the subscription could not go live: the hub or Redis is behind.
            return ReplayTurn::Unfinished;
        }
    }
}

/// Ends the subscription of a room that does not exist.
fn end_missing_room(worker: &Rc<Worker>, client: &Client, Replay { room, subscription, .. }: &Replay) {
    let effects = worker.hub.borrow_mut().end_subscription(room, *subscription);
    worker.carry_out(effects);
    report_missing_room(client, room);
}

/// Tells a client that its subscription has ended because the room does not exist. Otherwise the client would wait for
/// events of the room for ever.
pub(super) fn report_missing_room(client: &Client, room: &RoomId) {
    let refusal = Refusal::new(ErrorCode::NotFound, "this room does not exist any more");
    let refusal = refusal.with_reason("ended");
    client.reply(&ServerFrame::Error { reference: None, room: Some(room), refusal: &refusal });
}

fn send_gap(client: &Client, room: &RoomId, after: Seq, head: Position) {
    let head = Cursor::new(head.epoch, head.seq);
    client.reply(&ServerFrame::Gap { room, after, head: &head });
}

/// Sends records as fast as the outbox empties. Returns false if the subscription has ended.
async fn send_records(worker: &Worker, client: &Client, replay: &Replay, records: &[Record]) -> bool {
    for record in records {
        if !wait_until_drained(client).await {
            return false;
        }
        let sent = worker.hub.borrow().room(&replay.room).replay_record(replay.subscription, record);
        if !sent {
            return false;
        }
    }
    true
}

/// Waits until little is queued for the connection. Returns false if the connection has closed.
async fn wait_until_drained(client: &Client) -> bool {
    while client.connection.queued_bytes() >= LOW_WATER_BYTES {
        if client.connection.is_closed() {
            return false;
        }
        client.connection.notify_drained();
        client.drained.notified().await;
    }
    !client.connection.is_closed()
}
