//! Writes the records that were read, batch by batch, and writes the stored watermarks to Redis.
//! A batch that fails because the database is unavailable is retried for ever; each attempt checks whether the leases
//! are still valid. A batch whose data is refused is halved until the refused record is alone; that record becomes a
//! void and a dead letter. A batch that keeps failing for the same cause is *stuck*: it is halved too, but its records
//! are never given up, and the partition of a single stuck record pauses.

mod batch_pacer;
mod committed_heads;
mod counts;
mod gathered;
mod spans;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use sea_orm::DbErr;
use tidings_shared::log::{StoredUpto, keys::Partition};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Ingest, announcing,
    partition_backoff::PartitionBackoff,
    reader::{BATCH_RECORDS, Chunk},
    settling,
};
use crate::batch::BatchClaim;
use crate::sql::bigint;
use crate::writer::{
    batch::{KeptConnection, write as write_batch},
    failure,
    limit::{self, within},
    outcome::{Exception, WriteError, Written},
};
use batch_pacer::BatchPacer;
use committed_heads::CommittedHeads;
use counts::count;
use gathered::Batch;
use spans::record_spans;

const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// After this many identical failures in a row a batch counts as stuck. Before, the database counts as unavailable.
const STUCK_AFTER: u32 = 3;
/// Pause of a partition whose next record would leave a hole, before the partition is settled again.
const HOLE_PAUSE: Duration = Duration::from_secs(1);
/// First and longest pause of a partition whose watermark Redis refused.
const WATERMARK_REFUSED_BACKOFF: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];
/// How long every batch checks its client ids after one was already used, so that a sender who repeats old client ids
/// cannot make every batch fail once.
const CHECK_CLIENT_IDS_FOR: Duration = Duration::from_secs(1);
/// First and longest pause of a partition whose next record is stuck.
const STUCK_BACKOFF: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// A batch, or the part of a halved batch, that is still to be written.
struct Piece {
    batch: Batch,
    /// The reason why the only record of this piece becomes a void and a dead letter.
    poison: Option<String>,
    /// The cause of failure of the stuck piece of which this piece is a half.
    stuck: Option<String>,
}

/// Why a piece is halved or given up instead of being retried.
enum PieceFailure {
    /// PostgreSQL refused the content of a record in the piece.
    Data(DbErr),
    /// The piece failed `STUCK_AFTER` times in a row for this cause.
    Stuck(String),
}

