//! Reads the gauges from PostgreSQL at intervals. Each replica reports the same numbers, so alerts take the maximum.

use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr};
use tidings_persistence::database::{STEP_TIMEOUT, within};
use tidings_persistence::query::feed::{FeedCursor, FeedFilter, page};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::store::{cursor, devices, pending};

const INTERVAL: Duration = Duration::from_secs(10);

/// Updates the gauges until `stop` is cancelled.
pub async fn run(db: DatabaseConnection, metrics: Metrics, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if within(STEP_TIMEOUT, observe(&db, &metrics)).await.is_err() {
            metrics.failures.inc();
        }
        stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await;
    }
}

async fn observe(db: &DatabaseConnection, metrics: &Metrics) -> Result<(), DbErr> {
    metrics.devices.set(devices::count(db).await?);
    let totals = pending::totals(db).await?;
    metrics.pending.set(totals.waiting);
    metrics.overdue_seconds.set(totals.overdue_s);
    if let Some(position) = cursor::get(db).await?.as_deref().and_then(FeedCursor::parse) {
        // Reads an empty page: only the lag is needed.
        let found = page(db, position, &FeedFilter::default(), 0).await?;
        #[allow(clippy::cast_precision_loss, reason = "a metric")]
        metrics.lag_seconds.set(found.lag_ms as f64 / 1000.0);
    }
    Ok(())
}
