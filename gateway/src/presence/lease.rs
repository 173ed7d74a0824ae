//! Writes this node's presence to Redis under a node lease, and renews the lease. When Redis has lost the lease or is
//! in another epoch, the task starts another lease and writes all users again.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use tidings_shared::{
    ids::{Epoch, UserId},
    log::keys::COMMON_PARTITION,
    presence::{self, HoldKind, NodeLease, NodeState, WriteOutcome},
};
use tokio::sync::mpsc;

use super::Presence;
use crate::{
    bus::{Bus, LookupError},
    lock::lock,
    metrics::Metrics,
};

/// Maximum number of users written in one command, which takes Redis about a millisecond.
const MAX_USERS_PER_WRITE: usize = 256;
/// Interval at which the task writes changes that had to wait for the minimum interval between two writes of a user.
const WRITE_INTERVAL: Duration = Duration::from_millis(250);
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Maximum number of earlier leases that this node ends explicitly. Further earlier leases expire by themselves.
const MAX_EARLIER_LEASES: usize = 8;

struct ActiveLease {
    node_lease: NodeLease,
    epoch: Epoch,
    renewed_at: Instant,
}

struct LeaseTask {
    presence: Arc<Presence>,
    bus: Arc<Bus>,
    metrics: Metrics,
    to_publish: mpsc::Sender<UserId>,
    active_lease: Option<ActiveLease>,
    /// Earlier leases, which are ended when all users are written under the current lease.
    earlier_leases: Vec<NodeLease>,
    /// States that were taken from the registry, and that Redis has not confirmed as written.
    unconfirmed_states: Vec<NodeState>,
}

/// Writes the changes of the registry until [`Presence::end`], then ends the node lease. Sends the users whose
/// presence must be published to `to_publish`.
pub(super) async fn run_lease_task(
    presence: Arc<Presence>,
    bus: Arc<Bus>,
    metrics: Metrics,
    to_publish: mpsc::Sender<UserId>,
) {
    let mut task = LeaseTask {
        presence,
        bus,
        metrics,
        to_publish,
        active_lease: None,
        earlier_leases: Vec::new(),
        unconfirmed_states: Vec::new(),
    };
    loop {
        let ending = tokio::select! {
            () = task.presence.wake.notified() => false,
            () = tokio::time::sleep(WRITE_INTERVAL) => false,
            () = task.presence.ending.cancelled() => true,
        };
        if let Err(error) = task.write_changes(ending).await {
            tracing::debug!(%error, "presence cannot be written; retrying");
            task.metrics.presence_failures.with_label_values(&["put"]).inc();
            tokio::time::sleep(RETRY_AFTER).await;
            continue;
        }
        if ending {
            task.presence.ended.cancel();
            return;
        }
    }
}

impl LeaseTask {
    /// Writes the polls and the changes that are due. With `ending`, also writes the changes that are not due yet, and
    /// ends the leases of this node.
    async fn write_changes(&mut self, ending: bool) -> Result<(), LookupError> {
        let mut polls = lock(&self.presence.registry).take_polls();
        while !polls.is_empty() {
            let batch = polls.split_off(polls.len().saturating_sub(MAX_USERS_PER_WRITE));
            match self.bus.hold_presence(HoldKind::Poll, presence::POLL_HOLD, &batch).await {
                Ok(outcomes) => self.queue_for_publishing(batch.iter().map(|(user, _)| user), &outcomes),
                Err(error) => {
                    polls.extend(batch);
                    lock(&self.presence.registry).requeue_polls(polls);
                    return Err(error);
                }
            }
        }
        loop {
            let users = lock(&self.presence.registry).user_count();
            self.metrics.presence_users.set(i64::try_from(users).unwrap_or(i64::MAX));
            if users == 0 && self.unconfirmed_states.is_empty() {
                // A lease without users need not be renewed.
                break;
            }
            let node_lease = self.ensure_lease().await?;
            if self.unconfirmed_states.is_empty() {
                let now = self.presence.now_ms();
                // At the shutdown, changes are written without waiting for the minimum interval.
                let now = if ending { now.wrapping_add(super::registry::MIN_WRITE_INTERVAL_MS) } else { now };
                self.unconfirmed_states = lock(&self.presence.registry).take_states(MAX_USERS_PER_WRITE, now);
            }
            if self.unconfirmed_states.is_empty() {
                break;
            }
            let outcomes = self.bus.put_presence(&node_lease, &self.unconfirmed_states).await?;
            let changes = mem::take(&mut self.unconfirmed_states);
            if outcomes.contains(&WriteOutcome::LeaseExpired) {
                self.drop_lease();
            } else {
                self.queue_for_publishing(changes.iter().map(|change| &change.user), &outcomes);
            }
        }
        if ending && let Some(lease) = self.active_lease.take() {
            self.earlier_leases.push(lease.node_lease);
        }
        while let Some(node_lease) = self.earlier_leases.last() {
            self.bus.end_node_lease(node_lease).await?;
            self.earlier_leases.pop();
        }
        Ok(())
    }

    /// Renews the current lease if its renewal is due, and returns the lease. Starts another lease if the current one
    /// has expired or belongs to another epoch.
    async fn ensure_lease(&mut self) -> Result<NodeLease, LookupError> {
        let epoch = self.bus.log.session(COMMON_PARTITION).await?.epoch;
        if let Some(lease) = &mut self.active_lease
            && lease.epoch == epoch
        {
            let now = Instant::now();
            if now.duration_since(lease.renewed_at) < presence::RENEW_EVERY {
                return Ok(lease.node_lease.clone());
            }
            if self.bus.renew_node_lease(&lease.node_lease).await? {
                lease.renewed_at = now;
                return Ok(lease.node_lease.clone());
            }
        }
        self.drop_lease();
        let (node_lease, renewed_at) = (NodeLease::generate(), Instant::now());
        self.bus.start_node_lease(&node_lease).await?;
        self.metrics.node_leases_started.inc();
        self.active_lease = Some(ActiveLease { node_lease: node_lease.clone(), epoch, renewed_at });
        Ok(node_lease)
    }

    /// Drops a lease that has expired or belongs to another epoch. All users must be written again under another lease.
    fn drop_lease(&mut self) {
        if let Some(lease) = self.active_lease.take() {
            tracing::warn!(life = %lease.node_lease, "the presence lease was lost; starting another");
            if self.earlier_leases.len() < MAX_EARLIER_LEASES {
                self.earlier_leases.push(lease.node_lease);
            }
            // Changes of users who left need not be written, because their presence is removed with the old lease.
            self.unconfirmed_states.clear();
            lock(&self.presence.registry).reset_written();
        }
    }

    /// Queues the users whose outcome is [`WriteOutcome::MustPublish`].
    fn queue_for_publishing<'a>(&self, users: impl Iterator<Item = &'a UserId>, outcomes: &[WriteOutcome]) {
        for (user, outcome) in users.zip(outcomes) {
            if *outcome == WriteOutcome::MustPublish {
                // If the queue is full, the sweep publishes the user soon.
                let _ = self.to_publish.try_send(user.clone());
            }
        }
    }
}
