//! Writes what was read, batch by batch, and tells Redis how far it is stored.
//! A batch that fails for a time is tried again for ever (its guard knows whether the lease still holds); one whose
//! data is refused is halved until the poison record stands alone, which then becomes a void and a dead letter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sea_orm::DbErr;
use tidings_shared::log::keys::Partition;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Ingest,
    batch::Entry,
    reader::{BATCH_RECORDS, Chunk},
    settling,
};
use crate::writer::{
    batch::{Claim, Exception, WriteError, Written, write as write_batch},
    failure,
};

/// Least time from the beginning of one batch to the next: under load records gather, else none waits.
const BATCH_EVERY: Duration = Duration::from_millis(5);
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// A partition that would get a hole, or whose watermark was refused, rests so long before it is settled again.
const HOLE_PAUSE: Duration = Duration::from_secs(1);
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// Records by partition, each with the pass they were read in.
#[derive(Debug, Default)]
struct Batch(BTreeMap<Partition, (u64, Vec<Entry>)>);

impl Batch {
    fn add(&mut self, chunk: Chunk) {
        for read in chunk.reads {
            let (pass, entries) = self.0.entry(read.partition).or_insert((read.pass, Vec::new()));
            if *pass != read.pass {
                // What an earlier pass read is void.
                (*pass, *entries) = (read.pass, Vec::new());
            }
            entries.extend(read.entries);
        }
    }

    fn records(&self) -> usize {
        self.0.values().map(|(_, entries)| entries.len()).sum()
    }

    /// Two halves; each partition's records stay in order across them.
    fn halve(self) -> (Self, Self) {
        let mut left = self.records() / 2;
        let (mut first, mut second) = (Self::default(), Self::default());
        for (partition, (pass, mut entries)) in self.0 {
            let rest = entries.split_off(left.min(entries.len()));
            left -= entries.len();
            for (half, entries) in [(&mut first, entries), (&mut second, rest)] {
                if !entries.is_empty() {
                    half.0.insert(partition, (pass, entries));
                }
            }
        }
        (first, second)
    }
}

pub(super) async fn write(ingest: Arc<Ingest>, mut chunks: mpsc::Receiver<Chunk>, stop: CancellationToken) {
    let mut waiting: Option<Chunk> = None;
    let mut begun: Option<Instant> = None;
    loop {
        settling::settle(&ingest).await;
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
                    () = tokio::time::sleep(pause) => continue,
                }
            }
        };
        if let Some(early) = begun.and_then(|begun| BATCH_EVERY.checked_sub(begun.elapsed())) {
            tokio::time::sleep(early).await;
        }
        begun = Some(Instant::now());
        let mut batch = Batch::default();
        batch.add(first);
        while let Ok(chunk) = chunks.try_recv() {
            if batch.records() + chunk.records() > BATCH_RECORDS {
                waiting = Some(chunk);
                break;
            }
            batch.add(chunk);
        }
        write_all(&ingest, batch, &stop).await;
    }
}

/// Writes a batch to the end, halving it where data is refused.
async fn write_all(ingest: &Ingest, batch: Batch, stop: &CancellationToken) {
    let mut left = vec![(batch, None)];
    while let Some((mut batch, poison)) = left.pop() {
        let Err(error) = write_one(ingest, &mut batch, poison.as_deref(), stop).await else { continue };
        ingest.metrics.retries.with_label_values(&["data"]).inc();
        if batch.records() > 1 {
            let (first, second) = batch.halve();
            left.push((second, None));
            left.push((first, None));
        } else {
            if poison.is_some() {
                // Not even a void can be written: a person must look. The partition waits, others go on between.
                tracing::error!(cause = failure::without_data(&error), "a poison record cannot be put aside");
                let (now, mut holdings) = (Instant::now(), ingest.holdings());
                batch.0.keys().for_each(|partition| holdings.unsettle(*partition, now, HOLE_PAUSE));
                continue;
            }
            left.push((batch, Some(failure::without_data(&error))));
        }
    }
}

