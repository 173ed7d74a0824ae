//! Reads the gauges of the files from PostgreSQL at intervals. Each replica reports the same numbers, so alerts take the
//! maximum.

use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr};
use tidings_persistence::database::{STEP_TIMEOUT, within};
use tokio_util::sync::CancellationToken;

use crate::file::FileState;
use crate::metrics::Metrics;
use crate::store::totals;

/// Long, because the statement reads an entry of an index for each file.
const INTERVAL: Duration = Duration::from_secs(30);

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
    let totals = totals::by_state(db).await?;
    for state in FileState::ALL {
        let total = totals.iter().find(|total| total.state == state);
        metrics.files.with_label_values(&[state.name()]).set(total.map_or(0, |total| total.files));
        metrics.bytes.with_label_values(&[state.name()]).set(total.map_or(0, |total| total.bytes));
    }
    Ok(())
}
