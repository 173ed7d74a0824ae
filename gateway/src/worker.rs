//! The chat state of one worker thread: its hub, and the tasks that pass hints to the hub, refill rooms with holes, and
//! find rooms whose last hint was lost. All sessions of the thread share the worker. No other thread uses the hub.

mod answers;
mod effects;
mod fair_queue;
mod hints;
mod limit_reports;
mod presence;
mod read_permits;
pub mod refill;
mod replay;
mod rights;
mod slices;
mod typing;
mod users;

use std::{
    cell::{Cell, RefCell},
    num::NonZeroU32,
    rc::Rc,
    sync::Arc,
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
    rate::content_cost,
    receipts::Receipts,
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    bus::{Bus, WorkerMessage, WorkerQueue},
    client::Client,
    hub::{Hub, Subscription},
    limits::{Limit, RateLimits},
    metrics::{CachedCounters, Metrics},
    one_or_many::OneOrMany,
    presence::Presence,
    request_context::RequestContext,
};
pub(crate) use answers::PendingAnswer;
use answers::StoredAnswers;
pub use limit_reports::report_limits;
use read_permits::ReadPermits;
pub use refill::LateDeliveryDedup;
pub use rights::warn_of_missing_rights;
pub use typing::{TypingPublisher, TypingState};

/// Capacity of a worker's queue, in messages. The queue also has a limit in bytes. When the queue is full, messages are
/// dropped. After dropped hints, all rooms of the worker are refilled. After a dropped user event that reports a
/// lasting change, the user's versions are compared with Redis.
const QUEUE_CAPACITY: usize = 16_384;

/// Settings and components that all workers of a node share.
pub struct Node {
    pub bus: Arc<Bus>,
    pub verifier: Arc<Verifier>,
    pub rate_limits: RateLimits,
    /// A connection that exceeds rate limits more often than this in a minute is closed.
    pub abuse_per_minute: u32,
    pub receipts: Arc<Receipts>,
    pub typing: Arc<TypingPublisher>,
    pub presence: Arc<Presence>,
    pub metrics: Metrics,
    pub counters: CachedCounters,
    pub late_deliveries: LateDeliveryDedup,
    pub name: String,
    pub heartbeat_ms: u64,
    pub limits: Limits,
}

impl Node {
    /// Takes `cost` tokens from a user's bucket. If there are too few, counts the excess, and fails with the
    /// milliseconds after which the tokens are available.
    pub fn take_tokens(&self, limit: Limit, user: &UserId, cost: NonZeroU32) -> Result<(), u64> {
        let taken = self.rate_limits.take_tokens(limit, user, cost);
        taken.inspect_err(|_| self.metrics.limited.with_label_values(&[limit.name()]).inc())
    }

    /// Takes tokens from a room's bucket for contents of this size, or refuses the command if there are too few. The
    /// caller must have checked that the sender may send to the room.
    pub fn take_room_bytes(&self, room: &RoomId, bytes: usize) -> Result<(), Refusal> {
        let Some(cost) = content_cost(bytes) else { return Ok(()) };
        self.rate_limits.take_room_bytes(room, cost).map_err(|retry_after_ms| {
            self.metrics.limited.with_label_values(&["room_bytes"]).inc();
            Limit::Bytes.refusal(retry_after_ms)
        })
    }

    /// Takes `cost` tokens from a user's bucket, or refuses the command if there are too few.
    pub fn take_tokens_or_refuse(
        &self,
        limit: Limit,
        user: &UserId,
        cost: NonZeroU32,
    ) -> Result<(), Refusal> {
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
    snapshot_reads: RefCell<FxHashMap<RoomId, presence::SnapshotReads>>,
    /// The number of presence changes that were sent to this worker's connections.
    presence_rounds: Cell<u32>,
    /// Limits how many refills read at the same time, so that a reconnect does not overload Redis.
    refill_permits: ReadPermits,
    /// The tasks that wait for the end of a refill of a room.
    refill_waiters: RefCell<FxHashMap<RoomId, Vec<oneshot::Sender<()>>>>,
    /// Limits how many replays read at the same time, so that the reads of many reconnected clients do not time out.
    replay_read_permits: ReadPermits,
    pub batcher: Arc<AppendBatcher>,
    pub stored_answers: StoredAnswers,
}

/// For each Redis process.
const MAX_CONCURRENT_REFILLS: usize = 64;

/// For each Redis process. With this maximum the replays read at most 1 MiB from it at the same time, because a tail
/// has at most 64 KiB.
const MAX_CONCURRENT_REPLAY_READS: usize = 16;

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
            snapshot_reads: RefCell::default(),
            presence_rounds: Cell::new(0),
            refill_waiters: RefCell::default(),
            refill_permits: ReadPermits::new(MAX_CONCURRENT_REFILLS),
            replay_read_permits: ReadPermits::new(MAX_CONCURRENT_REPLAY_READS),
            batcher,
            stored_answers: StoredAnswers::default(),
        });
        tokio::task::spawn_local(hints::deliver_messages(worker.clone(), inbox));
        tokio::task::spawn_local(refill::sweep_rooms(worker.clone()));
        tokio::task::spawn_local(answers::answer_stored(worker.clone()));
        tokio::task::spawn_local(presence::deliver_presence(worker.clone()));
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
    pub fn unsubscribe(self: &Rc<Self>, room: &RoomId, subscription: Subscription) {
        let effects = self.hub.borrow_mut().unsubscribe(room, subscription);
        self.carry_out(effects);
    }

    /// Refills a room from Redis, if a subscription is live and no refill is running.
    pub fn request_refill(self: &Rc<Self>, room: &RoomId) {
        let effects = self.hub.borrow_mut().begin_refill(room);
        self.carry_out(effects);
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
        if client.record_exceeded_limit(unix_ms(), self.node.abuse_per_minute) {
            client.close(CloseCode::Abuse, "rate limits were exceeded too often");
        }
    }
}
