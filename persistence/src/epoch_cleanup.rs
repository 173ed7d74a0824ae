//! Runs about once a day on one replica: merges old epochs of all rooms, and deletes batch numbers of replicas that
//! have no row any more, and old entries of the audit log.

use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::writer::limit::{ANSWER_DEADLINE, within};
use crate::writer::{audit, batch, epoch_merge, failure, leases};

/// Interval at which a replica checks whether a cleanup is due, and whether it is the elected replica.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
const CLEANUP_INTERVAL: Duration = Duration::from_secs(24 * 3600);
const PAGE_PAUSE: Duration = Duration::from_millis(50);

/// Cleans up about once a day, on the elected replica, until `stop` is cancelled. A cleanup that failed or was
/// interrupted is repeated. `replica` is the name of this replica. Entries of the audit log are kept for `audit_days`.
pub async fn run(db: DatabaseConnection, replica: String, audit_days: u16, stop: CancellationToken) {
    let mut due = Instant::now();
    while stop.run_until_cancelled(tokio::time::sleep(CHECK_INTERVAL)).await.is_some() {
        if Instant::now() < due {
            continue;
        }
        match stop.run_until_cancelled(clean_up(&db, &replica, audit_days)).await {
            Some(Ok(true)) => due = Instant::now() + CLEANUP_INTERVAL,
            Some(Ok(false)) | None => {}
            Some(Err(error)) => {
                tracing::debug!(cause = failure::redacted_cause(&error), "merging old epochs failed");
            }
        }
    }
}

/// Deletes the batch numbers of replicas that have no row, and old entries of the audit log. Then merges the old epochs
/// of all rooms. Returns false if another replica is elected for this.
async fn clean_up(db: &DatabaseConnection, replica: &str, audit_days: u16) -> Result<bool, DbErr> {
    if !within(ANSWER_DEADLINE, leases::is_elected(db, replica)).await? {
        return Ok(false);
    }
    // If a deletion fails, the epochs are merged all the same.
    let deleted = within(ANSWER_DEADLINE, batch::delete_numbers_without_replica(db)).await;
    let audit_deleted = delete_old_audit_entries(db, audit_days).await;
    if let Some(upto) = within(ANSWER_DEADLINE, epoch_merge::newest_mergeable(db)).await? {
        let mut after = String::new();
        while let Some(last) = within(ANSWER_DEADLINE, epoch_merge::merge_page(db, upto, &after)).await? {
            after = last;
            tokio::time::sleep(PAGE_PAUSE).await;
        }
    }
    deleted.and(audit_deleted).map(|()| true)
}

async fn delete_old_audit_entries(db: &DatabaseConnection, days: u16) -> Result<(), DbErr> {
    while within(ANSWER_DEADLINE, audit::delete_old(db, days)).await? == audit::MAX_DELETED {
        tokio::time::sleep(PAGE_PAUSE).await;
    }
    Ok(())
}
