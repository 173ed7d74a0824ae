//! Presence of the users of this node. Workers report changes of their connections. Tasks write these changes to Redis,
//! publish them, and remove the presence that nodes with an expired lease have reported.
//!
//! No connection waits for these tasks. After Redis was down, the node writes all its users again.

mod lease;
mod registry;
mod sweep;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tidings_shared::{ids::UserId, protocol::Status};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{bus::Bus, lock::lock, metrics::Metrics};
use registry::PresenceRegistry;
pub use registry::StatusEvent;

/// Capacity of the queue of users whose presence is to be published. The sweep publishes users who do not fit.
const PUBLISH_QUEUE_CAPACITY: usize = 4096;
/// Maximum time for which the shutdown waits until the remaining changes are written.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// The presence of the users of this node. All workers share it.
pub struct Presence {
    registry: Mutex<PresenceRegistry>,
    started: Instant,
    wake: Notify,
    ending: CancellationToken,
    ended: CancellationToken,
}

impl Presence {
    /// Starts the tasks that write and publish presence, on the current Tokio runtime.
    pub fn start(bus: &Arc<Bus>, metrics: &Metrics) -> Arc<Self> {
        let presence = Arc::new(Self {
            registry: Mutex::default(),
            started: Instant::now(),
            wake: Notify::new(),
            ending: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        let (to_publish, publish_queue) = mpsc::channel(PUBLISH_QUEUE_CAPACITY);
        tokio::spawn(sweep::publish_queued(bus.clone(), metrics.clone(), publish_queue));
        tokio::spawn(sweep::sweep(bus.clone(), metrics.clone()));
        tokio::spawn(lease::run_lease_task(presence.clone(), bus.clone(), metrics.clone(), to_publish));
        presence
    }

    /// Reports that a connection of this user was opened, was closed or changed its status.
    pub fn report_status_event(&self, user: &UserId, event: StatusEvent) {
        self.update_registry(|registry, now| registry.record_status_event(user, event, now));
    }

    /// Reports a poll of this user, who is then present for 30 s. Without a `status`, the earlier status stays.
    pub fn report_poll(&self, user: &UserId, status: Option<Status>) {
        self.update_registry(|registry, _| registry.record_poll(user, status));
    }

    /// Writes the remaining changes, ends this node's lease and stops the lease task. Waits for at most 2 s.
    pub async fn end(&self) {
        self.ending.cancel();
        if tokio::time::timeout(END_TIMEOUT, self.ended.cancelled()).await.is_err() {
            tracing::warn!("presence was not removed from Redis in time: it expires with this node's lease");
        }
    }

    /// Changes the registry, and wakes the lease task if `update` returns true. `update` gets the time in ms.
    fn update_registry(&self, update: impl FnOnce(&mut PresenceRegistry, u32) -> bool) {
        let wake = update(&mut lock(&self.registry), self.now_ms());
        if wake {
            self.wake.notify_one();
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "the registry takes a clock that wraps around")]
    fn now_ms(&self) -> u32 {
        self.started.elapsed().as_millis() as u32
    }
}
