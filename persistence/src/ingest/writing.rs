//! Writes the records that were read, batch by batch, and writes the stored watermarks to Redis.
//! A batch that fails because the database is unavailable is retried for ever; each attempt checks whether the leases
//! are still valid. A batch whose data is refused is halved until the refused record is alone; that record becomes a
//! void and a dead letter. A batch that keeps failing for the same cause is *stuck*: it is halved too, but its records
//! are never given up, and the partition of a single stuck record pauses.

mod batch_pacer;
mod batch_parts;
mod committed_heads;
mod counts;
mod publishing;
mod spans;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sea_orm::DbErr;
use tidings_shared::log::keys::Partition;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Ingest, lost_commits,
    partition_backoff::PartitionBackoff,
    reader::{Chunk, MAX_BATCH_RECORDS},
    settling,
};
use crate::batch::PartitionAdvance;
use crate::sql::bigint;
use crate::writer::{
    batch::{BatchNumber, BatchWrite, KeptConnection},
    failure, leases,
    limit::{self, within},
    outcome::WriteError,
};
use batch_pacer::BatchPacer;
use batch_parts::Batch;
use committed_heads::CommittedHeads;
use counts::{count_batch, count_by_shard};
use publishing::publish_stored;
use spans::create_spans;

const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// After this many identical failures in a row a batch counts as stuck. Before that, it is retried as a whole.
const STUCK_AFTER_FAILURES: u32 = 3;
/// Pause of a partition whose next record would leave a hole, before the partition is settled again.
const HOLE_PAUSE: Duration = Duration::from_secs(1);
/// First and longest pause of a partition whose watermark Redis refused.
const WATERMARK_REFUSED_BACKOFF: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];
/// After a batch failed because a client id was already used, batches check their client ids for this long. Otherwise a
/// sender who repeats old client ids could make every batch fail once.
const CLIENT_ID_CHECK_DURATION: Duration = Duration::from_secs(1);
/// First and longest pause of a partition whose next record is stuck.
const STUCK_BACKOFF: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// A batch, or the part of a halved batch, that is still to be written.
struct BatchPiece {
    batch: Batch,
    /// The reason why the only record of this piece becomes a void and a dead letter.
    poison: Option<String>,
    /// If this piece is a half of a stuck piece: why the stuck piece failed.
    stuck: Option<String>,
}

/// Why a piece is halved or given up instead of being retried.
enum PieceFailure {
    /// PostgreSQL refused the content of a record in the piece.
    Data(DbErr),
    /// The piece failed `STUCK_AFTER_FAILURES` times in a row for this cause.
    Stuck(String),
}

/// Gathers chunks into batches and writes them, until the readers have ended. After `stop` is cancelled, gives up a
/// batch instead of waiting for a retry.
pub(super) async fn write_batches(
    ingest: Arc<Ingest>,
    mut chunks: mpsc::Receiver<Chunk>,
    stop: CancellationToken,
) {
    let mut writer = BatchWriter {
        ingest: &ingest,
        stop: &stop,
        watermark_backoff: PartitionBackoff::new(WATERMARK_REFUSED_BACKOFF[0], WATERMARK_REFUSED_BACKOFF[1]),
        stuck_backoff: PartitionBackoff::new(STUCK_BACKOFF[0], STUCK_BACKOFF[1]),
        locked_backoff: PartitionBackoff::new(settling::LOCKED_BACKOFF[0], settling::LOCKED_BACKOFF[1]),
        connection: KeptConnection::new(ingest.db.clone()),
        number: BatchNumber::first_of(&ingest.replica),
        heads: CommittedHeads::default(),
        check_client_ids_until: Instant::now(),
    };
    let mut pacer = BatchPacer::new(Instant::now());
    let mut waiting: Option<Chunk> = None;
    loop {
        writer.connection.release_expired();
        if !stop.is_cancelled() {
            settling::settle(&ingest, &mut writer.locked_backoff).await;
        }
        let first = match waiting.take() {
            Some(chunk) => chunk,
            None => {
                let has_session = |partition| ingest.log.current_session(partition).is_some();
                let (settling, is_settled) = {
                    let owned = ingest.owned();
                    (owned.next_settling_at(has_session), owned.next_settling_at(|_| true).is_none())
                };
                // A session may be opened without a notice to this task. With everything settled, the pause is limited
                // because the kept connection must return to the pool in time.
                let limit = if is_settled { MAX_BACKOFF } else { settling::RETRY_PAUSE };
                let pause =
                    settling.map_or(limit, |at| at.saturating_duration_since(Instant::now()).min(limit));
                tokio::select! {
                    chunk = chunks.recv() => match chunk {
                        Some(chunk) => chunk,
                        None => return,
                    },
                    () = ingest.wake_settler.notified() => continue,
                    () = tokio::time::sleep(pause), if !stop.is_cancelled() => continue,
                }
            }
        };
        let begun = Instant::now();
        let mut batch = Batch::default();
        let mut records = first.record_count();
        // Each reader waits until a batch with its chunk is written.
        let mut reader_permits = Vec::from_iter(batch.add(first));
        while let Ok(chunk) = chunks.try_recv() {
            if records + chunk.record_count() > MAX_BATCH_RECORDS {
                waiting = Some(chunk);
                break;
            }
            records += chunk.record_count();
            reader_permits.extend(batch.add(chunk));
        }
        writer.write_all(batch).await;
        pacer.count(records, begun);
        // Pauses to let records gather, unless the next records are already read.
        if waiting.is_none() && chunks.is_empty() {
            let pause = pacer.gather_pause(records, begun.elapsed());
            let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
        drop(reader_permits);
    }
}

struct BatchWriter<'a> {
    ingest: &'a Ingest,
    stop: &'a CancellationToken,
    watermark_backoff: PartitionBackoff,
    stuck_backoff: PartitionBackoff,
    locked_backoff: PartitionBackoff,
    connection: KeptConnection,
    number: BatchNumber,
    heads: CommittedHeads,
    check_client_ids_until: Instant,
}

