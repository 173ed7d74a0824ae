//! The chat state of one worker thread: its hub, and the tasks that pass hints to the hub, refill rooms with holes, and
//! find rooms whose last hint was lost. All sessions of the thread share the worker. No other thread uses the hub.

mod answers;
mod presence;
mod refill;
mod typing;
mod users;

use std::{
    cell::{Cell, RefCell},
    num::NonZeroU32,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use rustc_hash::FxHashMap;
use tidings_shared::{
    auth::Verifier,
    clock::unix_ms,
    error::{ErrorCode, Refusal},
    ids::{RoomId, UserId},
    log::AppendBatcher,
    protocol::{
        CloseCode,
        server::{Limits, ServerFrame},
    },
    receipts::Receipts,
};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    bus::{Bus, Hint, PublishedRecord, WorkerMessage, WorkerQueue},
    client::Client,
    hub::{Dispatch, Ended, Hub, Subscription},
    limits::{Limit, RateLimits},
    metrics::{CachedCounters, Metrics},
    one_or_many::OneOrMany,
    presence::Presence,
    request_context::RequestContext,
    transport::Frame,
};
use answers::StoredAnswers;
pub(crate) use answers::Unanswered;
pub use refill::LateDeliveryDedup;
pub use typing::{Typing, TypingState};

/// Capacity of a worker's queue, which also has a limit in bytes. When the queue is full, messages are dropped. After
/// dropped hints, all rooms of the worker are refilled. After a dropped user event that reports a lasting change, the
/// user is checked again.
const QUEUE_CAPACITY: usize = 16_384;
/// Maximum number of queued messages that are taken at once. A message may have many records.
const MESSAGES_PER_TURN: usize = 16;
/// After this many records or user events, or bytes of records, other tasks of the thread run.
const LONG_TURN: usize = 128;
const LONG_TURN_BYTES: usize = 64 * 1024;

/// Settings and components that all workers of a node share.
pub struct Node {
    pub bus: Arc<Bus>,
    pub verifier: Verifier,
    pub rate_limits: RateLimits,
    /// A connection that exceeds rate limits more often than this in a minute is closed.
    pub abuse_per_minute: u32,
    pub receipts: Arc<Receipts>,
    pub typing: Arc<Typing>,
    pub presence: Arc<Presence>,
    pub metrics: Metrics,
    pub counters: CachedCounters,
    pub late_deliveries: LateDeliveryDedup,
    pub name: String,
    pub heartbeat_ms: u64,
    pub limits: Limits,
}

impl Node {
    /// Takes `cost` tokens from a user's bucket. If there are too few, counts this and fails with the milliseconds
    /// after which the tokens are available.
    pub fn take_tokens(&self, limit: Limit, user: &UserId, cost: NonZeroU32) -> Result<(), u64> {
        let taken = self.rate_limits.take_tokens(limit, user, cost);
        taken.inspect_err(|_| self.metrics.limited.with_label_values(&[limit.name()]).inc())
    }

    /// Takes `cost` tokens from a user's bucket, or refuses the command if there are too few.
    pub fn allow(&self, limit: Limit, user: &UserId, cost: NonZeroU32) -> Result<(), Refusal> {
        self.take_tokens(limit, user, cost).map_err(|retry_after_ms| limit.refusal(retry_after_ms))
    }
}

/// The chat state of one worker thread.
pub struct Worker {
    pub index: usize,
    pub node: Arc<Node>,
    pub hub: RefCell<Hub<Client>>,
    /// The connections of each user on this worker.
    users: RefCell<FxHashMap<UserId, OneOrMany<Rc<Client>>>>,
    snapshots: RefCell<FxHashMap<RoomId, presence::Snapshot>>,
    /// The number of presence changes that were sent to this worker's connections.
    presence_rounds: Cell<u32>,
    /// Limits how many refills read at the same time, so that a reconnect does not overload Redis.
    refills: Semaphore,
    pub batcher: Arc<AppendBatcher>,
    pub stored_answers: StoredAnswers,
}

/// Maximum number of refills of a worker that read at the same time.
const REFILLS_AT_ONCE: usize = 64;

/// Creates a worker's queue, and returns the bus's end and the worker's end.
pub fn new_queue() -> (WorkerQueue, Inbox) {
    let (sender, receiver) = mpsc::channel(QUEUE_CAPACITY);
    let queue = WorkerQueue::new(sender);
    (queue.clone(), Inbox { queue, receiver })
}

/// A worker's end of its queue.
pub struct Inbox {
    queue: WorkerQueue,
    receiver: mpsc::Receiver<WorkerMessage>,
}

impl Worker {
    /// Starts the worker's tasks on the current thread.
    pub fn start(index: usize, node: Arc<Node>, inbox: Inbox) -> Rc<Self> {
        let batcher = node.bus.log.new_batcher();
        let worker = Rc::new(Self {
            index,
            node,
            hub: RefCell::default(),
            users: RefCell::default(),
            snapshots: RefCell::default(),
            presence_rounds: Cell::new(0),
            refills: Semaphore::new(REFILLS_AT_ONCE),
            batcher,
            stored_answers: StoredAnswers::default(),
        });
        tokio::task::spawn_local(follow(worker.clone(), inbox));
        tokio::task::spawn_local(refill::sweep(worker.clone()));
        tokio::task::spawn_local(answers::answer_stored(worker.clone()));
        tokio::task::spawn_local(presence::follow(worker.clone()));
        worker
    }

