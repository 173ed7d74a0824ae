//! Takes back notifications that were read elsewhere, from the apps that may still show them.

use std::time::Duration;

use sea_orm::DatabaseConnection;
use tidings_persistence::database::{STEP_TIMEOUT, within};
use tidings_persistence::writer::failure::redacted_cause;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::store::told;

/// The pause between two searches for notifications that are due for a check.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Largest number of notifications that one statement checks.
const MAX_BATCH: i64 = 500;

/// Checks remembered notifications until `stop` is cancelled.
pub async fn run(db: DatabaseConnection, metrics: Metrics, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let looked_at = within(STEP_TIMEOUT, told::take_back(&db, MAX_BATCH)).await;
        if let Err(error) = &looked_at {
            metrics.failures.inc();
            tracing::warn!(cause = redacted_cause(error), "notifications cannot be checked for read marks");
        }
        if !matches!(looked_at, Ok(MAX_BATCH)) {
            stop.run_until_cancelled(tokio::time::sleep(POLL_INTERVAL)).await;
        }
    }
}
