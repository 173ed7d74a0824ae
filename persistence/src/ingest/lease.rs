//! Keeps this replica's share of the partitions: renews leases, takes free partitions, releases partitions above the
//! share and notifies other replicas. A batch that is being written learns of a lost lease only when its transaction
//! checks the row of the partition.

use std::sync::Arc;
use std::time::Instant;

use sea_orm::DbErr;
use tidings_shared::log::keys::{self, PARTITIONS};
use tokio_util::sync::CancellationToken;

use super::{Ingest, without_data};
use crate::writer::{failure, leases, limit::within};

/// Number of renewals in the time of a lease, so that two renewals may fail before the lease expires.
const RENEWALS_PER_LEASE: u32 = 3;

/// The most partitions that each of `live` replicas may own.
#[must_use]
fn fair_share(live: usize) -> usize {
    usize::from(PARTITIONS).div_ceil(live.max(1))
}

/// Renews and balances the leases at intervals and on notice, until `done` is cancelled. The caller then releases them.
pub(super) async fn keep(ingest: Arc<Ingest>, done: CancellationToken) {
    let mut tick = tokio::time::interval(ingest.lease / RENEWALS_PER_LEASE);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = done.cancelled() => return,
            _ = tick.tick() => {}
            () = ingest.wake_lease.notified() => {}
        }
        // If the answer to `acquire` is lost, the next renewal returns the acquired leases.
        if let Err(error) = within(ingest.lease, renew_and_balance(&ingest)).await {
            tracing::warn!(cause = failure::without_data(&error), "leases could not be renewed");
        }
        ingest.metrics.leases.set(i64::try_from(ingest.owned().count()).unwrap_or(i64::MAX));
    }
}

async fn renew_and_balance(ingest: &Ingest) -> Result<(), DbErr> {
    let live = leases::register(&ingest.db, &ingest.replica, ingest.lease).await?;
    let renewed = leases::renew(&ingest.db, &ingest.replica, ingest.lease).await?;
    let share = fair_share(live);
    // Removes lost partitions and finds the surplus under one lock, so that lost ones do not count as surplus.
    let (lost, surplus, held) = {
        let mut owned = ingest.owned();
        let lost = owned.apply_renewal(&renewed, Instant::now());
        (lost, owned.release_above(share), owned.count())
    };
    count(ingest, "lost", lost);
    if !surplus.is_empty() {
        leases::release(&ingest.db, &ingest.replica, &surplus).await?;
        count(ingest, "released", surplus.len());
        publish_free(ingest).await;
    } else if held < share {
        let taken = leases::acquire(&ingest.db, &ingest.replica, ingest.lease, share - held).await?;
        taken.iter().for_each(|lease| ingest.owned().add(*lease, Instant::now()));
        count(ingest, "taken", taken.len());
        if !taken.is_empty() {
            ingest.changed_rooms.request_scan();
        }
    }
    ingest.wake_settler.notify_one();
    Ok(())
}

/// Notifies all replicas that partitions are free. A replica that misses the notice finds them at its next renewal.
pub(super) async fn publish_free(ingest: &Ingest) {
    let Some(session) = ingest.log.current_session() else { return };
    let mut connection = session.connection();
    let published =
        redis::cmd("PUBLISH").arg(keys::LEASES_CHANNEL).arg("").query_async::<i64>(&mut connection).await;
    if let Err(error) = published {
        ingest.log.discard_if_unusable(&session, &error);
        tracing::debug!(cause = without_data(&error), "the notice of free partitions cannot be sent");
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
    fn shares_of_all_replicas_cover_all_partitions() {
        assert_eq!([0, 1, 2, 3, 5, 64, 100].map(fair_share), [64, 64, 32, 22, 13, 1, 1]);
        for live in 1..200 {
            assert!(fair_share(live) * live >= usize::from(PARTITIONS));
        }
    }
}