    /// Adds a replaying subscription. Also returns the hub's copy of the room id, which all connections share.
    pub fn subscribe(&self, room: &RoomId, client: Rc<Client>) -> (RoomId, Subscription) {
        let mut hub = self.hub.borrow_mut();
        let rooms = hub.room_count();
        let subscribed = hub.subscribe(room, client);
        if hub.room_count() > rooms {
            self.node.metrics.rooms.inc();
        }
        subscribed
    }

    /// Removes a subscription. If the room has no other subscription, also unsubscribes the room's channel.
    pub fn unsubscribe(&self, room: &RoomId, subscription: Subscription) {
        let last = self.hub.borrow_mut().unsubscribe(room, subscription);
        if last {
            self.node.bus.unsubscribe(self.index, room);
            self.node.metrics.rooms.dec();
        }
    }

    /// Counts the subscriptions that the hub has ended. Unsubscribes the channel of a room without subscriptions.
    pub fn release(&self, ended: &Ended) {
        if ended.subscriptions > 0 {
            self.node.metrics.revoked.inc_by(ended.subscriptions as u64);
        }
        if let Some(room) = &ended.room {
            self.node.bus.unsubscribe(self.index, room);
            self.node.metrics.rooms.dec();
        }
    }

    /// Refills a room from Redis, if a subscription is live and no refill is running.
    pub fn request_refill(self: &Rc<Self>, room: &RoomId) {
        let begun = self.hub.borrow_mut().begin_refill(room);
        if begun {
            tokio::task::spawn_local(refill::refill(self.clone(), room.clone()));
        }
    }

    /// Answers a command with an error, and counts the refusal. Too many exceeded rate limits close the connection.
    pub fn refuse(
        &self,
        client: &Client,
        request: &RequestContext,
        room: Option<&RoomId>,
        refusal: &Refusal,
    ) {
        self.node.counters.count_error(refusal.code);
        if client.identity().is_none() {
            self.node.metrics.auths.with_label_values(&[refusal.code.as_str()]).inc();
        }
        request.record_refusal(refusal);
        if request.is_send {
            self.node.counters.count_refused_send(refusal.code);
        }
        client.reply(&ServerFrame::Error { reference: request.reference(), room, refusal });
        if refusal.code == ErrorCode::RateLimited {
            self.count_exceeded_limit(client);
        }
    }

    /// Counts that a connection exceeded a rate limit. Closes the connection if it has done so too often.
    pub fn count_exceeded_limit(&self, client: &Client) {
        if client.exceeds_abuse_limit(unix_ms(), self.node.abuse_per_minute) {
            client.close(CloseCode::Abuse, "rate limits were exceeded too often");
        }
    }

    fn dispatch(self: &Rc<Self>, record: &PublishedRecord, frame: &Frame) {
        let (outcome, ended) = self.hub.borrow_mut().dispatch(record, frame);
        self.release(&ended);
        if outcome == Dispatch::Delivered {
            record.mark_delivered();
        }
        if outcome == Dispatch::Refill {
            self.node.metrics.holes.inc();
            if let Ok(room) = RoomId::parse(record.room()) {
                tokio::task::spawn_local(refill::refill(self.clone(), room));
            }
        }
    }
}

async fn follow(worker: Rc<Worker>, mut inbox: Inbox) {
    let mut messages = Vec::with_capacity(MESSAGES_PER_TURN);
    let (mut handled, mut handled_bytes) = (0, 0);
    loop {
        tokio::select! {
            count = inbox.receiver.recv_many(&mut messages, MESSAGES_PER_TURN) => if count == 0 { return },
            () = inbox.queue.wake.notified() => {}
        }
        // If this turn has only one record and nothing else, its frame is written at once. Several frames are queued and
        // written together.
        let immediate = matches!(&messages[..], [WorkerMessage::Hints { hints, .. }] if hints.len() == 1);
        for message in messages.drain(..) {
            // The sockets are written between turns, so a long turn would fill the outboxes of peers that read quickly.
            if handled >= LONG_TURN || handled_bytes >= LONG_TURN_BYTES {
                (handled, handled_bytes) = (0, 0);
                tokio::task::yield_now().await;
            }
            match message {
                WorkerMessage::Hints { hints, bytes } => {
                    inbox.queue.subtract_bytes(bytes);
                    handled += hints.len();
                    handled_bytes += bytes;
                    let mut hints = hints.into_iter();
                    while let Some(Hint { record, frame, run }) = hints.next() {
                        if let Some(run) = run
                            && worker.hub.borrow_mut().dispatch_run(&record, &run)
                        {
                            record.mark_delivered();
                            let rest = hints.by_ref().take(run.frames().len() - 1);
                            rest.for_each(|hint| hint.record.mark_delivered());
                            continue;
                        }
                        // A live-only record cannot reveal a missed removal of one of its receivers, so it is dropped.
                        if record.is_live_only() && inbox.queue.may_have_missed() {
                            continue;
                        }
                        let frame = if immediate { frame.immediate() } else { frame };
                        worker.dispatch(&record, &frame);
                    }
                }
                WorkerMessage::User { user, event } => {
                    handled += 1;
                    worker.send_event(&user, &event);
                }
            }
        }
        if inbox.queue.refill.swap(false, Ordering::AcqRel) {
            worker.hub.borrow_mut().invalidate_reads();
            if inbox.queue.marks_expired.swap(false, Ordering::AcqRel) {
                worker.hub.borrow_mut().expire_all_marks();
            }
            let rooms: Vec<RoomId> = worker.hub.borrow().live_rooms().cloned().collect();
            for room in rooms {
                worker.request_refill(&room);
            }
        }
    }
}
