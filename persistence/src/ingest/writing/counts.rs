//! Counts written batches in the metrics.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{metrics::Metrics, writer::outcome::WrittenBatch};

/// Counts a batch that was written, with this number of records.
pub(super) fn count_batch(metrics: &Metrics, records: usize, written: &WrittenBatch) {
    metrics.batch_records.observe(records as f64);
    metrics.messages.inc_by(written.messages as u64);
    metrics.events.inc_by(written.events as u64);
    metrics.voids.inc_by(written.voids as u64);
    metrics.dead_letters.inc_by(written.dead_letters as u64);
    metrics.left_out.inc_by(written.left_out as u64);
    // The metric includes the difference between the clocks of Redis and of this machine.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    for at_ms in &written.appended_at_ms {
        let at = Duration::from_millis(u64::try_from(*at_ms).unwrap_or_default());
        metrics.stored_seconds.observe(now.saturating_sub(at).as_secs_f64());
    }
}
