//! Keeps this replica's share of the partitions: renews leases, takes free partitions, releases partitions above the
//! share and notifies other replicas. The writer of a batch detects a lost lease only when its transaction
//! checks the row of the partition.

use std::sync::Arc;
use std::time::Instant;

use sea_orm::DbErr;
use tidings_shared::log::keys::{self, COMMON_PARTITION, PARTITIONS};
use tokio_util::sync::CancellationToken;

use super::{Ingest, redacted_cause};
use crate::writer::{batch, failure, leases, limit::within};

/// Number of renewals during one lease. With three, two may fail before the lease expires.
const RENEWALS_PER_LEASE: u32 = 3;

/// The maximum number of partitions of one replica, if this many live replicas share all partitions.
#[must_use]
fn fair_share(live_replicas: usize) -> usize {
    usize::from(PARTITIONS).div_ceil(live_replicas.max(1))
}

/// Renews and balances the leases at intervals and on notice, until `done` is cancelled. The caller then releases the
/// leases.
pub(super) async fn keep_leases(ingest: Arc<Ingest>, done: CancellationToken) {
    let mut tick = tokio::time::interval(ingest.lease / RENEWALS_PER_LEASE);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut deleted = 0;
    loop {
        tokio::select! {
            () = done.cancelled() => return,
            _ = tick.tick() => {}
            () = ingest.wake_lease.notified() => {}
        }
        // If the answer to `acquire_leases` is lost, the next renewal returns the acquired leases.
        if let Err(error) = within(ingest.lease, renew_and_balance(&ingest)).await {
            failure::log_failure(&error, "leases could not be renewed");
        }
        match within(tick.period() / 2, batch::delete_old_numbers(&ingest.db, &ingest.replica, deleted)).await
        {
            Ok(last) => deleted = last,
            Err(error) => failure::log_failure(&error, "numbers of batches not deleted"),
        }
        ingest.metrics.leases.set(i64::try_from(ingest.owned().count()).unwrap_or(i64::MAX));
    }
}

async fn renew_and_balance(ingest: &Ingest) -> Result<(), DbErr> {
    let live_replicas = leases::register_replica(&ingest.db, &ingest.replica, ingest.lease).await?;
    let renewed = leases::owned_leases(&ingest.db, &ingest.replica).await?;
    let share = fair_share(live_replicas);
    // Removes lost partitions before it looks for a surplus, because lost partitions must not count as surplus.
    let (lost, surplus, held) = {
        let mut owned = ingest.owned();
        let lost = owned.apply_renewal(&renewed, Instant::now());
        (lost, owned.remove_surplus(share), owned.count())
    };
    count_lease_changes(ingest, "lost", lost);
    if !surplus.is_empty() {
        let released = leases::release_leases(&ingest.db, &ingest.replica, &surplus).await?;
        count_lease_changes(ingest, "released", released);
        // Sends no notice if nothing was released, because each notice makes every replica renew its leases.
        if released > 0 {
            publish_free_partitions(ingest).await;
        }
    } else if held < share {
        let taken = leases::acquire_leases(&ingest.db, &ingest.replica, ingest.lease, share - held).await?;
        taken.iter().for_each(|lease| ingest.owned().add(*lease, Instant::now()));
        count_lease_changes(ingest, "taken", taken.len());
        if !taken.is_empty() {
            ingest.changed_rooms.request_scan();
        }
    }
    ingest.wake_settler.notify_one();
    Ok(())
}

/// Notifies all replicas that partitions are free. A replica that misses the notice finds the partitions at its next
/// renewal.
pub(super) async fn publish_free_partitions(ingest: &Ingest) {
    let Some(session) = ingest.log.current_session(COMMON_PARTITION) else { return };
    let mut connection = session.connection();
    let layout = session.layout();
    let mut publish = redis::cmd(layout.publish_command());
    publish.arg(keys::leases_channel(layout)).arg("");
    let published = publish.query_async::<i64>(&mut connection).await;
    if let Err(error) = published {
        ingest.log.discard_if_unusable(&session, &error);
        tracing::debug!(cause = redacted_cause(&error), "the notice of free partitions cannot be sent");
    }
}

fn count_lease_changes(ingest: &Ingest, change: &str, partitions: usize) {
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
        for live_replicas in 1..200 {
            assert!(fair_share(live_replicas) * live_replicas >= usize::from(PARTITIONS));
        }
    }
}
