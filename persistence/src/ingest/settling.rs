//! Decides the position from which an owned partition is read, unless PostgreSQL has lost commits of it: the watermark
//! that Redis holds for the session's epoch, or the start of the stream if there is none. Reading records again is
//! harmless: it changes nothing in PostgreSQL, and reports the same voids again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sea_orm::DbErr;
use tidings_shared::{
    ids::Epoch,
    log::{
        BySession, IngestId, Session,
        keys::{Partition, PartitionSet},
        stored_state::{StoredState, parse_watermark, read_stored_states},
    },
    sabotage,
};

use super::{Ingest, lost_commits, partition_backoff::PartitionBackoff, redacted_cause};
use crate::batch::Lease;
use crate::writer::{Settling, failure, limit};

/// Pause before partitions that could not be settled are due again.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// First and longest pause of a partition whose row stays locked. Each attempt may delay the writer by up to 200 ms,
/// the time limit for locks.
pub(super) const LOCKED_BACKOFF: [Duration; 2] = [RETRY_PAUSE, Duration::from_secs(5)];

/// The partitions that an attempt did not settle.
#[derive(Default)]
struct Unsettled {
    /// Partitions whose rows another transaction has locked.
    locked: Vec<Partition>,
    /// Partitions whose session has ended, or whose shard does not answer.
    without_answer: Vec<Partition>,
}

/// Settles the partitions that are due and have a session. The reader of their shard opens the sessions that are
/// missing. A partition whose row stays locked is due again after a pause of `locked_backoff`, and delays no other
/// partition. A partition whose shard does not answer is due again after `RETRY_PAUSE`. After any other failure all
/// partitions are.
pub(super) async fn settle(ingest: &Ingest, locked_backoff: &mut PartitionBackoff) {
    let due = ingest.owned().due_for_settling(Instant::now());
    let by_session = ingest.log.group_by_current_session(due, |lease| lease.partition);
    if by_session.is_empty() {
        return;
    }
    let partitions: Vec<Partition> =
        by_session.iter().flat_map(|(_, due)| due).map(|lease| lease.partition).collect();
    let settled = tokio::time::timeout(limit::ANSWER_DEADLINE, try_settle(ingest, &by_session)).await;
    match settled.unwrap_or_else(|_| Err(DbErr::Custom("no answer in time".to_owned()))) {
        Ok(Unsettled { locked, without_answer }) => {
            let free = partitions.iter().filter(|free| !locked.contains(free));
            free.for_each(|partition| locked_backoff.reset(*partition));
            pause_locked_partitions(ingest, locked_backoff, &locked);
            retry_later(ingest, &without_answer);
        }
        Err(error) => {
            failure::log_failure(&error, "partitions cannot be settled yet");
            retry_later(ingest, &partitions);
        }
    }
}

fn retry_later(ingest: &Ingest, partitions: &[Partition]) {
    let (now, mut owned) = (Instant::now(), ingest.owned());
    partitions.iter().for_each(|partition| owned.unsettle(*partition, now, RETRY_PAUSE));
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

/// Settles partitions, and returns those that are not settled. One transaction locks the rows of all of them, while the
/// watermarks are read from all shards concurrently.
async fn try_settle(ingest: &Ingest, by_session: &BySession<Lease>) -> Result<Unsettled, DbErr> {
    let due: Vec<Lease> = by_session.iter().flat_map(|(_, due)| due).copied().collect();
    let mut settling = Settling::lock(&ingest.db, &due).await?;
    for lease in &settling.lost {
        tracing::info!(partition = lease.partition.0, "lease lost");
        ingest.owned().remove(lease.partition);
    }
    let locked = std::mem::take(&mut settling.locked);
    let mut unsettled = Unsettled { locked, ..Unsettled::default() };
    let reads = by_session.iter().map(|(session, due)| {
        let rows = settling.rows.iter().filter(|(lease, _)| due.contains(lease)).copied().collect();
        read_positions(ingest, session, rows)
    });
    let mut settled: Vec<(Lease, Arc<Session>, StoredState)> = Vec::new();
    for read in join_all(reads).await {
        match read {
            Ok(positions) => settled.extend(positions),
            Err(partitions) => unsettled.without_answer.extend(partitions),
        }
    }
    let states: Vec<_> = settled.iter().map(|(lease, _, state)| (lease.partition, state.clone())).collect();
    let lost = settling.find_lost_commits(&states).await?;
    for (lease, session, state) in settled.extract_if(.., |(lease, ..)| lost.contains(&lease.partition)) {
        let connection = &mut session.connection();
        lost_commits::close(connection, session.layout(), lease.partition, &state).await;
        unsettled.without_answer.push(lease.partition);
    }
    if settled.is_empty() {
        return Ok(unsettled);
    }
    let epochs: Vec<_> = settled.iter().map(|(lease, session, _)| (lease.partition, session.epoch)).collect();
    settling.finish(&epochs).await?;
    let mut owned = ingest.owned();
    for (lease, session, state) in &settled {
        let position = settled_position(session.epoch, state.watermark());
        owned.mark_settled(*lease, session.epoch, position);
    }
    drop(owned);
    ingest.metrics.settlings.inc_by(settled.len() as u64);
    ingest.wake_readers.send_replace(());
    Ok(unsettled)
}

/// Reads what Redis holds of partitions that are settled in the session's epoch. `rows` are their leases,
/// each with the epoch of its row. Returns the partitions if the session has ended, or its shard does not answer.
async fn read_positions(
    ingest: &Ingest,
    session: &Arc<Session>,
    rows: Vec<(Lease, Epoch)>,
) -> Result<Vec<(Lease, Arc<Session>, StoredState)>, Vec<Partition>> {
    let partitions: Vec<Partition> = rows.iter().map(|(lease, _)| lease.partition).collect();
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let later = rows.iter().filter(|(_, epoch)| *epoch > session.epoch);
    let ended: PartitionSet = later.map(|(lease, _)| lease.partition).collect();
    let positions = if !ended.is_empty() {
        // Other replicas use a Redis process with a later epoch, so this session has ended.
        ingest.log.end_partitions(session, ended);
        Err("the session's epoch has ended".to_owned())
    } else {
        let positions =
            ingest.within_shard_deadline(session, session_states(ingest, session, &partitions)).await;
        positions.unwrap_or_else(|| Err("the shard does not answer in time".to_owned()))
    };
    match positions {
        Ok(positions) => Ok(rows
            .into_iter()
            .zip(positions)
            .map(|((lease, _), (_, state))| (lease, session.clone(), state))
            .collect()),
        Err(cause) => {
            tracing::warn!(cause, partitions = partitions.len(), "partitions cannot be settled yet");
            Err(partitions)
        }
    }
}

/// The watermarks and proofs of partitions.
async fn session_states(
    ingest: &Ingest,
    session: &Arc<Session>,
    partitions: &[Partition],
) -> Result<Vec<(Partition, StoredState)>, String> {
    let states = read_stored_states(&mut session.connection(), partitions).await;
    let states = states.inspect_err(|error| ingest.log.discard_if_unusable(session, error));
    states.map_err(|error| redacted_cause(&error))
}

/// The position from which a partition is read: its watermark if that is of the session's epoch, otherwise 0-0.
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
