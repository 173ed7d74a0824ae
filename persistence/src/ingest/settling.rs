//! Decides the position from which an owned partition is read: the watermark that Redis holds for the session's epoch,
//! or the start of the stream if there is none. Reading records again is harmless: it changes nothing in PostgreSQL,
//! and reports the same voids again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidings_shared::{
    ids::Epoch,
    log::{IngestId, Session, keys::Partition, stored::parse_watermark},
    sabotage,
};

use super::{Ingest, partition_backoff::PartitionBackoff, redacted_cause};
use crate::batch::Lease;
use crate::writer::{Settling, failure, limit};

/// Pause before partitions that could not be settled are due again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// First and longest pause of a partition whose row stays locked. Each attempt may delay the writer by up to 200 ms,
/// the time limit for locks.
pub(super) const LOCKED_BACKOFF: [Duration; 2] = [RETRY_PAUSE, Duration::from_secs(5)];

/// Settles the partitions that are due. A partition whose row stays locked is due again after a pause of
/// `locked_backoff`, and delays no other partition. After any other failure all partitions are due again after
/// `RETRY_PAUSE`.
pub(super) async fn settle(ingest: &Ingest, locked_backoff: &mut PartitionBackoff) {
    let due = ingest.owned().due_for_settling(Instant::now());
    if due.is_empty() {
        return;
    }
    let settled = tokio::time::timeout(limit::ANSWER_DEADLINE, try_settle(ingest, &due)).await;
    match settled.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
        Ok(locked) => {
            let free = due.iter().map(|lease| lease.partition).filter(|free| !locked.contains(free));
            free.for_each(|partition| locked_backoff.reset(partition));
            pause_locked_partitions(ingest, locked_backoff, &locked);
        }
        Err(cause) => {
            tracing::warn!(cause, partitions = due.len(), "partitions cannot be settled yet");
            let (now, mut owned) = (Instant::now(), ingest.owned());
            due.iter().for_each(|lease| owned.unsettle(lease.partition, now, RETRY_PAUSE));
        }
    }
}

/// Pauses partitions whose rows another transaction has locked. They are settled again after the pause.
pub(super) fn pause_locked_partitions(ingest: &Ingest, backoff: &mut PartitionBackoff, locked: &[Partition]) {
    let (now, mut owned) = (Instant::now(), ingest.owned());
    for partition in locked {
        let pause = backoff.next_pause(*partition);
        tracing::warn!(partition = partition.0, ?pause, "the row of a partition stays locked");
        owned.unsettle(*partition, now, pause);
    }
}

/// Settles partitions, and returns those whose rows stay locked.
async fn try_settle(ingest: &Ingest, due: &[Lease]) -> Result<Vec<Partition>, String> {
    let by_session = ingest.log.by_session(due.to_vec(), |lease| lease.partition).await;
    let mut locked = Vec::new();
    for (session, due) in by_session.map_err(|error| error.to_string())? {
        locked.extend(settle_in_session(ingest, &session, &due).await?);
    }
    Ok(locked)
}

/// [`try_settle`] for partitions of one session.
async fn settle_in_session(
    ingest: &Ingest,
    session: &Arc<Session>,
    due: &[Lease],
) -> Result<Vec<Partition>, String> {
    let database_error = |error| failure::redacted_cause(&error);
    let mut settling = Settling::lock(&ingest.db, due).await.map_err(database_error)?;
    for lease in &settling.lost {
        tracing::info!(partition = lease.partition.0, "lease lost");
        ingest.owned().remove(lease.partition);
    }
    if settling.rows.iter().any(|(_, epoch)| *epoch > session.epoch) {
        // Other replicas use a Redis process with a later epoch, so this session has ended.
        ingest.log.discard(session);
        return Err("the session's epoch has ended".to_owned());
    }
    let locked = std::mem::take(&mut settling.locked);
    if settling.rows.is_empty() {
        return Ok(locked);
    }
    let leases: Vec<Lease> = settling.rows.iter().map(|(lease, _)| *lease).collect();
    let partitions: Vec<Partition> = leases.iter().map(|lease| lease.partition).collect();
    let positions = session_watermarks(ingest, session, &partitions).await?;
    settling.finish(session.epoch).await.map_err(database_error)?;
    let mut owned = ingest.owned();
    for (lease, position) in leases.iter().zip(positions) {
        owned.mark_settled(*lease, session.epoch, position);
    }
    drop(owned);
    ingest.metrics.settlings.inc_by(leases.len() as u64);
    ingest.wake_reader.notify_one();
    Ok(locked)
}

/// The watermark of each partition that Redis holds for the session's epoch; 0-0 for a partition without one.
async fn session_watermarks(
    ingest: &Ingest,
    session: &Arc<Session>,
    partitions: &[Partition],
) -> Result<Vec<IngestId>, String> {
    let mut pipe = redis::pipe();
    for partition in partitions {
        pipe.cmd("GET").arg(partition.stored());
    }
    let answer: Result<Vec<Option<String>>, _> = pipe.query_async(&mut session.connection()).await;
    let answer = answer.inspect_err(|error| ingest.log.discard_if_unusable(session, error));
    let values = answer.map_err(|error| redacted_cause(&error))?;
    Ok(values.iter().map(|value| settled_position(session.epoch, value.as_deref())).collect())
}

fn settled_position(epoch: Epoch, watermark: Option<&str>) -> IngestId {
    let is_usable = |of| of == epoch || sabotage::is_removed("owner settles at a watermark of its epoch");
    let held = watermark.and_then(parse_watermark).filter(|(of, _)| is_usable(*of));
    held.map_or_else(IngestId::default, |(_, id)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_watermark_of_the_same_epoch_is_used() {
        let id = IngestId { ms: 17, n: 3 };
        assert_eq!(settled_position(Epoch(4), Some("4 17-3")), id);
        assert_eq!(settled_position(Epoch(5), Some("4 17-3")), IngestId::default());
        assert_eq!(settled_position(Epoch(3), Some("4 17-3")), IngestId::default());
        assert_eq!(settled_position(Epoch(4), None), IngestId::default());
    }
}
