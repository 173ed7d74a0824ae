//! Reads the receipts of Expo. A receipt tells whether FCM or APNs has accepted a message that Expo took before.
//! Removes the devices that are no longer registered.

use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr};
use tidings_persistence::database::{STEP_TIMEOUT, within};
use tidings_persistence::writer::failure::redacted_cause;
use tokio_util::sync::CancellationToken;

use crate::app_push::expo::{Expo, MAX_RECEIPTS};
use crate::metrics::Metrics;
use crate::outcome::{AttemptError, Outcome};
use crate::schedule;
use crate::store::tickets::{self, CHECK_INTERVAL};

/// The pause between two searches for tickets that are due.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Reads receipts.
pub struct ReceiptReader {
    pub db: DatabaseConnection,
    pub expo: Expo,
    pub metrics: Metrics,
}

impl ReceiptReader {
    /// Asks for receipts until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let mut failures = 0;
        while !stop.is_cancelled() {
            let pause = match self.read_due().await {
                Ok(Ok(is_full)) => {
                    failures = 0;
                    if is_full { Duration::ZERO } else { POLL_INTERVAL }
                }
                Ok(Err(error)) => {
                    tracing::warn!(?error, "receipts of Expo cannot be read");
                    let retry_after = error.retry_after();
                    failures += 1;
                    self.metrics.outcomes.with_label_values(&[Outcome::Failed(error).label()]).inc();
                    // A longer pause would lose receipts.
                    schedule::pause(failures - 1, retry_after, fastrand::f64()).min(CHECK_INTERVAL)
                }
                Err(error) => {
                    self.metrics.failures.inc();
                    tracing::warn!(
                        cause = redacted_cause(&error),
                        "tickets of Expo cannot be read or deleted"
                    );
                    POLL_INTERVAL
                }
            };
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    /// Reads the receipts that are due. Returns whether more may be due, or why Expo gave none.
    async fn read_due(&self) -> Result<Result<bool, AttemptError>, DbErr> {
        let ids = within(STEP_TIMEOUT, tickets::claim(&self.db, MAX_RECEIPTS)).await?;
        if ids.is_empty() {
            return Ok(Ok(false));
        }
        let receipts = match self.expo.receipts(&ids).await {
            Ok(receipts) => receipts,
            Err(error) => return Ok(Err(error)),
        };
        let is_gone = |receipt: &Result<(), AttemptError>| *receipt == Err(AttemptError::Gone);
        let gone = receipts.iter().filter(|(_, receipt)| is_gone(receipt)).map(|(id, _)| id.clone());
        within(STEP_TIMEOUT, tickets::delete_devices(&self.db, gone.collect())).await?;
        let read = receipts.iter().map(|(id, _)| id.clone());
        within(STEP_TIMEOUT, tickets::delete(&self.db, read.collect())).await?;
        // Counts at the end, because receipts that could not be recorded are read again.
        for error in receipts.into_iter().filter_map(|(_, receipt)| receipt.err()) {
            self.metrics.outcomes.with_label_values(&[Outcome::Failed(error).label()]).inc();
        }
        Ok(Ok(i64::try_from(ids.len()) == Ok(MAX_RECEIPTS)))
    }
}
