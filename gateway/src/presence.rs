//! Who is here, as far as this node knows: what workers tell of their connections, and the tasks that bring it to
//! Redis, tell what changed, and sweep behind nodes that are gone.
//!
//! Nothing here is waited for by a connection: while Redis is away presence rests, and all of it is put anew after.

mod keeper;
mod registry;
mod sweep;
mod telling;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tidings_shared::{ids::UserId, protocol::Status};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{bus::Bus, metrics::Metrics};
use registry::Registry;

/// Users who may wait for being told of; what finds no place is found by the sweep.
const TELL_QUEUE: usize = 4096;
/// How long the end of the node waits for what is still to be put.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// See the module. Shared by all workers.
pub struct Presence {
    registry: Mutex<Registry>,
    started: Instant,
    wake: Notify,
    ending: CancellationToken,
    ended: CancellationToken,
}

impl Presence {
    /// Starts the tasks on the present runtime.
    pub fn start(bus: &Arc<Bus>, metrics: &Metrics) -> Arc<Self> {
        let presence = Arc::new(Self {
            registry: Mutex::default(),
            started: Instant::now(),
            wake: Notify::new(),
            ending: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        let (tell, to_tell) = mpsc::channel(TELL_QUEUE);
        tokio::spawn(telling::tell_them(bus.clone(), metrics.clone(), to_tell));
        tokio::spawn(sweep::sweep(bus.clone(), metrics.clone()));
        tokio::spawn(keeper::keep(presence.clone(), bus.clone(), metrics.clone(), tell));
        presence
    }

    /// A connection of this user is there.
    pub fn opened(&self, user: &UserId, status: Status) {
        self.change(|registry, now| registry.opened(user, status, now));
    }

    /// A connection of this user that had this status is gone.
    pub fn closed(&self, user: &UserId, status: Status) {
        self.change(|registry, now| registry.closed(user, status, now));
    }

    /// A connection of this user has another status.
    pub fn moved(&self, user: &UserId, from: Status, to: Status) {
        self.change(|registry, now| registry.moved(user, from, to, now));
    }

    /// This user is here by polling until 30 s from now. Without a status it is the one they said before.
    pub fn polled(&self, user: &UserId, status: Option<Status>) {
        self.change(|registry, _| registry.polled(user, status));
    }

    /// Puts what is still to be put, and gives this node's lease back.
    pub async fn end(&self) {
        self.ending.cancel();
        if tokio::time::timeout(END_PATIENCE, self.ended.cancelled()).await.is_err() {
            tracing::warn!("presence was not given back: what this node held goes with its lease");
        }
    }

    fn change(&self, change: impl FnOnce(&mut Registry, u32) -> bool) {
        let wake = change(&mut self.registry(), self.now());
        if wake {
            self.wake.notify_one();
        }
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        // Nothing under the lock can panic half-way through a change.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[allow(clippy::cast_possible_truncation, reason = "the registry takes a clock that wraps around")]
    fn now(&self) -> u32 {
        self.started.elapsed().as_millis() as u32
    }
}
