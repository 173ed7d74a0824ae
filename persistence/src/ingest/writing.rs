//! Writes what was read, batch by batch, and tells Redis how far it is stored.
//! A batch that fails because the database is away is tried again for ever (its guard knows whether the lease still
//! holds); one whose data is refused is halved until the poison record stands alone, which then becomes a void and a
//! dead letter. One that is stuck is halved too, but nothing of it is given up: its partition rests.

mod gathered;
mod traced;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sea_orm::DbErr;
use tidings_shared::log::{Record, StoredUpto, keys::Partition};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Ingest,
    reader::{BATCH_RECORDS, Chunk},
    setbacks::Setbacks,
    settling, telling,
};
use crate::writer::{
    batch::{Claim, Exception, WriteError, Written, write as write_batch},
    failure,
    limit::{self, within},
};
use gathered::Batch;
use traced::traced;

/// Least time from the beginning of one batch to the next, unless what is to be in it lies there already: under load
/// records gather, else none waits.
const BATCH_EVERY: Duration = Duration::from_millis(5);
/// Behind a batch of more records others come: they gather for half as long as it took, since a transaction for many
/// costs little more than one for a few.
const FEW_RECORDS: usize = 16;
const LONGEST_GATHER: Duration = Duration::from_millis(25);
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// The same failure so often in a row means that the batch is stuck, not the database.
const STUCK_AFTER: u32 = 3;
/// A partition that would get a hole rests so long before it is settled again.
const HOLE_PAUSE: Duration = Duration::from_secs(1);
/// One whose watermark was refused.
const REFUSED_PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];
/// One whose next record alone is stuck.
const STUCK_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// What is still to be written of a batch.
struct Piece {
    batch: Batch,
    /// Why its record is to be put aside.
    poison: Option<String>,
    /// What a larger piece was stuck with.
    stuck: Option<String>,
}

/// Why a piece is not tried again as it is.
enum GivenUp {
    /// A record of it is refused for what it holds.
    Data(DbErr),
    /// It failed like this again and again.
    Stuck(String),
}

pub(super) async fn write(ingest: Arc<Ingest>, mut chunks: mpsc::Receiver<Chunk>, stop: CancellationToken) {
    let mut writer = Writer {
        ingest: &ingest,
        stop: &stop,
        refused: Setbacks::new(REFUSED_PAUSES[0], REFUSED_PAUSES[1]),
        stuck: Setbacks::new(STUCK_PAUSES[0], STUCK_PAUSES[1]),
    };
    let mut waiting: Option<Chunk> = None;
    loop {
        if !stop.is_cancelled() {
            settling::settle(&ingest).await;
        }
        let first = match waiting.take() {
            Some(chunk) => chunk,
            None => {
                let settling = ingest.holdings().next_settling();
                let pause =
                    settling.map_or(LONGEST_BACKOFF, |at| at.saturating_duration_since(Instant::now()));
                tokio::select! {
                    chunk = chunks.recv() => match chunk {
                        Some(chunk) => chunk,
                        None => return,
                    },
                    () = ingest.to_settle.notified() => continue,
                    () = tokio::time::sleep(pause), if !stop.is_cancelled() => continue,
                }
            }
        };
        let begun = Instant::now();
        let mut batch = Batch::default();
        let mut records = first.records();
        let mut turn = batch.add(first);
        while let Ok(chunk) = chunks.try_recv() {
            if records + chunk.records() > BATCH_RECORDS {
                waiting = Some(chunk);
                break;
            }
            records += chunk.records();
            turn = batch.add(chunk).or(turn);
        }
        writer.write_all(batch).await;
        // What was read already waits for nothing more to gather.
        if waiting.is_none() && chunks.is_empty() {
            let _ = stop.run_until_cancelled(tokio::time::sleep(rest(records, begun.elapsed()))).await;
        }
        drop(turn);
    }
}

/// How long nothing more is read behind a batch.
fn rest(records: usize, took: Duration) -> Duration {
    let gather = if records > FEW_RECORDS { (took / 2).min(LONGEST_GATHER) } else { Duration::ZERO };
    BATCH_EVERY.saturating_sub(took).max(gather)
}

