//! One worker thread's chat: its hub, and the tasks that bring hints to it, refill rooms with holes and sweep idle
//! ones. Sessions of the thread share it; nothing else touches its hub.

mod marks;
mod refill;

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use governor::{DefaultKeyedRateLimiter, clock::Clock};
use tidings_shared::{
    auth::Verifier,
    ids::{RoomId, UserId},
    protocol::server::Limits,
};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    bus::{Bus, Hint, WorkerQueue},
    hub::{Dispatch, Hub},
    metrics::Metrics,
    session::Client,
};
use marks::Marks;

/// Hints that may wait for a worker; above it they are dropped and all its rooms are refilled.
const HINT_QUEUE: usize = 16_384;
/// Hints handled before other tasks of the thread get their turn.
const HINTS_PER_TURN: usize = 128;

/// Settings and parts that all workers of a node share.
pub struct Node {
    pub bus: Arc<Bus>,
    pub verifier: Verifier,
    /// Messages of a user through this node.
    pub allowance: DefaultKeyedRateLimiter<UserId>,
    pub metrics: Metrics,
    pub name: String,
    pub heartbeat_ms: u64,
    pub limits: Limits,
}

impl Node {
    /// Takes one message off a user's allowance, else tells in how many milliseconds there will be one.
    ///
    /// # Errors
    /// Milliseconds to wait.
    pub fn allow_message(&self, user: &UserId) -> Result<(), u64> {
        self.allowance.check_key(user).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.allowance.clock().now());
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)
        })
    }
}

/// See the module.
pub struct Worker {
    pub index: usize,
    pub node: Arc<Node>,
    pub hub: RefCell<Hub<Client>>,
    marks: RefCell<Marks>,
    /// Refills that read at once; the others wait, so that a reconnect does not drown Redis in reads.
    refills: Semaphore,
}

/// See [`Worker::refills`].
const REFILLS_AT_ONCE: usize = 64;

/// The two ends of a worker's queue: one for the bus, one for the worker.
#[must_use]
pub fn queue() -> (WorkerQueue, Inbox) {
    let (hints, receiver) = mpsc::channel(HINT_QUEUE);
    let queue = WorkerQueue { hints, refill: Arc::default(), wake: Arc::default() };
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
            marks: RefCell::default(),
            refills: Semaphore::new(REFILLS_AT_ONCE),
        });
        tokio::task::spawn_local(follow(worker.clone(), inbox));
        tokio::task::spawn_local(refill::sweep(worker.clone()));
        worker
    }

    /// Adds a replaying subscription; the id returned is the one that all subscriptions of the room share.
    pub fn subscribe(
        &self,
        room: &RoomId,
        client: Rc<Client>,
        role: Rc<str>,
    ) -> (RoomId, crate::hub::Subscription) {
        let mut hub = self.hub.borrow_mut();
        let rooms = hub.room_count();
        let subscribed = hub.subscribe(room, client, role);
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

    /// Has a room refilled from Redis, unless nobody is live there or it is under way.
    pub fn suspect(self: &Rc<Self>, room: &RoomId) {
        let suspected = self.hub.borrow_mut().suspect(room);
        if suspected {
            tokio::task::spawn_local(refill::refill(self.clone(), room.clone()));
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
        for Hint { record, frame } in gathered.drain(..) {
            let outcome = worker.hub.borrow_mut().dispatch(&record, &frame);
            if outcome == Dispatch::Refill {
                worker.node.metrics.holes.inc();
                if let Ok(room) = RoomId::parse(record.room()) {
                    tokio::task::spawn_local(refill::refill(worker.clone(), room));
                }
            }
        }
        if inbox.queue.refill.swap(false, Ordering::AcqRel) {
            worker.hub.borrow_mut().missed();
            let rooms: Vec<RoomId> = worker.hub.borrow().live_rooms().cloned().collect();
            for room in rooms {
                worker.suspect(&room);
            }
        }
    }
}
