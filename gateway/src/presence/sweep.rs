//! The sweep: finds lives that are over, and users of whom something ran out or was not told. Any node does it, one at
//! a time; scripts decide, so that two at once do no harm.

use std::{sync::Arc, time::Duration};

use tidings_shared::presence::{Life, Partition, PutOutcome};
use tokio::time::Instant;

use super::telling::tell;
use crate::{
    bus::{Bus, PeopleError},
    metrics::Metrics,
};

const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// So long nobody else begins a turn.
const TURN: Duration = Duration::from_millis(900);
/// A turn ends after this; the next goes on with what is left.
const TURN_PATIENCE: Duration = Duration::from_secs(5);
/// Users looked at in one go, of each partition.
const USERS_AT_ONCE: usize = 64;
/// Lives that are over, looked at in one turn, of each partition.
const LIVES_AT_ONCE: usize = 16;

/// Sweeps as long as the node runs.
pub(super) async fn sweep(bus: Arc<Bus>, metrics: Metrics) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        if let Err(error) = turn(&bus, &metrics).await {
            tracing::debug!(%error, "presence is not swept");
            metrics.presence_failures.with_label_values(&["sweep"]).inc();
        }
    }
}

async fn turn(bus: &Bus, metrics: &Metrics) -> Result<(), PeopleError> {
    let Some(now_ms) = bus.sweep_turn(TURN).await? else { return Ok(()) };
    let deadline = Instant::now() + TURN_PATIENCE;
    for (partition, lives) in bus.lapsed_lives(now_ms, LIVES_AT_ONCE).await? {
        for life in lives {
            reap(bus, metrics, partition, &life, deadline).await?;
        }
    }
    while Instant::now() < deadline {
        let due = bus.due_presence(now_ms, USERS_AT_ONCE).await?;
        if due.is_empty() {
            return Ok(());
        }
        tell(bus, metrics, &due).await?;
    }
    Ok(())
}

/// Takes away what a life that is over holds, and tells what that changes.
async fn reap(
    bus: &Bus,
    metrics: &Metrics,
    partition: Partition,
    life: &Life,
    deadline: Instant,
) -> Result<(), PeopleError> {
    while Instant::now() < deadline {
        let users = bus.claim_presence(partition, life, USERS_AT_ONCE).await?;
        if users.is_empty() {
            return Ok(());
        }
        let outcomes = bus.reap_presence(life, &users).await?;
        metrics.presence_reaped.inc_by(users.len() as u64);
        let outcomes = users.into_iter().zip(outcomes);
        let to_tell: Vec<_> =
            outcomes.filter(|(_, outcome)| *outcome == PutOutcome::Tell).map(|(user, _)| user).collect();
        tell(bus, metrics, &to_tell).await?;
    }
    Ok(())
}