struct Writer<'a> {
    ingest: &'a Ingest,
    stop: &'a CancellationToken,
    refused: Setbacks,
    stuck: Setbacks,
}

impl Writer<'_> {
    /// Writes a batch to the end, halving it where data is refused or where it is stuck.
    async fn write_all(&mut self, batch: Batch) {
        let mut left = vec![Piece { batch, poison: None, stuck: None }];
        while let Some(mut piece) = left.pop() {
            let Err(given_up) = self.write_piece(&mut piece).await else { continue };
            let (label, stuck) = match &given_up {
                GivenUp::Data(_) => ("data", None),
                GivenUp::Stuck(cause) => ("stuck", Some(cause.clone())),
            };
            self.ingest.metrics.retries.with_label_values(&[label]).inc();
            if piece.batch.records() > 1 {
                let (first, second) = piece.batch.halve();
                for batch in [second, first] {
                    left.push(Piece { batch, poison: None, stuck: stuck.clone() });
                }
                continue;
            }
            match given_up {
                GivenUp::Data(error) if piece.poison.is_none() => {
                    piece.poison = Some(failure::without_data(&error));
                    left.push(piece);
                }
                GivenUp::Data(error) => self.rest(&piece.batch, &failure::without_data(&error)),
                GivenUp::Stuck(cause) => self.rest(&piece.batch, &cause),
            }
        }
    }

    /// A person must look: neither the record nor even a void can be written. The partition waits, others go on.
    fn rest(&mut self, batch: &Batch, cause: &str) {
        for (partition, part) in &batch.0 {
            let (number, after, pause) = (partition.0, part.after, self.stuck.pause(*partition));
            tracing::error!(cause, partition = number, %after, ?pause, "a record can neither be written nor put aside");
            self.ingest.holdings().unsettle(*partition, Instant::now(), pause);
        }
    }

    /// Writes what of the piece is still ours, however long the database is away.
    async fn write_piece(&mut self, piece: &mut Piece) -> Result<(), GivenUp> {
        let Self { ingest, stop, .. } = *self;
        let mut backoff = FIRST_BACKOFF;
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
            // Cut off, it may be committed all the same: the guard of the next one finds out.
            let writing = write_batch(&ingest.db, &claims, &entries, piece.poison.as_deref());
            match within(limit::ANSWER, writing).await {
                Ok(written) => {
                    ingest.metrics.write_seconds.observe(begun.elapsed().as_secs_f64());
                    count(ingest, entries.len(), &written);
                    let records = entries.iter().filter_map(|entry| entry.record.as_ref().ok());
                    ingest.changed.mark(records.map(Record::room), Instant::now());
                    for (claim, part) in claims.iter().zip(piece.batch.0.values()) {
                        let partition = claim.standing.lease.partition;
                        ingest.holdings().wrote(partition, part.pass, claim.upto);
                        self.stuck.over(partition);
                    }
                    let (committing_at, committed_at) = (written.committing_at, SystemTime::now());
                    self.tell_stored(&claims, written).await;
                    // Senders wait for what was told; nobody waits for this.
                    traced(&entries, begun_at, committing_at, committed_at);
                    return Ok(());
                }
                Err(WriteError::Lost(partitions)) => {
                    ingest.metrics.retries.with_label_values(&["lost"]).inc();
                    tracing::info!(partitions = partitions.len(), "rows are not as expected: settling again");
                    let (now, mut holdings) = (Instant::now(), ingest.holdings());
                    partitions
                        .iter()
                        .for_each(|partition| holdings.unsettle(*partition, now, Duration::ZERO));
                    continue;
                }
                Err(WriteError::Hole(hole)) => {
                    ingest.metrics.holes.inc();
                    let error = WriteError::Hole(hole.clone());
                    tracing::error!(%error, partition = hole.partition.0, "reading again from the watermark");
                    ingest.holdings().unsettle(hole.partition, Instant::now(), HOLE_PAUSE);
                    continue;
                }
                Err(WriteError::Data(error)) => return Err(GivenUp::Data(error)),
                Err(WriteError::Stuck(error)) => {
                    let cause = failure::without_data(&error);
                    in_a_row = if cause == last { in_a_row + 1 } else { 1 };
                    if in_a_row >= STUCK_AFTER {
                        return Err(GivenUp::Stuck(cause));
                    }
                    tracing::warn!(cause, "batch not written, trying again");
                    last = cause;
                }
                Err(WriteError::Transient(error)) => {
                    tracing::warn!(cause = failure::without_data(&error), "batch not written, trying again");
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
            backoff = (backoff * 2).min(LONGEST_BACKOFF);
        }
    }

    /// Tells of memberships that changed, then Redis of each partition's watermark. One that did not take them is
    /// settled again: what lies above the watermark it holds is read once more, and with it come its exceptions and
    /// its memberships.
    async fn tell_stored(&mut self, claims: &[Claim], written: Written) {
        let ingest = self.ingest;
        let mut by_partition: BTreeMap<Partition, Vec<(String, String)>> = BTreeMap::new();
        for Exception { partition, room, seq, outcome } in written.exceptions {
            by_partition.entry(partition).or_default().push((format!("{room}\u{1f}{seq}"), outcome));
            ingest.to_tell.notify_one();
        }
        let session = ingest.log.session().await.ok();
        let untold = telling::tell(ingest, session.as_ref(), &written.memberships).await;
        let (mut told, mut tells) = (Vec::with_capacity(claims.len()), Vec::with_capacity(claims.len()));
        for claim in claims {
            let (partition, watermark) = (claim.standing.lease.partition, claim.upto);
            let session = session.as_ref().filter(|session| session.epoch == claim.standing.epoch);
            if session.is_some() && !untold.contains(&partition) {
                let exceptions = by_partition.remove(&partition).unwrap_or_default();
                tells.push(StoredUpto { partition, watermark, exceptions });
            } else {
                told.push((partition, Ok(false)));
            }
        }
        if let Some(session) = &session {
            let answers = ingest.log.tell_stored(session, &tells).await;
            told.extend(tells.iter().map(|tell| tell.partition).zip(answers));
        }
        for (partition, told) in told {
            if matches!(told, Ok(true)) {
                self.refused.over(partition);
            } else {
                tracing::info!(partition = partition.0, ?told, "the watermark was not taken: settling again");
                let pause = self.refused.pause(partition);
                ingest.holdings().unsettle(partition, Instant::now(), pause);
            }
        }
    }
}

