//! The sweep finds expired leases of other nodes, and users whose presence expired or was not published. Any node may
//! sweep, usually one at a time. Redis scripts decide what changes, so two sweeps at the same time do no harm.

use std::{sync::Arc, time::Duration};

use tidings_shared::presence::{ExclusiveTask, NodeLease, PresencePartition, WriteOutcome};
use tokio::time::Instant;

use super::publish::publish;
use crate::{
    bus::{Bus, LookupError},
    metrics::Metrics,
};

const SWEEP_EVERY: Duration = Duration::from_secs(1);
const LOCK_FOR: Duration = Duration::from_millis(900);
/// Maximum duration of a sweep. The next one continues.
const MAX_SWEEP_DURATION: Duration = Duration::from_secs(5);
const USERS_PER_COMMAND: usize = 64;
const LEASES_PER_SWEEP: usize = 16;

pub(super) async fn sweep(bus: Arc<Bus>, metrics: Metrics) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        if let Err(error) = sweep_once(&bus, &metrics).await {
            tracing::debug!(%error, "the presence sweep failed; retrying");
            metrics.presence_failures.with_label_values(&["sweep"]).inc();
        }
    }
}

async fn sweep_once(bus: &Bus, metrics: &Metrics) -> Result<(), LookupError> {
    let Some(now_ms) = bus.lock_task(ExclusiveTask::Sweep, LOCK_FOR).await? else { return Ok(()) };
    let deadline = Instant::now() + MAX_SWEEP_DURATION;
    for (partition, leases) in bus.expired_node_leases(now_ms, LEASES_PER_SWEEP).await? {
        for lease in leases {
            remove_expired(bus, metrics, partition, &lease, deadline).await?;
        }
    }
    while Instant::now() < deadline {
        let due = bus.due_presence(now_ms, USERS_PER_COMMAND).await?;
        if due.is_empty() {
            return Ok(());
        }
        publish(bus, metrics, &due).await?;
    }
    Ok(())
}

/// Removes the users of an expired lease, and publishes the changes.
async fn remove_expired(
    bus: &Bus,
    metrics: &Metrics,
    partition: PresencePartition,
    lease: &NodeLease,
    deadline: Instant,
) -> Result<(), LookupError> {
    while Instant::now() < deadline {
        let users = bus.claim_presence(partition, lease, USERS_PER_COMMAND).await?;
        if users.is_empty() {
            return Ok(());
        }
        let outcomes = bus.remove_presence(lease, &users).await?;
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
