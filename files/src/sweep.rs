//! Removes unreferenced files at intervals: uploads that were not completed, complete files that no stored message
//! names, and files whose messages are deleted, erased or removed by retention. First a row is marked, then the content
//! is removed, and then the row, so that a replica that is killed in between leaves nothing behind. The content is removed
//! twice, because a replica that was storing a preview at the first time may have been killed before it looked at the row.

use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr};
use tidings_persistence::database::{STEP_TIMEOUT, within};
use tidings_persistence::sql::IdColumn;
use tidings_persistence::writer::failure::redacted_cause;
use tidings_shared::ids::FileId;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::storage::Storage;
use crate::store::sweep::{self, BATCH_ROWS, RemovedFile, SEARCH_ROWS, SweepReason, SweepTimes};

/// Pause before the sweep retries to remove a content file, in seconds.
const RETRY_PAUSE_S: i64 = 300;
/// Pause before a file is looked at again whose search failed, in seconds.
const SEARCH_PAUSE_S: i64 = 3600;
/// Rounds of the sweep between the two removals of a file's content. This time must be longer than the processing of an
/// image.
const REPEAT_ROUNDS: i64 = 10;

/// The sweep of one replica.
pub struct Sweep {
    pub db: DatabaseConnection,
    pub storage: Storage,
    pub metrics: Metrics,
    pub times: SweepTimes,
    /// Pause between two rounds.
    pub pause: Duration,
}

impl Sweep {
    /// Runs until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let sweeping = async {
            loop {
                // Each part runs also if another one fails.
                self.report(self.remove_marked().await, "files could not be removed");
                self.report(self.mark_abandoned().await, "uploads could not be looked at");
                self.report(self.check_complete().await, "files could not be looked at");
                tokio::time::sleep(self.pause).await;
            }
        };
        stop.run_until_cancelled(sweeping).await;
    }

    fn report(&self, result: Result<(), DbErr>, problem: &str) {
        if let Err(error) = result {
            self.metrics.failures.inc();
            tracing::warn!(cause = redacted_cause(&error), "{problem}; trying again");
        }
    }

    async fn mark_abandoned(&self) -> Result<(), DbErr> {
        loop {
            let marked = within(STEP_TIMEOUT, sweep::mark_abandoned(&self.db)).await?;
            self.count(SweepReason::Abandoned, marked);
            if is_below(marked, BATCH_ROWS) {
                return Ok(());
            }
        }
    }

    /// Looks for the messages of complete files. If a search takes too long, such as for an uploader with very many
    /// messages, the others go on without it.
    async fn check_complete(&self) -> Result<(), DbErr> {
        loop {
            let (checked, limit) =
                match within(STEP_TIMEOUT, sweep::check_complete(&self.db, self.times, SEARCH_ROWS)).await {
                    Ok(checked) => (checked, SEARCH_ROWS),
                    Err(error) => {
                        self.report(Err(error), "the search for messages of files failed");
                        match within(STEP_TIMEOUT, sweep::check_complete(&self.db, self.times, 1)).await {
                            Ok(checked) => (checked, 1),
                            Err(error) => {
                                within(STEP_TIMEOUT, sweep::postpone_search(&self.db, SEARCH_PAUSE_S))
                                    .await?;
                                return Err(error);
                            }
                        }
                    }
                };
            checked.marked.iter().for_each(|reason| self.count(*reason, 1));
            let found = checked.rows;
            // The content of a rejected file is removed when it is rejected. This finds what a crash has left.
            self.remove_content(checked.rejected).await;
            if is_below(found, limit) {
                return Ok(());
            }
        }
    }

    async fn remove_marked(&self) -> Result<(), DbErr> {
        loop {
            let marked = within(STEP_TIMEOUT, sweep::marked(&self.db)).await?;
            let found = marked.len();
            let failed = self.remove_content(marked.clone()).await;
            let removed = marked.into_iter().filter(|file| !failed.contains(&file.id.0));
            let (again, first): (Vec<_>, Vec<_>) = removed.partition(|file| file.is_emptied);
            let ids = |files: Vec<RemovedFile>| files.into_iter().map(|file| file.id.0).collect::<Vec<_>>();
            let pause_s =
                i64::try_from(self.pause.as_secs()).unwrap_or(i64::MAX).saturating_mul(REPEAT_ROUNDS);
            within(STEP_TIMEOUT, sweep::record_emptied(&self.db, &ids(first), pause_s)).await?;
            within(STEP_TIMEOUT, sweep::forget(&self.db, &ids(again))).await?;
            within(STEP_TIMEOUT, sweep::postpone(&self.db, &failed, RETRY_PAUSE_S)).await?;
            if is_below(found, BATCH_ROWS) {
                return Ok(());
            }
        }
    }

    /// Removes content files, and returns the files whose content could not be removed.
    async fn remove_content(&self, files: Vec<RemovedFile>) -> Vec<FileId> {
        if files.is_empty() {
            return Vec::new();
        }
        // A folder that is not mounted, and another bucket, have no contents. That proves nothing.
        if !self.storage.is_marked().await.unwrap_or(false) {
            self.metrics.storage_failures.inc();
            tracing::error!("the storage of the files cannot be reached, or has no marker");
            return files.into_iter().map(|file| file.id.0).collect();
        }
        let mut kept = Vec::new();
        for RemovedFile { id: IdColumn(id), upload_id, .. } in files {
            if let Err(error) = self.storage.remove_with_upload(&id, upload_id.as_deref()).await {
                self.metrics.storage_failures.inc();
                tracing::error!(file = %id, %error, "the content of a file cannot be removed");
                kept.push(id);
            }
        }
        kept
    }

    fn count(&self, reason: SweepReason, files: usize) {
        self.metrics.swept.with_label_values(&[reason.name()]).inc_by(files as u64);
    }
}

/// Whether a statement found fewer rows than it may, so that there are no more.
fn is_below(rows: usize, limit: i64) -> bool {
    i64::try_from(rows).is_ok_and(|rows| rows < limit)
}

impl SweepReason {
    pub const ALL: [Self; 3] = [Self::Abandoned, Self::Unused, Self::Deleted];

    /// The label of the metric.
    pub fn name(self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::Unused => "unused",
            Self::Deleted => "deleted",
        }
    }
}
