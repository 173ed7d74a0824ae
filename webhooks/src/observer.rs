//! Reads the gauges of the webhooks from PostgreSQL at intervals: what waits, what is dead, and how far the cursors are
//! behind the feed. Each replica reports the same numbers, so alerts take the maximum.

use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr};
use tidings_persistence::database::{STEP_TIMEOUT, within};
use tidings_persistence::query::feed::{FeedCursor, FeedFilter, page};
use tokio_util::sync::CancellationToken;

use crate::endpoint::reason::{ADMIN, DEAD_LETTERS, GONE};
use crate::metrics::{ENABLED, Metrics};
use crate::store::{endpoints, totals};

const INTERVAL: Duration = Duration::from_secs(5);

/// Updates the gauges until `stop` is cancelled.
pub async fn run(db: DatabaseConnection, metrics: Metrics, stop: CancellationToken) {
    let observing = async {
        loop {
            if within(STEP_TIMEOUT, observe(&db, &metrics)).await.is_err() {
                metrics.failures.inc();
            }
            tokio::time::sleep(INTERVAL).await;
        }
    };
    stop.run_until_cancelled(observing).await;
}

async fn observe(db: &DatabaseConnection, metrics: &Metrics) -> Result<(), DbErr> {
    let (all, totals) = (endpoints::list(db).await?, totals::of_all(db).await?);
    let (mut pending, mut dead, mut oldest, mut lag) = (0, 0, 0.0_f64, 0.0_f64);
    for state in [ENABLED, ADMIN, GONE, DEAD_LETTERS] {
        let is_in = |of: &Option<String>| of.as_deref().unwrap_or(ENABLED) == state;
        let count = all.iter().filter(|endpoint| is_in(&endpoint.disabled_because)).count();
        metrics.endpoints.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    for endpoint in &all {
        let of_endpoint = totals.get(&endpoint.id).copied().unwrap_or_default();
        pending += of_endpoint.pending;
        dead += of_endpoint.dead;
        if endpoint.disabled_because.is_none() {
            oldest = oldest.max(of_endpoint.oldest_pending_s);
            if let Some(cursor) = FeedCursor::parse(&endpoint.cursor) {
                lag = lag.max(lag_s(db, cursor).await?);
            }
        }
    }
    metrics.pending.set(pending);
    metrics.dead.set(dead);
    metrics.oldest_pending_seconds.set(oldest);
    metrics.lag_seconds.set(lag);
    Ok(())
}

/// Seconds since the next event after a cursor was stored; 0 if there is no next event. The page is empty, because only
/// the time is needed.
async fn lag_s(db: &DatabaseConnection, cursor: FeedCursor) -> Result<f64, DbErr> {
    let found = page(db, cursor, &FeedFilter::default(), 0).await?;
    #[allow(clippy::cast_precision_loss, reason = "a metric")]
    Ok(found.lag_ms as f64 / 1000.0)
}
