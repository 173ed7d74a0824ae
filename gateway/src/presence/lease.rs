//! Writes this node's presence to Redis under node leases, and renews them. There is one lease for each session with
//! presence partitions. When Redis has lost the lease, or the partitions are in another epoch, the task starts another
//! lease and writes all users of these partitions again.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use tidings_shared::{
    ids::{Epoch, UserId},
    log::Session,
    presence::{self, HoldKind, NodeLease, NodeState, PresencePartition, WriteOutcome},
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

/// The lease of this node in the presence partitions of one session, and the states to write under it.
struct ShardLease {
    /// The epoch of the session.
    epoch: Epoch,
    partitions: Vec<PresencePartition>,
    /// The present lease, and when it was renewed.
    active: Option<(NodeLease, Instant)>,
    /// Earlier leases, which are ended when all users are written under the present lease.
    earlier_leases: Vec<NodeLease>,
    /// States that were taken from the registry, and that Redis has not confirmed as written.
    unconfirmed_states: Vec<NodeState>,
}

impl ShardLease {
    /// Removes partitions. Returns the present lease if it was used in one of them.
    fn remove_partitions(&mut self, removed: &[PresencePartition]) -> Option<NodeLease> {
        let count = self.partitions.len();
        self.partitions.retain(|partition| !removed.contains(partition));
        self.unconfirmed_states.retain(|state| !removed.contains(&PresencePartition::of(&state.user)));
        if self.partitions.len() < count { Some(self.active.as_ref()?.0.clone()) } else { None }
    }

    fn add_earlier(&mut self, lease: NodeLease) {
        tracing::warn!(life = %lease, "the presence lease was lost; starting another");
        if self.earlier_leases.len() < MAX_EARLIER_LEASES {
            self.earlier_leases.push(lease);
        }
    }
}

struct LeaseTask {
    presence: Arc<Presence>,
    bus: Arc<Bus>,
    metrics: Metrics,
    to_publish: mpsc::Sender<UserId>,
    /// The leases of all sessions. No partition is in two of them.
    leases: Vec<ShardLease>,
}

