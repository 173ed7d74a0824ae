//! Keeps this replica's share of the partitions: renews, takes what is free, gives back what is too much.
//! Others are told of what was given back. Touches the holdings and the lease columns. A batch in flight needs no notice: its guard finds out.

use std::sync::Arc;
use std::time::Instant;

use sea_orm::DbErr;
use tidings_shared::log::keys::{self, PARTITIONS};
use tokio_util::sync::CancellationToken;

use super::{Ingest, without_data};
use crate::writer::{failure, leases, limit::within};

/// Renewals in the time of a lease: two may fail before it runs out.
const RENEWALS_PER_LEASE: u32 = 3;

/// Partitions that each of `live` replicas may have at most.
#[must_use]
fn fair_share(live: usize) -> usize {
    usize::from(PARTITIONS).div_ceil(live.max(1))
}

pub(super) async fn keep(ingest: Arc<Ingest>, done: CancellationToken) {
    let mut tick = tokio::time::interval(ingest.lease / RENEWALS_PER_LEASE);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = done.cancelled() => return,
            _ = tick.tick() => {}
            () = ingest.to_take.notified() => {}
        }
        // What was taken and not told is found by the next renewal.
        if let Err(error) = within(ingest.lease, round(&ingest)).await {
            tracing::warn!(cause = failure::without_data(&error), "leases could not be renewed");
        }
        ingest.metrics.leases.set(i64::try_from(ingest.holdings().len()).unwrap_or(i64::MAX));
    }
}

async fn round(ingest: &Ingest) -> Result<(), DbErr> {
    let live = leases::appear(&ingest.db, &ingest.replica, ingest.lease).await?;
    let renewed = leases::renew(&ingest.db, &ingest.replica, ingest.lease).await?;
    let share = fair_share(live);
    // Under one lock: the surplus is of what is still held, not of what the renewal has just found lost.
    let (lost, surplus, held) = {
        let mut holdings = ingest.holdings();
        let lost = holdings.renewed(&renewed, Instant::now());
        (lost, holdings.give_up_above(share), holdings.len())
    };
    count(ingest, "lost", lost);
    if !surplus.is_empty() {
        leases::release(&ingest.db, &ingest.replica, &surplus).await?;
        count(ingest, "released", surplus.len());
        tell_free(ingest).await;
    } else if held < share {
        let taken = leases::take(&ingest.db, &ingest.replica, ingest.lease, share - held).await?;
        taken.iter().for_each(|lease| ingest.holdings().gained(*lease, Instant::now()));
        count(ingest, "taken", taken.len());
        if !taken.is_empty() {
            ingest.changed.mark_all();
        }
    }
    ingest.to_settle.notify_one();
    Ok(())
}

/// Tells all replicas that partitions are free. Who does not hear of it finds them at its next renewal.
pub(super) async fn tell_free(ingest: &Ingest) {
    let Some(session) = ingest.log.current_session() else { return };
    let mut connection = session.connection();
    let told = redis::cmd("PUBLISH").arg(keys::LEASES).arg("").query_async::<i64>(&mut connection).await;
    if let Err(error) = told {
        ingest.log.failed(&session, &error);
        tracing::debug!(cause = without_data(&error), "that partitions are free cannot be told");
    }
}

fn count(ingest: &Ingest, change: &str, partitions: usize) {
    if partitions > 0 {
        tracing::info!(change, partitions, "leases changed");
        ingest.metrics.lease_changes.with_label_values(&[change]).inc_by(partitions as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_replicas_cover_all_partitions() {
        assert_eq!([0, 1, 2, 3, 5, 64, 100].map(fair_share), [64, 64, 32, 22, 13, 1, 1]);
        for live in 1..200 {
            assert!(fair_share(live) * live >= usize::from(PARTITIONS));
        }
    }
}
