//! Decides where an owned partition is read from: behind the watermark that Redis holds for the session's epoch,
//! else from the start of the stream. Reading again is idempotent and yields the exceptions again.

use std::time::{Duration, Instant};

use tidings_shared::{
    ids::Epoch,
    log::{IngestId, Session, keys::Partition, stored::read_watermark},
};

use super::{Ingest, holdings::Lease, without_data};
use crate::writer::{Settling, failure, limit};

/// How long a settling that failed rests.
const PAUSE: Duration = Duration::from_millis(200);

/// Settles what is due. What cannot be settled now is due again after a pause.
pub(super) async fn settle(ingest: &Ingest) {
    let due = ingest.holdings().unsettled(Instant::now());
    if due.is_empty() {
        return;
    }
    let settled = tokio::time::timeout(limit::ANSWER, try_settle(ingest, &due)).await;
    if let Err(cause) = settled.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
        tracing::warn!(cause, partitions = due.len(), "partitions cannot be settled yet");
        let (now, mut holdings) = (Instant::now(), ingest.holdings());
        due.iter().for_each(|lease| holdings.unsettle(lease.partition, now, PAUSE));
    }
}

async fn try_settle(ingest: &Ingest, due: &[Lease]) -> Result<(), String> {
    let session = ingest.log.session().await.map_err(|error| error.to_string())?;
    let told = |error| failure::without_data(&error);
    let settling = Settling::lock(&ingest.db, due).await.map_err(told)?;
    {
        let mut holdings = ingest.holdings();
        for lease in due.iter().filter(|lease| settling.rows.iter().all(|(ours, _)| ours != *lease)) {
            tracing::info!(partition = lease.partition.0, "lease lost");
            holdings.lost(lease.partition);
        }
    }
    if settling.rows.iter().any(|(_, epoch)| *epoch > session.epoch) {
        // Others use a process that was opened after ours.
        ingest.log.discard(&session);
        return Err("the session's epoch is past".to_owned());
    }
    let partitions: Vec<Partition> = settling.rows.iter().map(|(lease, _)| lease.partition).collect();
    let marks = watermarks(ingest, &session, &partitions).await?;
    let leases: Vec<Lease> = settling.rows.iter().map(|(lease, _)| *lease).collect();
    let places: Vec<(Partition, IngestId)> = partitions.into_iter().zip(marks).collect();
    settling.finish(session.epoch, &places).await.map_err(told)?;
    let mut holdings = ingest.holdings();
    for (lease, (_, place)) in leases.iter().zip(&places) {
        holdings.settled(*lease, session.epoch, *place);
    }
    drop(holdings);
    ingest.metrics.settlings.inc_by(leases.len() as u64);
    ingest.to_read.notify_one();
    Ok(())
}

/// The watermarks that this process holds for its session's epoch, 0-0 where it holds none.
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
    let values = answer.map_err(|error| {
        ingest.log.failed(session, &error);
        without_data(&error)
    })?;
    Ok(values.iter().map(|value| place(session.epoch, value.as_deref())).collect())
}

fn place(epoch: Epoch, watermark: Option<&str>) -> IngestId {
    let held = watermark.and_then(read_watermark).filter(|(of, _)| *of == epoch);
    held.map_or_else(IngestId::default, |(_, id)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_watermark_of_the_same_epoch_is_a_place_to_read_from() {
        let id = IngestId { ms: 17, n: 3 };
        assert_eq!(place(Epoch(4), Some("4 17-3")), id);
        assert_eq!(place(Epoch(5), Some("4 17-3")), IngestId::default());
        assert_eq!(place(Epoch(3), Some("4 17-3")), IngestId::default());
        assert_eq!(place(Epoch(4), None), IngestId::default());
    }
}
