//! Counts the failures of this process that an outage of PostgreSQL causes, by cause. An outage makes every request
//! and every task fail, so the failures are counted here, and `database::outage` logs the outage once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sea_orm::DbErr;
use tokio::sync::Notify;

use super::{OutageCause, redacted_cause};

const CAUSES: usize = OutageCause::ALL.len();

static FAILURES: [AtomicU64; CAUSES] = [const { AtomicU64::new(0) }; CAUSES];
static REPORTED: Notify = Notify::const_new();
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Counts an error that an outage causes, and returns true. The caller logs other errors itself. Without a watcher, as
/// in a job, nothing is counted, and the caller logs every error.
pub fn report_outage(error: &DbErr) -> bool {
    let Some(cause) = OutageCause::of(error).filter(|_| WATCHED.load(Ordering::Relaxed)) else {
        return false;
    };
    FAILURES[cause as usize].fetch_add(1, Ordering::Relaxed);
    REPORTED.notify_one();
    true
}

/// Logs that something failed in the database, unless an outage caused the error.
pub fn log_failure(error: &DbErr, what: &'static str) {
    let cause = redacted_cause(error);
    if report_outage(error) {
        tracing::debug!(cause, "{what}");
    } else {
        tracing::warn!(cause, "{what}");
    }
}

/// The reports of failures. There may be one watcher in a process.
pub struct OutageReports(());

impl OutageReports {
    /// Starts counting failures.
    #[must_use]
    pub fn watch() -> Self {
        WATCHED.store(true, Ordering::Relaxed);
        Self(())
    }

    /// Waits for a failure that was not awaited yet. It may have been taken already.
    pub async fn wait(&mut self) {
        REPORTED.notified().await;
    }

    /// Takes the numbers of failures since the last call, by cause, in the order of [`OutageCause::ALL`]. Leaves out
    /// causes without failures.
    pub fn take(&mut self) -> Vec<(OutageCause, u64)> {
        let take = |cause: OutageCause| (cause, FAILURES[cause as usize].swap(0, Ordering::Relaxed));
        OutageCause::ALL.map(take).into_iter().filter(|(_, failures)| *failures > 0).collect()
    }
}

impl Drop for OutageReports {
    fn drop(&mut self) {
        WATCHED.store(false, Ordering::Relaxed);
    }
}