/// What the guard must find for the batch's partitions; those whose pass is over, or that do not follow on what is
/// committed, are left out of the batch.
fn claim(ingest: &Ingest, batch: &mut Batch) -> Vec<Claim> {
    let (now, mut holdings) = (Instant::now(), ingest.holdings());
    let mut claims = Vec::with_capacity(batch.0.len());
    batch.0.retain(|partition, part| {
        let standing = holdings.standing(*partition, part.pass, part.after, now);
        let claim = standing.map(|standing| Claim { standing, upto: part.upto() });
        claims.extend(claim);
        claim.is_some()
    });
    claims
}

/// The batch is given up: nothing that was read behind it may be written either. The next owner reads it again.
fn end_passes(ingest: &Ingest, batch: &Batch) {
    let (now, mut holdings) = (Instant::now(), ingest.holdings());
    batch.0.keys().for_each(|partition| holdings.unsettle(*partition, now, Duration::ZERO));
}

fn count(ingest: &Ingest, records: usize, written: &Written) {
    let metrics = &ingest.metrics;
    metrics.batch_records.observe(records as f64);
    metrics.messages.inc_by(written.messages as u64);
    metrics.events.inc_by(written.events as u64);
    metrics.voids.inc_by(written.voids as u64);
    metrics.dead_letters.inc_by(written.dead_letters as u64);
    metrics.passed_over.inc_by(written.passed_over as u64);
    // By the clocks of Redis and of this machine.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    for at_ms in &written.placed_at_ms {
        let at = Duration::from_millis(u64::try_from(*at_ms).unwrap_or_default());
        metrics.stored_seconds.observe(now.saturating_sub(at).as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_gather_only_behind_a_batch_that_many_were_in() {
        let ms = Duration::from_millis;
        assert_eq!((rest(1, ms(2)), rest(1, ms(40))), (ms(3), ms(0)));
        assert_eq!((rest(100, ms(2)), rest(100, ms(20)), rest(100, ms(900))), (ms(3), ms(10), ms(25)));
    }
}
