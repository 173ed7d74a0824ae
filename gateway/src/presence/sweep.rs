//! The sweep finds expired leases of other nodes, and users whose presence expired or was not published. Any node may
//! sweep, and a lock in Redis usually keeps two nodes from sweeping at the same time. Two concurrent sweeps do no harm,
//! because Redis scripts decide what changes.
//!
//! [`publish_queued`] is not part of the sweep. It publishes changes of this node's own users at once, from a queue.

use std::{sync::Arc, time::Duration};

use tidings_shared::{
    ids::UserId,
    log::{Session, keys::COMMON_PARTITION},
    presence::{self, ExclusiveTask, NodeLease, PresencePartition, WriteOutcome},
};
use tokio::{sync::mpsc, time::Instant};

use crate::{
    bus::{Bus, LookupError},
    metrics::Metrics,
};

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How long the lock of a sweep keeps other nodes from sweeping: a little less than the interval.
const LOCK_DURATION: Duration = Duration::from_millis(900);
/// Maximum duration of a sweep. The next sweep continues with the users and leases that are left.
const MAX_SWEEP_DURATION: Duration = Duration::from_secs(5);
/// Maximum number of users in one Redis command, and of users taken from the queue at once. The limit is low, because
/// publishing 64 users with 200 rooms each reads the sizes of 12,800 rooms.
const MAX_USERS_PER_COMMAND: usize = 64;
/// Maximum number of expired leases that one sweep reads from each presence partition.
const MAX_LEASES_PER_PARTITION: usize = 16;

/// Sweeps about once a second, unless another node holds the lock of the sweep. Never returns.
pub(super) async fn sweep(bus: Arc<Bus>, metrics: Metrics) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        if let Err(error) = sweep_once(&bus, &metrics).await {
            tracing::debug!(%error, "the presence sweep failed; retrying");
            metrics.presence_failures.with_label_values(&["sweep"]).inc();
        }
    }
}

async fn sweep_once(bus: &Bus, metrics: &Metrics) -> Result<(), LookupError> {
    let session = bus.log.session(COMMON_PARTITION).await?;
    let mut redis = session.connection();
    let claimed = presence::claim_task(&mut redis, ExclusiveTask::Sweep, LOCK_DURATION);
    if !bus.run_presence(&session, claimed).await? {
        return Ok(());
    }
    let deadline = Instant::now() + MAX_SWEEP_DURATION;
    let mut swept = Ok(());
    for (session, partitions) in bus.presence_sessions().await? {
        // After an error of one shard, the others are still swept.
        swept = swept.and(sweep_session(bus, metrics, &session, &partitions, deadline).await);
    }
    swept
}

/// Sweeps the presence partitions of one session.
async fn sweep_session(
    bus: &Bus,
    metrics: &Metrics,
    session: &Arc<Session>,
    partitions: &[PresencePartition],
    deadline: Instant,
) -> Result<(), LookupError> {
    // The clocks of two shards may differ.
    let mut redis = session.connection();
    let now_ms = bus.run_presence(session, presence::clock_ms(&mut redis)).await?;
    let expired = presence::expired_leases(&mut redis, partitions, now_ms, MAX_LEASES_PER_PARTITION);
    for (partition, leases) in bus.run_presence(session, expired).await? {
        for lease in leases {
            remove_expired(bus, metrics, session, partition, &lease, deadline).await?;
        }
    }
    while Instant::now() < deadline {
        let due = presence::due_users(&mut redis, partitions, now_ms, MAX_USERS_PER_COMMAND);
        let due = bus.run_presence(session, due).await?;
        if due.is_empty() {
            return Ok(());
        }
        publish(bus, metrics, &due).await?;
    }
    Ok(())
}

/// Removes the presence of the users of an expired lease, and publishes the changes.
async fn remove_expired(
    bus: &Bus,
    metrics: &Metrics,
    session: &Arc<Session>,
    partition: PresencePartition,
    lease: &NodeLease,
    deadline: Instant,
) -> Result<(), LookupError> {
    let mut redis = session.connection();
    while Instant::now() < deadline {
        let users = presence::users_of_expired_lease(&mut redis, partition, lease, MAX_USERS_PER_COMMAND);
        let users = bus.run_presence(session, users).await?;
        if users.is_empty() {
            return Ok(());
        }
        let removed = presence::remove_states(&mut redis, lease, &users);
        let outcomes = bus.run_presence(session, removed).await?;
        metrics.presence_reaped.inc_by(users.len() as u64);
        let outcomes = users.into_iter().zip(outcomes);
        let changed: Vec<_> = outcomes
            .filter(|(_, outcome)| *outcome == WriteOutcome::MustPublish)
            .map(|(user, _)| user)
            .collect();
        publish(bus, metrics, &changed).await?;
    }
    Ok(())
}

/// Publishes the presence of the users from the queue, in batches, until the queue is closed.
pub(super) async fn publish_queued(bus: Arc<Bus>, metrics: Metrics, mut queue: mpsc::Receiver<UserId>) {
    let mut users = Vec::with_capacity(MAX_USERS_PER_COMMAND);
    while queue.recv_many(&mut users, MAX_USERS_PER_COMMAND).await > 0 {
        if let Err(error) = publish(&bus, &metrics, &users).await {
            // These users are still due in Redis, so the sweep publishes their presence.
            tracing::debug!(%error, "presence cannot be published now");
        }
        users.clear();
    }
}

/// Publishes the presence of users to the members of their small rooms, if it differs from the published presence.
async fn publish(bus: &Bus, metrics: &Metrics, users: &[UserId]) -> Result<(), LookupError> {
    for users in users.chunks(MAX_USERS_PER_COMMAND) {
        let publication = async {
            let users = bus.load_rooms_to_notify(users).await?;
            bus.publish_presence(users).await
        };
        let published = publication.await.inspect_err(|_| {
            metrics.presence_failures.with_label_values(&["tell"]).inc();
        })?;
        metrics.presence_published.inc_by(published);
    }
    Ok(())
}
