//! Measures the records that wait to be written in the owned partitions, for each shard: their number, their memory in
//! Redis, and the age of the oldest one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidings_shared::log::{FirstDenial, IngestId, Session, keys::Partition, shard_map::shard_label};
use tokio_util::sync::CancellationToken;

use super::{Ingest, redacted_cause};
use crate::metrics::Metrics;

const MEASURE_INTERVAL: Duration = Duration::from_secs(2);

/// The records of one shard that wait to be written.
#[derive(Debug, Clone, Copy, Default)]
struct ShardBacklog {
    records: i64,
    bytes: i64,
    /// The age of the oldest record.
    age: Duration,
}

impl ShardBacklog {
    fn add(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.age = self.age.max(other.age);
    }
}

/// The backlog of each shard, by the value of the metric label.
type Backlogs = BTreeMap<String, ShardBacklog>;

/// Measures the backlog every 2 s and sets its metrics, until `done` is cancelled.
pub(super) async fn measure_backlog(ingest: Arc<Ingest>, done: CancellationToken) {
    let (mut denied, mut reported) = (FirstDenial::default(), BTreeSet::new());
    while done.run_until_cancelled(tokio::time::sleep(MEASURE_INTERVAL)).await.is_some() {
        match read_backlog(&ingest, &mut denied).await {
            Ok(backlogs) => report(&ingest.metrics, backlogs, &mut reported),
            Err(cause) => tracing::debug!(cause, "the backlog cannot be measured"),
        }
    }
}

/// Sets the metrics. Removes the shards that were reported before and are not any more, because they were replaced or
/// cannot be reached.
fn report(metrics: &Metrics, backlogs: Backlogs, reported: &mut BTreeSet<String>) {
    for gone in reported.iter().filter(|shard| !backlogs.contains_key(*shard)) {
        // Removing fails only for a shard that was not reported.
        let _ = metrics.backlog_records.remove_label_values(&[gone]);
        let _ = metrics.backlog_bytes.remove_label_values(&[gone]);
        let _ = metrics.oldest_unwritten_seconds.remove_label_values(&[gone]);
    }
    for (shard, backlog) in &backlogs {
        metrics.backlog_records.with_label_values(&[shard]).set(backlog.records);
        metrics.backlog_bytes.with_label_values(&[shard]).set(backlog.bytes);
        metrics.oldest_unwritten_seconds.with_label_values(&[shard]).set(backlog.age.as_secs_f64());
    }
    *reported = backlogs.into_keys().collect();
}

/// Returns the backlog of the owned partitions of each shard. Leaves out a shard that does not answer. Fails if no shard
/// answers.
async fn read_backlog(ingest: &Ingest, denied: &mut FirstDenial) -> Result<Backlogs, String> {
    let positions: Vec<(Partition, IngestId)> = ingest.owned().committed_positions();
    let mut failure = (!positions.is_empty()).then(|| "no Redis session".to_owned());
    let mut backlogs = Backlogs::new();
    for (session, positions) in ingest.log.group_by_current_session(positions, |(partition, _)| *partition) {
        match read_backlog_in_session(&session, &positions, denied).await {
            // A shard has a session for each epoch of its partitions.
            Ok(read) => backlogs.entry(shard_label(Some(session.address()))).or_default().add(read),
            Err(cause) => failure = Some(cause),
        }
    }
    match failure {
        Some(cause) if backlogs.is_empty() => Err(cause),
        _ => Ok(backlogs),
    }
}

/// [`read_backlog`] for partitions of one session.
async fn read_backlog_in_session(
    session: &Session,
    positions: &[(Partition, IngestId)],
    denied: &mut FirstDenial,
) -> Result<ShardBacklog, String> {
    let (mut pipe, mut sizes) = (redis::pipe(), redis::pipe());
    for (partition, after) in positions {
        let key = partition.ingest();
        pipe.cmd("XLEN").arg(key);
        sizes.cmd("MEMORY").arg("USAGE").arg(key);
        pipe.cmd("XRANGE").arg(key).arg(format!("({after}")).arg("+").arg("COUNT").arg(1);
    }
    pipe.cmd("TIME");
    let answer: Result<Vec<redis::Value>, _> = pipe.query_async(&mut session.connection()).await;
    let mut values = answer.map_err(|error| redacted_cause(&error))?;
    // MEMORY USAGE may fail, because Redis ACLs made for an earlier version do not allow it. The other values are still
    // measured.
    let sizes: Result<Vec<Option<i64>>, _> = sizes.query_async(&mut session.connection()).await;
    let sizes = sizes
        .inspect_err(|error| {
            if denied.record(error) {
                tracing::warn!(
                    "the Redis user lacks +memory|usage: the bytes of the backlog are unknown; see \
                     deploy/redis/users.acl"
                );
            }
            tracing::debug!(cause = redacted_cause(error), "the bytes of the backlog are unknown")
        })
        .unwrap_or_default();
    let now = values.pop().ok_or("no answer to TIME")?;
    let (seconds, micros): (u64, u64) =
        redis::from_redis_value(now).map_err(|_| "TIME has an unexpected form")?;
    let now_ms = seconds * 1000 + micros / 1000;
    let (mut records, mut bytes, mut oldest_ms) = (0, 0, now_ms);
    for (index, answers) in values.chunks(2).enumerate() {
        let answers = redis::Value::Array(answers.to_vec());
        let (length, first): (i64, Vec<(String, redis::Value)>) =
            redis::from_redis_value(answers).map_err(|_| "a stream has an unexpected form")?;
        if let Some(id) = first.first().and_then(|(id, _)| id.parse::<IngestId>().ok()) {
            records += length;
            bytes += sizes.get(index).copied().flatten().unwrap_or(0);
            oldest_ms = oldest_ms.min(id.ms);
        }
    }
    Ok(ShardBacklog { records, bytes, age: Duration::from_millis(now_ms - oldest_ms) })
}
