//! Measures the records that wait to be written in the owned partitions: their number, their memory in Redis, and the
//! age of the oldest one.

use std::sync::Arc;
use std::time::Duration;

use tidings_shared::log::{FirstDenial, IngestId, Session, keys::Partition};
use tokio_util::sync::CancellationToken;

use super::{Ingest, redacted_cause};

const MEASURE_INTERVAL: Duration = Duration::from_secs(2);

/// Measures the backlog every 2 s and sets its metrics, until `done` is cancelled.
pub(super) async fn measure_backlog(ingest: Arc<Ingest>, done: CancellationToken) {
    let mut denied = FirstDenial::default();
    while done.run_until_cancelled(tokio::time::sleep(MEASURE_INTERVAL)).await.is_some() {
        match read_backlog(&ingest, &mut denied).await {
            Ok((records, bytes, age)) => {
                ingest.metrics.backlog_records.set(records);
                ingest.metrics.backlog_bytes.set(bytes);
                ingest.metrics.oldest_unwritten_seconds.set(age.as_secs_f64());
            }
            Err(cause) => tracing::debug!(cause, "the backlog cannot be measured"),
        }
    }
}

/// Returns the number of records, their bytes and the age of the oldest one, of all owned partitions together. Leaves
/// out the partitions of a shard that does not answer. Fails if no shard answers.
async fn read_backlog(ingest: &Ingest, denied: &mut FirstDenial) -> Result<(i64, i64, Duration), String> {
    let positions: Vec<(Partition, IngestId)> = ingest.owned().committed_positions();
    let mut failure = (!positions.is_empty()).then(|| "no Redis session".to_owned());
    let (mut records, mut bytes, mut age, mut answered) = (0, 0, Duration::ZERO, false);
    for (session, positions) in ingest.log.group_by_current_session(positions, |(partition, _)| *partition) {
        match read_backlog_in_session(&session, &positions, denied).await {
            Ok(read) => {
                (records, bytes, age) = (records + read.0, bytes + read.1, age.max(read.2));
                answered = true;
            }
            Err(cause) => failure = Some(cause),
        }
    }
    match failure {
        Some(cause) if !answered => Err(cause),
        _ => Ok((records, bytes, age)),
    }
}

/// [`read_backlog`] for partitions of one session.
async fn read_backlog_in_session(
    session: &Session,
    positions: &[(Partition, IngestId)],
    denied: &mut FirstDenial,
) -> Result<(i64, i64, Duration), String> {
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
    Ok((records, bytes, Duration::from_millis(now_ms - oldest_ms)))
}