impl BatchWriter<'_> {
    /// Writes a whole batch. Halves the pieces whose data is refused or that are stuck.
    async fn write_all(&mut self, batch: Batch) {
        let mut left = vec![BatchPiece { batch, poison: None, stuck: None }];
        while let Some(mut piece) = left.pop() {
            let Err(failed) = self.write_piece(&mut piece).await else { continue };
            let (label, stuck) = match &failed {
                PieceFailure::Data(_) => ("data", None),
                PieceFailure::Stuck(cause) => ("stuck", Some(cause.clone())),
            };
            self.ingest.metrics.retries.with_label_values(&[label]).inc();
            if piece.batch.record_count() > 1 {
                let (first, second) = piece.batch.halve();
                for batch in [second, first] {
                    left.push(BatchPiece { batch, poison: None, stuck: stuck.clone() });
                }
                continue;
            }
            match failed {
                PieceFailure::Data(error) if piece.poison.is_none() => {
                    piece.poison = Some(failure::redacted_cause(&error));
                    left.push(piece);
                }
                PieceFailure::Data(error) => {
                    self.pause_partitions(&piece.batch, &failure::redacted_cause(&error))
                }
                PieceFailure::Stuck(cause) => self.pause_partitions(&piece.batch, &cause),
            }
        }
    }

    /// Pauses the partition of a record that can be written neither as an event nor as a void. After each pause the
    /// record is tried again. Other partitions continue.
    fn pause_partitions(&mut self, batch: &Batch, cause: &str) {
        for (partition, part) in &batch.0 {
            let (number, after, pause) = (partition.0, part.after, self.stuck_backoff.next_pause(*partition));
            tracing::error!(cause, partition = number, %after, ?pause, "a record can neither be written nor put aside");
            self.ingest.owned().unsettle(*partition, Instant::now(), pause);
        }
    }

    /// Writes those partitions of the piece that this replica can claim. Retries while the database is unavailable.
    async fn write_piece(&mut self, piece: &mut BatchPiece) -> Result<(), PieceFailure> {
        let Self { ingest, stop, .. } = *self;
        let mut backoff = MIN_BACKOFF;
        let (mut last, mut failures_in_a_row) = match piece.stuck.take() {
            Some(cause) => (cause, STUCK_AFTER_FAILURES - 1),
            None => (String::new(), 0),
        };
        loop {
            let claims = claim_partitions(ingest, &mut piece.batch);
            if claims.is_empty() {
                return Ok(());
            }
            let entries = piece.batch.entries();
            let (begun, begun_at) = (Instant::now(), SystemTime::now());
            // After a timeout the batch may still be committed. The next attempt then finds that the number is taken.
            let heads = self.heads.usable_for(&piece.batch, &claims);
            let write = BatchWrite {
                number: &self.number,
                claims: &claims,
                entries: &entries,
                heads: &heads,
                poison: piece.poison.as_deref(),
                check_client_ids: begun < self.check_client_ids_until,
            };
            let written = within(limit::ANSWER_DEADLINE, write.write(&mut self.connection)).await;
            if written.is_err() {
                // After any failure, the next attempt reads the heads from PostgreSQL.
                self.heads.forget_all();
            }
            match written {
                Ok(mut written) => {
                    self.number.advance();
                    let proofs = publishing::proofs_of(&mut written);
                    self.heads.remember(&piece.batch, std::mem::take(&mut written.heads));
                    ingest.metrics.write_seconds.observe(begun.elapsed().as_secs_f64());
                    count_batch(&ingest.metrics, entries.len(), &written);
                    if let Some(map) = ingest.log.map_watch().current() {
                        count_by_shard(&ingest.metrics, &map, &piece.batch);
                    }
                    let records = entries.iter().filter_map(|entry| entry.record.as_ref().ok());
                    // Records with the seq 0 are not events.
                    let events = records.filter(|record| record.seq.0 > 0);
                    let events = events.map(|record| (record.room(), bigint(record.seq.0)));
                    ingest.changed_rooms.add_events(events, Instant::now());
                    for (claim, part) in claims.iter().zip(piece.batch.0.values()) {
                        let partition = claim.expected.lease.partition;
                        ingest.owned().advance_committed(partition, part.pass, claim.upto);
                        self.stuck_backoff.reset(partition);
                    }
                    let activity = std::mem::take(&mut written.activity);
                    let (committing_at, committed_at) = (written.committing_at, SystemTime::now());
                    publish_stored(ingest, &mut self.watermark_backoff, &claims, proofs, written).await;
                    ingest.activity.add(activity);
                    // Creates the spans after the watermark is written, because senders wait for the watermark.
                    create_spans(&entries, begun_at, committing_at, committed_at);
                    return Ok(());
                }
                Err(WriteError::ClientIdTaken) => {
                    ingest.metrics.retries.with_label_values(&["taken"]).inc();
                    self.check_client_ids_until = Instant::now() + CLIENT_ID_CHECK_DURATION;
                    continue;
                }
                Err(WriteError::Lost(partitions)) => {
                    ingest.metrics.retries.with_label_values(&["lost"]).inc();
                    tracing::info!(partitions = partitions.len(), "rows are not as expected: settling again");
                    let (now, mut owned) = (Instant::now(), ingest.owned());
                    partitions.iter().for_each(|partition| owned.unsettle(*partition, now, Duration::ZERO));
                    continue;
                }
                Err(WriteError::NumberTaken) => {
                    ingest.metrics.retries.with_label_values(&["lost"]).inc();
                    tracing::info!("an earlier attempt was committed: settling again");
                    self.number.advance();
                    end_passes(ingest, &piece.batch);
                    return Ok(());
                }
                Err(WriteError::PreviousMissing) => {
                    ingest.metrics.retries.with_label_values(&["lost"]).inc();
                    lost_commits::compare_all_again(ingest, &self.number).await;
                    return Ok(());
                }
                Err(WriteError::Hole(hole)) => {
                    ingest.metrics.holes.inc();
                    let error = WriteError::Hole(hole.clone());
                    tracing::error!(%error, partition = hole.partition.0, "reading again from the watermark");
                    ingest.owned().unsettle(hole.partition, Instant::now(), HOLE_PAUSE);
                    continue;
                }
                Err(WriteError::Data(error)) => return Err(PieceFailure::Data(error)),
                Err(WriteError::Stuck(error)) => {
                    if failure::is_time_limit_error(&error) && self.pause_locked_partitions(&claims).await {
                        ingest.metrics.retries.with_label_values(&["locked"]).inc();
                        continue;
                    }
                    let cause = failure::redacted_cause(&error);
                    failures_in_a_row = if cause == last { failures_in_a_row + 1 } else { 1 };
                    if failures_in_a_row >= STUCK_AFTER_FAILURES {
                        return Err(PieceFailure::Stuck(cause));
                    }
                    failure::log_failure(&error, "batch not written, retrying");
                    last = cause;
                }
                Err(WriteError::Transient(error)) => {
                    failure::log_failure(&error, "batch not written, retrying");
                    failures_in_a_row = 0;
                }
            }
            ingest.metrics.retries.with_label_values(&["away"]).inc();
            tokio::select! {
                () = stop.cancelled() => {
                    end_passes(ingest, &piece.batch);
                    return Ok(());
                }
                () = tokio::time::sleep(backoff) => {}
            }
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    /// Pauses the partitions whose rows another transaction has locked, so that the other partitions need not wait.
    /// Returns whether any row is locked.
    async fn pause_locked_partitions(&mut self, claims: &[PartitionAdvance]) -> bool {
        let partitions: Vec<Partition> = claims.iter().map(|claim| claim.expected.lease.partition).collect();
        let locked =
            within(limit::ANSWER_DEADLINE, leases::locked_partitions(&self.ingest.db, &partitions)).await;
        let locked = locked.unwrap_or_default();
        settling::pause_locked_partitions(self.ingest, &mut self.locked_backoff, &locked);
        !locked.is_empty()
    }
}

/// The claims of the batch's partitions. Removes partitions from the batch whose pass has ended, or whose records do
/// not follow the committed position.
fn claim_partitions(ingest: &Ingest, batch: &mut Batch) -> Vec<PartitionAdvance> {
    let (now, mut owned) = (Instant::now(), ingest.owned());
    let mut claims = Vec::with_capacity(batch.0.len());
    batch.0.retain(|partition, part| {
        let expected = owned.claim(*partition, part.pass, part.after, now);
        let claim = expected.map(|expected| PartitionAdvance { expected, upto: part.upto() });
        claims.extend(claim);
        claim.is_some()
    });
    claims
}

/// Gives up a batch and the records that were read after it, which the next owner of the partitions reads again.
fn end_passes(ingest: &Ingest, batch: &Batch) {
    let (now, mut owned) = (Instant::now(), ingest.owned());
    batch.0.keys().for_each(|partition| owned.unsettle(*partition, now, Duration::ZERO));
}
