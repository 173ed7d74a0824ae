//! One worker thread's chat: its hub, and the tasks that bring hints to it, refill rooms with holes and sweep idle
//! ones. Sessions of the thread share it; nothing else touches its hub.

mod late;
mod people;
mod presence;
mod refill;
mod typing;

use std::{
    cell::{Cell, RefCell},
    num::NonZeroU32,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use tidings_shared::{
    auth::Verifier,
    ids::{RoomId, UserId},
    protocol::server::Limits,
    receipts::Receipts,
};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    bus::{Bus, Hint, Published, WorkerQueue},
    hub::{Dispatch, Hub},
    limits::{Allowances, Limit},
    metrics::{Hot, Metrics},
    presence::Presence,
    session::Client,
    transport::Frame,
};
pub use late::Late;
use people::People;
pub use typing::{Typing, Typist};

/// Hints that may wait for a worker; above it they are dropped and all its rooms are refilled.
const HINT_QUEUE: usize = 16_384;
/// Hints handled before other tasks of the thread get their turn.
const HINTS_PER_TURN: usize = 128;

/// Settings and parts that all workers of a node share.
pub struct Node {
    pub bus: Arc<Bus>,
    pub verifier: Verifier,
    /// What each user may do through this node.
    pub allowances: Allowances,
    /// A connection that runs against limits more often is closed.
    pub abuse_per_minute: u32,
    pub receipts: Arc<Receipts>,
    pub typing: Arc<Typing>,
    pub presence: Arc<Presence>,
    pub metrics: Metrics,
    pub hot: Hot,
    pub late: Late,
    pub name: String,
    pub heartbeat_ms: u64,
    pub limits: Limits,
}

impl Node {
    /// Takes one command off a user's allowance, else tells in how many milliseconds there will be one.
    ///
    /// # Errors
    /// Milliseconds to wait.
    pub fn allow(&self, limit: Limit, user: &UserId) -> Result<(), u64> {
        self.allow_many(limit, user, NonZeroU32::MIN)
    }

    /// Takes what so many commands are worth.
    ///
    /// # Errors
    /// Milliseconds to wait.
    pub fn allow_many(&self, limit: Limit, user: &UserId, many: NonZeroU32) -> Result<(), u64> {
        let allowed = self.allowances.take(limit, user, many);
        if allowed.is_err() {
            self.metrics.limited.with_label_values(&[limit.name()]).inc();
        }
        allowed
    }
}

/// See the module.
pub struct Worker {
    pub index: usize,
    pub node: Arc<Node>,
    pub hub: RefCell<Hub<Client>>,
    people: RefCell<People>,
    snapshots: presence::Snapshots,
    /// Changes of presence brought to this worker's connections so far.
    presence_rounds: Cell<u32>,
    /// Refills that read at once; the others wait, so that a reconnect does not drown Redis in reads.
    refills: Semaphore,
}

/// See [`Worker::refills`].
const REFILLS_AT_ONCE: usize = 64;

/// The two ends of a worker's queue: one for the bus, one for the worker.
#[must_use]
pub fn queue() -> (WorkerQueue, Inbox) {
    let (hints, receiver) = mpsc::channel(HINT_QUEUE);
    let queue = WorkerQueue::new(hints);
    (queue.clone(), Inbox { queue, hints: receiver })
}

/// A worker's end of its queue.
pub struct Inbox {
    queue: WorkerQueue,
    hints: mpsc::Receiver<Hint>,
}

impl Worker {
    /// Starts the worker's tasks on the present thread.
    #[must_use]
    pub fn start(index: usize, node: Arc<Node>, inbox: Inbox) -> Rc<Self> {
        let worker = Rc::new(Self {
            index,
            node,
            hub: RefCell::default(),
            people: RefCell::default(),
            snapshots: presence::Snapshots::default(),
            presence_rounds: Cell::new(0),
            refills: Semaphore::new(REFILLS_AT_ONCE),
        });
        tokio::task::spawn_local(follow(worker.clone(), inbox));
        tokio::task::spawn_local(refill::sweep(worker.clone()));
        tokio::task::spawn_local(presence::follow(worker.clone()));
        worker
    }

    /// Adds a replaying subscription; the id returned is the one that all subscriptions of the room share.
    pub fn subscribe(&self, room: &RoomId, client: Rc<Client>) -> (RoomId, crate::hub::Subscription) {
        let mut hub = self.hub.borrow_mut();
        let rooms = hub.room_count();
        let subscribed = hub.subscribe(room, client);
        if hub.room_count() > rooms {
            self.node.metrics.rooms.inc();
        }
        subscribed
    }

    /// Takes a subscription away, and the channel with the room's last one.
    pub fn unsubscribe(&self, room: &RoomId, subscription: crate::hub::Subscription) {
        let last = self.hub.borrow_mut().unsubscribe(room, subscription);
        if last {
            self.node.bus.unsubscribe(self.index, room);
            self.node.metrics.rooms.dec();
        }
    }

    /// Gives up what removals have ended in the hub. To be called after each call of the hub that may end something.
    pub fn give_up_ended(&self) {
        let ended = self.hub.borrow_mut().take_ended();
        self.node.metrics.revoked.inc_by(ended.subscriptions as u64);
        for room in &ended.rooms {
            self.node.bus.unsubscribe(self.index, room);
            self.node.metrics.rooms.dec();
        }
    }

    /// Has a room refilled from Redis, unless nobody is live there or it is under way.
    pub fn suspect(self: &Rc<Self>, room: &RoomId) {
        let suspected = self.hub.borrow_mut().suspect(room);
        if suspected {
            tokio::task::spawn_local(refill::refill(self.clone(), room.clone()));
        }
    }
}

impl Worker {
    fn dispatch(self: &Rc<Self>, record: &Published, frame: &Frame) {
        let outcome = self.hub.borrow_mut().dispatch(record, frame);
        if !record.membership().is_empty() {
            self.give_up_ended();
        }
        if outcome == Dispatch::Delivered {
            record.delivered();
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
    let mut gathered = Vec::with_capacity(HINTS_PER_TURN);
    loop {
        tokio::select! {
            count = inbox.hints.recv_many(&mut gathered, HINTS_PER_TURN) => if count == 0 { return },
            () = inbox.queue.wake.notified() => {}
        }
        // What is followed by more is gathered in the outboxes and written together; what is alone goes at once.
        let alone = gathered.len() == 1;
        for hint in gathered.drain(..) {
            match hint {
                // It has no seq that would show what is missing before it: a removal of somebody whom it would reach.
                Hint::Record { record, .. } if record.is_live_only() && inbox.queue.may_have_missed() => {}
                Hint::Record { record, frame } if alone => worker.dispatch(&record, &frame.alone()),
                Hint::Record { record, frame } => worker.dispatch(&record, &frame),
                Hint::User { user, told } => worker.tell(&user, &told),
            }
        }
        if inbox.queue.refill.swap(false, Ordering::AcqRel) {
            worker.hub.borrow_mut().missed();
            if inbox.queue.doubt.swap(false, Ordering::AcqRel) {
                worker.hub.borrow_mut().doubt_all();
            }
            let rooms: Vec<RoomId> = worker.hub.borrow().live_rooms().cloned().collect();
            for room in rooms {
                worker.suspect(&room);
            }
        }
    }
}
