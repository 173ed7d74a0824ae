//! The metrics of the Redis shards. They are set when the metrics are read, so they cost nothing in between.

use tidings_shared::log::{
    Log,
    keys::Partition,
    shard_map::{ShardMap, shard_label},
};

use super::{Metrics, raise_to_total};

const OPEN_STATE: &str = "open";
const MISSING_STATE: &str = "missing";

/// Sets the metrics of the shards. Must not be called from two threads at once: see [`Metrics::export`].
pub fn report_shards(log: &Log, metrics: &Metrics) {
    // Former masters must not stay in the metric.
    metrics.shard_partitions.reset();
    if let Some(map) = log.map_watch().current() {
        report_partitions(log, &map, metrics);
    }
    for (shard, count) in log.noreplicas_counts() {
        raise_to_total(&metrics.noreplicas.with_label_values(&[&shard_label(Some(&shard))]), count);
    }
}

fn report_partitions(log: &Log, map: &ShardMap, metrics: &Metrics) {
    for address in map.addresses() {
        let shard = shard_label(Some(&address));
        for state in [OPEN_STATE, MISSING_STATE] {
            metrics.shard_partitions.with_label_values(&[shard.as_str(), state]).set(0);
        }
        // The counter must exist before its first event, because a rate needs an earlier value.
        metrics.noreplicas.with_label_values(&[shard.as_str()]);
    }
    for partition in Partition::all() {
        let shard = shard_label(map.master(partition));
        let state = if log.current_session(partition).is_some() { OPEN_STATE } else { MISSING_STATE };
        metrics.shard_partitions.with_label_values(&[shard.as_str(), state]).inc();
    }
}
