//! Measures how many records wait to be written in the owned partitions, and the age of the oldest one.

use std::sync::Arc;
use std::time::Duration;

use tidings_shared::log::{IngestId, keys::Partition};
use tokio_util::sync::CancellationToken;

use super::{Ingest, without_data};

const MEASURE_INTERVAL: Duration = Duration::from_secs(2);

/// Measures the backlog every 2 s and sets its metrics, until `done` is cancelled.
pub(super) async fn measure(ingest: Arc<Ingest>, done: CancellationToken) {
    while done.run_until_cancelled(tokio::time::sleep(MEASURE_INTERVAL)).await.is_some() {
        match read(&ingest).await {
            Ok((records, age)) => {
                ingest.metrics.backlog_records.set(records);
                ingest.metrics.oldest_unwritten_seconds.set(age.as_secs_f64());
            }
            Err(cause) => tracing::debug!(cause, "the backlog cannot be measured"),
        }
    }
}

async fn read(ingest: &Ingest) -> Result<(i64, Duration), String> {
    let positions: Vec<(Partition, IngestId)> = ingest.owned().committed_positions();
    let session = ingest.log.current_session().ok_or("no Redis session")?;
    let mut pipe = redis::pipe();
    for (partition, after) in &positions {
        let key = partition.ingest();
        pipe.cmd("XLEN").arg(key);
        pipe.cmd("XRANGE").arg(key).arg(format!("({after}")).arg("+").arg("COUNT").arg(1);
    }
    pipe.cmd("TIME");
    let answer: Result<Vec<redis::Value>, _> = pipe.query_async(&mut session.connection()).await;
    let mut values = answer.map_err(|error| without_data(&error))?;
    let now = values.pop().ok_or("no answer to TIME")?;
    let (seconds, micros): (u64, u64) =
        redis::from_redis_value(now).map_err(|_| "TIME has an unexpected form")?;
    let now_ms = seconds * 1000 + micros / 1000;
    let (mut records, mut oldest_ms) = (0, now_ms);
    for pair in values.chunks(2) {
        let pair = redis::Value::Array(pair.to_vec());
        let (length, first): (i64, Vec<(String, redis::Value)>) =
            redis::from_redis_value(pair).map_err(|_| "a stream has an unexpected form")?;
        if let Some(id) = first.first().and_then(|(id, _)| id.parse::<IngestId>().ok()) {
            records += length;
            oldest_ms = oldest_ms.min(id.ms);
        }
    }
    Ok((records, Duration::from_millis(now_ms - oldest_ms)))
}