/// Gathers chunks into batches and writes them, until the reader has ended. After `stop`, does not wait to retry a
/// batch.
pub(super) async fn write(ingest: Arc<Ingest>, mut chunks: mpsc::Receiver<Chunk>, stop: CancellationToken) {
    let mut writer = Writer {
        ingest: &ingest,
        stop: &stop,
        watermark_backoff: PartitionBackoff::new(WATERMARK_REFUSED_BACKOFF[0], WATERMARK_REFUSED_BACKOFF[1]),
        stuck_backoff: PartitionBackoff::new(STUCK_BACKOFF[0], STUCK_BACKOFF[1]),
        connection: KeptConnection::new(ingest.db.clone()),
        heads: CommittedHeads::default(),
        check_client_ids_until: Instant::now(),
    };
    let mut pacer = BatchPacer::new(Instant::now());
    let mut waiting: Option<Chunk> = None;
    loop {
        writer.connection.give_back_old();
        if !stop.is_cancelled() {
            settling::settle(&ingest).await;
        }
        let first = match waiting.take() {
            Some(chunk) => chunk,
            None => {
                let settling = ingest.owned().next_settling();
                let pause = settling.map_or(MAX_BACKOFF, |at| at.saturating_duration_since(Instant::now()));
                // The longest pause, because the kept connection must be given back in time.
                let pause = pause.min(MAX_BACKOFF);
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
        let mut reader_permit = batch.add(first);
        while let Ok(chunk) = chunks.try_recv() {
            if records + chunk.record_count() > BATCH_RECORDS {
                waiting = Some(chunk);
                break;
            }
            records += chunk.record_count();
            reader_permit = batch.add(chunk).or(reader_permit);
        }
        writer.write_all(batch).await;
        pacer.count(records, begun);
        // Pauses so that records gather, unless records are already read.
        if waiting.is_none() && chunks.is_empty() {
            let pause = pacer.gather_pause(records, begun.elapsed());
            let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
        drop(reader_permit);
    }
}

struct Writer<'a> {
    ingest: &'a Ingest,
    stop: &'a CancellationToken,
    watermark_backoff: PartitionBackoff,
    stuck_backoff: PartitionBackoff,
    connection: KeptConnection,
    heads: CommittedHeads,
    check_client_ids_until: Instant,
}

impl Writer<'_> {
    /// Writes a whole batch. Halves the pieces whose data is refused or that are stuck.
    async fn write_all(&mut self, batch: Batch) {
        let mut left = vec![Piece { batch, poison: None, stuck: None }];
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
                    left.push(Piece { batch, poison: None, stuck: stuck.clone() });
                }
                continue;
            }
            match failed {
                PieceFailure::Data(error) if piece.poison.is_none() => {
                    piece.poison = Some(failure::without_data(&error));
                    left.push(piece);
                }
                PieceFailure::Data(error) => {
                    self.pause_partitions(&piece.batch, &failure::without_data(&error))
                }
                PieceFailure::Stuck(cause) => self.pause_partitions(&piece.batch, &cause),
            }
        }
    }

    /// Pauses the partition of a record that cannot be written, neither as an event nor as a void, until an operator
    /// acts. Other partitions continue.
    fn pause_partitions(&mut self, batch: &Batch, cause: &str) {
        for (partition, part) in &batch.0 {
            let (number, after, pause) = (partition.0, part.after, self.stuck_backoff.next_pause(*partition));
            tracing::error!(cause, partition = number, %after, ?pause, "a record can neither be written nor put aside");
            self.ingest.owned().unsettle(*partition, Instant::now(), pause);
        }
    }

    /// Writes those partitions of the piece that this replica can claim. Retries while the database is unavailable.
    async fn write_piece(&mut self, piece: &mut Piece) -> Result<(), PieceFailure> {
        let Self { ingest, stop, .. } = *self;
        let mut backoff = MIN_BACKOFF;
        let (mut last, mut in_a_row) = match piece.stuck.take() {
            Some(cause) => (cause, STUCK_AFTER - 1),
            None => (String::new(), 0),
        };
        loop {
            let claims = claim(ingest, &mut piece.batch);
            if claims.is_empty() {
                return Ok(());
            }
            let entries = piece.batch.entries();
            let (begun, begun_at) = (Instant::now(), SystemTime::now());
            // After a timeout the batch may still be committed. The next attempt then finds that the partition's row
            // has moved.
            let heads = self.heads.usable_for(&piece.batch, &claims);
            let checked = begun < self.check_client_ids_until;
            let (connection, poison) = (&mut self.connection, piece.poison.as_deref());
            let writing = write_batch(connection, &claims, &entries, &heads, poison, checked);
            let written = within(limit::ANSWER_DEADLINE, writing).await;
            if written.is_err() {
                // After any failure, the next attempt reads the heads from PostgreSQL.
                self.heads.forget_all();
            }
            match written {
                Ok(mut written) => {
                    self.heads.remember(&piece.batch, std::mem::take(&mut written.heads));
                    ingest.metrics.write_seconds.observe(begun.elapsed().as_secs_f64());
                    count(&ingest.metrics, entries.len(), &written);
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
                    let (committing_at, committed_at) = (written.committing_at, SystemTime::now());
                    self.publish_stored(&claims, written).await;
                    // Created after the watermark is written, because senders wait for the watermark.
                    record_spans(&entries, begun_at, committing_at, committed_at);
                    return Ok(());
                }
                Err(WriteError::ClientIdTaken) => {
                    ingest.metrics.retries.with_label_values(&["taken"]).inc();
                    self.check_client_ids_until = Instant::now() + CHECK_CLIENT_IDS_FOR;
                    continue;
                }
                Err(WriteError::Lost(partitions)) => {
                    ingest.metrics.retries.with_label_values(&["lost"]).inc();
                    tracing::info!(partitions = partitions.len(), "rows are not as expected: settling again");
                    let (now, mut owned) = (Instant::now(), ingest.owned());
                    partitions.iter().for_each(|partition| owned.unsettle(*partition, now, Duration::ZERO));
                    continue;
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
                    let cause = failure::without_data(&error);
                    in_a_row = if cause == last { in_a_row + 1 } else { 1 };
                    if in_a_row >= STUCK_AFTER {
                        return Err(PieceFailure::Stuck(cause));
                    }
                    tracing::warn!(cause, "batch not written, retrying");
                    last = cause;
                }
                Err(WriteError::Transient(error)) => {
                    tracing::warn!(cause = failure::without_data(&error), "batch not written, retrying");
                    in_a_row = 0;
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

    /// Announces membership changes, then writes each partition's watermark to Redis. A partition whose watermark Redis
    /// refused is settled again, so that the records above its watermark are read and reported again.
    async fn publish_stored(&mut self, claims: &[BatchClaim], written: Written) {
        let ingest = self.ingest;
        let mut by_partition: BTreeMap<Partition, Vec<(String, String)>> = BTreeMap::new();
        for Exception { room, seq, outcome } in written.exceptions {
            let partition = Partition::of(&room);
            by_partition.entry(partition).or_default().push((format!("{room}\u{1f}{seq}"), outcome));
            ingest.wake_announcer.notify_one();
        }
        let session = ingest.log.session().await.ok();
        let unannounced = announcing::announce(ingest, session.as_ref(), &written.memberships).await;
        let (mut results, mut updates) = (Vec::with_capacity(claims.len()), Vec::with_capacity(claims.len()));
        for claim in claims {
            let (partition, watermark) = (claim.expected.lease.partition, claim.upto);
            let session = session.as_ref().filter(|session| session.epoch == claim.expected.epoch);
            if session.is_some() && !unannounced.contains(&partition) {
                let exceptions = by_partition.remove(&partition).unwrap_or_default();
                updates.push(StoredUpto { partition, watermark, exceptions });
            } else {
                results.push((partition, Ok(false)));
            }
        }
        if let Some(session) = &session {
            let answers = ingest.log.publish_stored(session, &updates).await;
            results.extend(updates.iter().map(|update| update.partition).zip(answers));
        }
        for (partition, result) in results {
            if matches!(result, Ok(true)) {
                self.watermark_backoff.reset(partition);
            } else {
                tracing::info!(
                    partition = partition.0,
                    ?result,
                    "the watermark was not accepted: settling again"
                );
                let pause = self.watermark_backoff.next_pause(partition);
                ingest.owned().unsettle(partition, Instant::now(), pause);
            }
        }
    }
}

/// The claims of the batch's partitions. Removes partitions from the batch whose pass has ended, or whose records do
/// not follow the committed position.
fn claim(ingest: &Ingest, batch: &mut Batch) -> Vec<BatchClaim> {
    let (now, mut owned) = (Instant::now(), ingest.owned());
    let mut claims = Vec::with_capacity(batch.0.len());
    batch.0.retain(|partition, part| {
        let expected = owned.claim(*partition, part.pass, part.after, now);
        let claim = expected.map(|expected| BatchClaim { expected, upto: part.upto() });
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