/// Writes the changes of the registry until [`Presence::end`], then ends the node leases. Sends the users whose
/// presence must be published to `to_publish`.
pub(super) async fn run_lease_task(
    presence: Arc<Presence>,
    bus: Arc<Bus>,
    metrics: Metrics,
    to_publish: mpsc::Sender<UserId>,
) {
    let mut task = LeaseTask { presence, bus, metrics, to_publish, leases: Vec::new() };
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
    /// Writes the polls and the changes that are due, to each shard that is reachable. With `ending`, also writes the
    /// changes that are not due yet, and ends the leases of this node.
    async fn write_changes(&mut self, ending: bool) -> Result<(), LookupError> {
        let mut written = Ok(());
        for (session, partitions) in self.bus.presence_sessions().await? {
            let mut lease = self.take_lease(session.epoch, partitions);
            // After an error of one shard, the changes of the others are still written.
            written = written.and(self.write_to_shard(&session, &mut lease, ending).await);
            self.leases.push(lease);
        }
        written
    }

    /// Removes and returns the lease of a session with these partitions. If the partitions are in another epoch than
    /// before, all their users must be written again under another lease.
    fn take_lease(&mut self, epoch: Epoch, partitions: Vec<PresencePartition>) -> ShardLease {
        let is_same = |lease: &ShardLease| {
            lease.epoch == epoch && partitions.iter().all(|partition| lease.partitions.contains(partition))
        };
        if let Some(index) = self.leases.iter().position(is_same) {
            let mut lease = self.leases.swap_remove(index);
            let others: Vec<_> =
                lease.partitions.iter().copied().filter(|other| !partitions.contains(other)).collect();
            // The lease ends by itself in the other partitions. Their users are written again under another lease.
            lease.remove_partitions(&others);
            return lease;
        }
        let earlier: Vec<NodeLease> =
            self.leases.iter_mut().filter_map(|lease| lease.remove_partitions(&partitions)).collect();
        self.leases.retain(|lease| !lease.partitions.is_empty());
        // Changes of users who left need not be written, because their presence is removed with the old lease.
        lock(&self.presence.registry).reset_written(&partitions);
        let (earlier_leases, unconfirmed_states) = (Vec::new(), Vec::new());
        let mut lease = ShardLease { epoch, partitions, active: None, earlier_leases, unconfirmed_states };
        earlier.into_iter().for_each(|earlier| lease.add_earlier(earlier));
        lease
    }

    /// Does the work of [`LeaseTask::write_changes`] for one shard.
    async fn write_to_shard(
        &self,
        session: &Arc<Session>,
        lease: &mut ShardLease,
        ending: bool,
    ) -> Result<(), LookupError> {
        self.write_polls(session, &lease.partitions).await?;
        loop {
            let users = lock(&self.presence.registry).user_count();
            self.metrics.presence_users.set(i64::try_from(users).unwrap_or(i64::MAX));
            if users == 0 && lease.unconfirmed_states.is_empty() {
                // A lease without users need not be renewed.
                break;
            }
            let node_lease = self.ensure_lease(session, lease).await?;
            if lease.unconfirmed_states.is_empty() {
                let now = self.presence.now_ms();
                // At the shutdown, changes are written without waiting for the minimum interval.
                let min_interval_ms = if ending { 0 } else { super::registry::MIN_WRITE_INTERVAL_MS };
                lease.unconfirmed_states = lock(&self.presence.registry).take_states(
                    &lease.partitions,
                    MAX_USERS_PER_WRITE,
                    now,
                    min_interval_ms,
                );
            }
            if lease.unconfirmed_states.is_empty() {
                break;
            }
            let (states, now) = (&lease.unconfirmed_states, self.presence.now_ms());
            let mut redis = session.connection();
            let written = presence::write_states(&mut redis, &node_lease, states, now);
            let outcomes = self.bus.run_presence(session, written).await?;
            let changes = mem::take(&mut lease.unconfirmed_states);
            if outcomes.contains(&WriteOutcome::LeaseExpired) {
                self.drop_lease(lease);
            } else {
                self.queue_for_publishing(changes.iter().map(|change| &change.user), &outcomes);
            }
        }
        if ending && let Some((node_lease, _)) = lease.active.take() {
            lease.earlier_leases.push(node_lease);
        }
        while let Some(node_lease) = lease.earlier_leases.last() {
            let mut redis = session.connection();
            let ended = presence::end_lease(&mut redis, &lease.partitions, node_lease);
            self.bus.run_presence(session, ended).await?;
            lease.earlier_leases.pop();
        }
        Ok(())
    }

    async fn write_polls(
        &self,
        session: &Arc<Session>,
        partitions: &[PresencePartition],
    ) -> Result<(), LookupError> {
        let mut redis = session.connection();
        let mut polls = lock(&self.presence.registry).take_polls(partitions);
        while !polls.is_empty() {
            let batch = polls.split_off(polls.len().saturating_sub(MAX_USERS_PER_WRITE));
            let held = presence::hold_states(&mut redis, HoldKind::Poll, presence::POLL_HOLD, &batch);
            match self.bus.run_presence(session, held).await {
                Ok(outcomes) => self.queue_for_publishing(batch.iter().map(|(user, _)| user), &outcomes),
                Err(error) => {
                    polls.extend(batch);
                    lock(&self.presence.registry).requeue_polls(polls);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Returns a lease that has not expired. Renews the lease if its renewal is due. Starts a new lease if the node has
    /// none, or if the lease has expired.
    async fn ensure_lease(
        &self,
        session: &Arc<Session>,
        lease: &mut ShardLease,
    ) -> Result<NodeLease, LookupError> {
        let mut redis = session.connection();
        if let Some((node_lease, renewed_at)) = &mut lease.active {
            let now = Instant::now();
            if now.duration_since(*renewed_at) < presence::RENEW_EVERY {
                return Ok(node_lease.clone());
            }
            let renewed = presence::renew_lease(&mut redis, &lease.partitions, node_lease);
            if self.bus.run_presence(session, renewed).await? {
                *renewed_at = now;
                return Ok(node_lease.clone());
            }
        }
        self.drop_lease(lease);
        let (node_lease, renewed_at) = (NodeLease::generate(), Instant::now());
        let begun = presence::begin_lease(&mut redis, &lease.partitions, &node_lease);
        self.bus.run_presence(session, begun).await?;
        self.metrics.node_leases_started.inc();
        lease.active = Some((node_lease.clone(), renewed_at));
        Ok(node_lease)
    }

    /// Drops a lease that has expired. All users of its partitions must be written again under another lease.
    fn drop_lease(&self, lease: &mut ShardLease) {
        if let Some((node_lease, _)) = lease.active.take() {
            lease.add_earlier(node_lease);
            // Changes of users who left need not be written, because their presence is removed with the old lease.
            lease.unconfirmed_states.clear();
            lock(&self.presence.registry).reset_written(&lease.partitions);
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