/// Writes what of the batch is still ours, however long the database is away.
///
/// # Errors
/// When data is refused.
async fn write_one(
    ingest: &Ingest,
    batch: &mut Batch,
    poison: Option<&str>,
    stop: &CancellationToken,
) -> Result<(), DbErr> {
    let mut backoff = FIRST_BACKOFF;
    loop {
        let claims = claim(ingest, batch);
        if claims.is_empty() {
            return Ok(());
        }
        let entries: Vec<Entry> = batch.0.values().flat_map(|(_, entries)| entries).cloned().collect();
        let begun = Instant::now();
        match write_batch(&ingest.db, &claims, &entries, poison).await {
            Ok(written) => {
                ingest.metrics.write_seconds.observe(begun.elapsed().as_secs_f64());
                count(ingest, entries.len(), &written);
                for (claim, (pass, _)) in claims.iter().zip(batch.0.values()) {
                    ingest.holdings().wrote(claim.standing.lease.partition, *pass, claim.upto);
                }
                tell_stored(ingest, &claims, written.exceptions).await;
                return Ok(());
            }
            Err(WriteError::Lost(partitions)) => {
                ingest.metrics.retries.with_label_values(&["lost"]).inc();
                tracing::info!(partitions = partitions.len(), "rows are not as expected: settling again");
                let (now, mut holdings) = (Instant::now(), ingest.holdings());
                partitions.iter().for_each(|partition| holdings.unsettle(*partition, now, Duration::ZERO));
            }
            Err(WriteError::Hole(hole)) => {
                ingest.metrics.holes.inc();
                let error = WriteError::Hole(hole.clone());
                tracing::error!(%error, partition = hole.partition.0, "reading again from the watermark");
                ingest.holdings().unsettle(hole.partition, Instant::now(), HOLE_PAUSE);
            }
            Err(WriteError::Data(error)) => return Err(error),
            Err(WriteError::Transient(error)) => {
                ingest.metrics.retries.with_label_values(&["away"]).inc();
                tracing::warn!(cause = failure::without_data(&error), "batch not written, trying again");
                tokio::select! {
                    // The next owner reads it again.
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(LONGEST_BACKOFF);
            }
        }
    }
}

/// What the guard must find for the batch's partitions; those whose pass is over are left out of the batch.
fn claim(ingest: &Ingest, batch: &mut Batch) -> Vec<Claim> {
    let holdings = ingest.holdings();
    let mut claims = Vec::with_capacity(batch.0.len());
    batch.0.retain(|partition, (pass, entries)| {
        let standing = holdings.standing(*partition, *pass);
        let claim = standing.zip(entries.last()).map(|(standing, last)| Claim { standing, upto: last.id });
        claims.extend(claim);
        claim.is_some()
    });
    claims
}

/// Tells Redis of each partition's watermark. One that did not take it is settled again: what lies above the
/// watermark it holds is read once more, and with it come its exceptions.
async fn tell_stored(ingest: &Ingest, claims: &[Claim], exceptions: Vec<Exception>) {
    let mut by_partition: BTreeMap<Partition, Vec<(String, String)>> = BTreeMap::new();
    for Exception { partition, room, seq, outcome } in exceptions {
        by_partition.entry(partition).or_default().push((format!("{room}\u{1f}{seq}"), outcome));
        ingest.to_tell.notify_one();
    }
    let session = ingest.log.session().await.ok();
    let tells = claims.iter().map(|claim| {
        let (partition, session) = (claim.standing.lease.partition, session.as_ref());
        let exceptions = by_partition.remove(&partition).unwrap_or_default();
        async move {
            let session = session.filter(|session| session.epoch == claim.standing.epoch);
            let told = match session {
                Some(session) => ingest.log.tell_stored(session, partition, claim.upto, &exceptions).await,
                None => Ok(false),
            };
            (partition, told)
        }
    });
    for (partition, told) in join_all(tells).await {
        if !matches!(told, Ok(true)) {
            tracing::info!(partition = partition.0, ?told, "the watermark was not taken: settling again");
            ingest.holdings().unsettle(partition, Instant::now(), REFUSED_PAUSE);
        }
    }
}

fn count(ingest: &Ingest, records: usize, written: &Written) {
    let metrics = &ingest.metrics;
    metrics.batch_records.observe(records as f64);
    metrics.messages.inc_by(written.messages as u64);
    metrics.events.inc_by(written.events as u64);
    metrics.voids.inc_by(written.voids as u64);
    metrics.dead_letters.inc_by(written.dead_letters as u64);
    metrics.passed_over.inc_by(written.passed_over as u64);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidings_shared::log::IngestId;

    use super::*;

    fn batch(sizes: &[(u16, u64)]) -> Batch {
        let entry = |partition, ms| Entry::read(Partition(partition), IngestId { ms, n: 0 }, Bytes::new());
        let entries = |(partition, size): &(u16, u64)| {
            (Partition(*partition), (1, (1..=*size).map(|ms| entry(*partition, ms)).collect()))
        };
        Batch(sizes.iter().map(entries).collect())
    }

    fn ids(batch: &Batch) -> Vec<(u16, u64)> {
        let entries = batch.0.values().flat_map(|(_, entries)| entries);
        entries.map(|entry| (entry.partition.0, entry.id.ms)).collect()
    }

    #[test]
    fn the_halves_of_a_batch_are_all_of_it_in_order() {
        for sizes in [&[(1, 2)][..], &[(1, 1), (2, 1)], &[(1, 5), (2, 1), (7, 4)], &[(3, 1000)]] {
            let whole = batch(sizes);
            let (all, records) = (ids(&whole), whole.records());
            let (first, second) = whole.halve();
            assert_eq!([ids(&first), ids(&second)].concat(), all);
            assert_eq!((first.records(), second.records()), (records / 2, records - records / 2));
        }
    }
}
