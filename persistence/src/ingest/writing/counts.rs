//! Counts written batches in the metrics.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tidings_shared::log::shard_map::{NodeAddress, ShardMap, shard_label};

use super::batch_parts::Batch;
use crate::{metrics::Metrics, writer::outcome::WrittenBatch};

/// Counts the records of a written batch by shard.
pub(super) fn count_by_shard(metrics: &Metrics, map: &ShardMap, batch: &Batch) {
    let mut records: BTreeMap<Option<&NodeAddress>, u64> = BTreeMap::new();
    for (partition, part) in &batch.0 {
        *records.entry(map.master(*partition)).or_default() += part.entries.len() as u64;
    }
    for (master, records) in records {
        metrics.records.with_label_values(&[&shard_label(master)]).inc_by(records);
    }
}

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
        metrics.stored_seconds.observe(now.saturating_sub(Duration::from_millis(*at_ms)).as_secs_f64());
    }
}
