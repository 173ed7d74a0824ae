//! Decides the position from which an owned partition is read: the watermark that Redis holds for the session's epoch,
//! or the start of the stream if there is none. Reading records again is harmless: it changes nothing in PostgreSQL,
//! and reports the same voids again.

use std::time::{Duration, Instant};

use tidings_shared::{
    ids::Epoch,
    log::{IngestId, Session, keys::Partition, stored::read_watermark},
};

use super::{Ingest, without_data};
use crate::batch::Lease;
use crate::writer::{Settling, failure, limit};

/// Pause before partitions that could not be settled are due again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Settles the partitions that are due. Those that cannot be settled are due again after `RETRY_PAUSE`.
pub(super) async fn settle(ingest: &Ingest) {
    let due = ingest.owned().due_for_settling(Instant::now());
    if due.is_empty() {
        return;
    }
    let settled = tokio::time::timeout(limit::ANSWER_DEADLINE, try_settle(ingest, &due)).await;
    if let Err(cause) = settled.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
        tracing::warn!(cause, partitions = due.len(), "partitions cannot be settled yet");
        let (now, mut owned) = (Instant::now(), ingest.owned());
        due.iter().for_each(|lease| owned.unsettle(lease.partition, now, RETRY_PAUSE));
    }
}

async fn try_settle(ingest: &Ingest, due: &[Lease]) -> Result<(), String> {
    let session = ingest.log.session().await.map_err(|error| error.to_string())?;
    let database_error = |error| failure::without_data(&error);
    let settling = Settling::lock(&ingest.db, due).await.map_err(database_error)?;
    {
        let mut owned = ingest.owned();
        for lease in due.iter().filter(|lease| settling.rows.iter().all(|(ours, _)| ours != *lease)) {
            tracing::info!(partition = lease.partition.0, "lease lost");
            owned.remove(lease.partition);
        }
    }
    if settling.rows.iter().any(|(_, epoch)| *epoch > session.epoch) {
        // Other replicas use a Redis process with a later epoch, so this session has ended.
        ingest.log.discard(&session);
        return Err("the session's epoch has ended".to_owned());
    }
    let partitions: Vec<Partition> = settling.rows.iter().map(|(lease, _)| lease.partition).collect();
    let marks = watermarks(ingest, &session, &partitions).await?;
    let leases: Vec<Lease> = settling.rows.iter().map(|(lease, _)| *lease).collect();
    let positions: Vec<(Partition, IngestId)> = partitions.into_iter().zip(marks).collect();
    settling.finish(session.epoch, &positions).await.map_err(database_error)?;
    let mut owned = ingest.owned();
    for (lease, (_, position)) in leases.iter().zip(&positions) {
        owned.mark_settled(*lease, session.epoch, *position);
    }
    drop(owned);
    ingest.metrics.settlings.inc_by(leases.len() as u64);
    ingest.wake_reader.notify_one();
    Ok(())
}

/// The watermark of each partition that Redis holds for the session's epoch; 0-0 for a partition without one.
async fn watermarks(
    ingest: &Ingest,
    session: &std::sync::Arc<Session>,
    partitions: &[Partition],
) -> Result<Vec<IngestId>, String> {
    let mut pipe = redis::pipe();
    for partition in partitions {
        pipe.cmd("GET").arg(partition.stored());
    }
    let answer: Result<Vec<Option<String>>, _> = pipe.query_async(&mut session.connection()).await;
    let answer = answer.inspect_err(|error| ingest.log.discard_if_unusable(session, error));
    let values = answer.map_err(|error| without_data(&error))?;
    Ok(values.iter().map(|value| position(session.epoch, value.as_deref())).collect())
}

fn position(epoch: Epoch, watermark: Option<&str>) -> IngestId {
    let held = watermark.and_then(read_watermark).filter(|(of, _)| *of == epoch);
    held.map_or_else(IngestId::default, |(_, id)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_watermark_of_the_same_epoch_is_used() {
        let id = IngestId { ms: 17, n: 3 };
        assert_eq!(position(Epoch(4), Some("4 17-3")), id);
        assert_eq!(position(Epoch(5), Some("4 17-3")), IngestId::default());
        assert_eq!(position(Epoch(3), Some("4 17-3")), IngestId::default());
        assert_eq!(position(Epoch(4), None), IngestId::default());
    }
}
