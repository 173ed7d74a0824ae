//! Reads the ingest streams of the settled partitions on a separate connection. The connection must lead to the Redis
//! process of the session, because records of another process must never count as records of this one. Uses no consumer
//! group, because the stored watermark is the position.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use tidings_shared::log::{
    IngestId, Session, connect_to_process,
    keys::{COMMON_PARTITION, Partition},
};
use tidings_shared::sabotage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Ingest, owned_partitions::ReadPosition, redacted_cause};
use crate::batch::IngestEntry;

/// Maximum number of records in one batch and in one read.
pub(super) const MAX_BATCH_RECORDS: usize = 1000;
/// How long a read waits for records. Then the reader looks for changed positions. Far below the connection's response
/// timeout.
const BLOCK_MS: u64 = 100;
/// Maximum number of bytes of one read, estimated from the sizes of earlier records.
const MAX_READ_BYTES: usize = 8 * 1024 * 1024;
/// Smallest estimate of the size of a record.
const MIN_RECORD_ESTIMATE_BYTES: usize = 4 * 1024;
/// Maximum number of bytes that may wait between reader and writer.
const MAX_BUFFERED_BYTES: usize = 32 * 1024 * 1024;
/// Pause after a failed read, and while no stream can be read.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The records that one read returned from the stream of one partition, in order.
#[derive(Debug)]
pub(super) struct PartitionRead {
    pub partition: Partition,
    pub pass: u64,
    /// The position after which the stream was read. No record lies between this position and the first entry.
    pub after: IngestId,
    pub entries: Vec<IngestEntry>,
}

/// The result of one read. While a chunk waits between reader and writer, it holds permits for its bytes.
#[derive(Debug)]
pub(super) struct Chunk {
    pub reads: Vec<PartitionRead>,
    /// The reader waits until the writer drops this permit. None if the reader continues without waiting, because more
    /// records may wait in Redis.
    pub reader_permit: Option<OwnedSemaphorePermit>,
    _bytes_permit: OwnedSemaphorePermit,
}

impl Chunk {
    pub fn record_count(&self) -> usize {
        self.reads.iter().map(|read| read.entries.len()).sum()
    }
}

struct StreamConnection {
    session: Arc<Session>,
    connection: MultiplexedConnection,
}

/// Reads chunks and sends them to the writer, until `stop` is cancelled or the writer has ended.
pub(super) async fn read_streams(ingest: Arc<Ingest>, chunks: mpsc::Sender<Chunk>, stop: CancellationToken) {
    let buffered_bytes = Arc::new(Semaphore::new(MAX_BUFFERED_BYTES));
    let reader_permits = Arc::new(Semaphore::new(1));
    let mut source = None;
    let mut largest = RecordSizeEstimate(MIN_RECORD_ESTIMATE_BYTES);
    let mut reader_permit = None;
    let mut read_ahead = false;
    while !stop.is_cancelled() {
        // Waits while a batch is written, because records that gather in Redis meanwhile are cheaper to read than
        // single ones.
        if reader_permit.is_none() && !read_ahead {
            reader_permit =
                stop.run_until_cancelled(reader_permits.clone().acquire_owned()).await.and_then(Result::ok);
            if reader_permit.is_none() {
                return;
            }
        }
        let mut reads = match read_once(&ingest, &mut source, largest.0).await {
            Ok(Some(reads)) => reads,
            Ok(None) => {
                let _ = tokio::time::timeout(RETRY_PAUSE, ingest.wake_reader.notified()).await;
                continue;
            }
            Err(cause) => {
                tracing::debug!(cause, "ingest streams cannot be read");
                source = None;
                largest.double();
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
        };
        reads.retain(|read| {
            let last = read.entries.last();
            last.is_some_and(|last| ingest.owned().advance_read(read.partition, read.pass, last.id))
        });
        if reads.is_empty() {
            continue;
        }
        let sizes = || reads.iter().flat_map(|read| &read.entries).map(|entry| entry.raw.len());
        // After a read that returned half of its limit, more records may wait. The reader reads them while the writer
        // writes.
        let limit = max_records(largest.0) / 2;
        largest.update(sizes());
        let bytes = u32::try_from(sizes().sum::<usize>().min(MAX_BUFFERED_BYTES)).unwrap_or(u32::MAX);
        read_ahead = sizes().count() >= limit.max(2);
        let reader_permit = reader_permit.take().filter(|_| !read_ahead);
        let sent = async {
            let permit = buffered_bytes.clone().acquire_many_owned(bytes).await.ok()?;
            chunks.send(Chunk { reads, reader_permit, _bytes_permit: permit }).await.ok()
        };
        tokio::select! {
            // The next owner of the partitions reads the records that the writer did not get.
            () = stop.cancelled() => return,
            sent = sent => if sent.is_none() { return },
        }
    }
}

/// The expected size of the largest record in bytes: the largest size in the last read, at least
/// [`MIN_RECORD_ESTIMATE_BYTES`]. Doubles after a failed read, because the read may have been too large; the next read
/// then requests fewer records.
struct RecordSizeEstimate(usize);

impl RecordSizeEstimate {
    fn update(&mut self, sizes: impl Iterator<Item = usize>) {
        self.0 = sizes.max().unwrap_or_default().max(MIN_RECORD_ESTIMATE_BYTES);
    }

    fn double(&mut self) {
        self.0 = (self.0 * 2).min(MAX_READ_BYTES);
    }
}

/// Reads once from all settled streams. None if there is no stream to read.
async fn read_once(
    ingest: &Ingest,
    source: &mut Option<StreamConnection>,
    largest: usize,
) -> Result<Option<Vec<PartitionRead>>, String> {
    // There is one Redis, so all partitions have the same session.
    let session = ingest.log.session(COMMON_PARTITION).await.map_err(|error| error.to_string())?;
    if source.as_ref().is_none_or(|source| !Arc::ptr_eq(&source.session, &session)) {
        *source = Some(connect_stream(ingest, session).await?);
    }
    let Some(StreamConnection { session, connection }) = source else { return Ok(None) };
    let positions = {
        let mut owned = ingest.owned();
        if owned.unsettle_earlier_epochs(session.epoch, Instant::now()) {
            ingest.wake_settler.notify_one();
        }
        owned.read_positions(session.epoch)
    };
    if positions.is_empty() {
        return Ok(None);
    }
    let limit = records_per_stream(positions.len(), largest);
    let mut reads = xread(connection, &positions, limit, true).await?;
    let more = positions_of_full_streams(&reads, limit);
    let remaining = max_records(largest).saturating_sub(reads.iter().map(|read| read.entries.len()).sum());
    if !more.is_empty() && remaining >= more.len() {
        // Reads more from the streams that returned as many records as requested. The others have no further records.
        for read in xread(connection, &more, remaining / more.len(), false).await? {
            match reads.iter_mut().find(|first| first.partition == read.partition) {
                Some(first) => first.entries.extend(read.entries),
                None => reads.push(read),
            }
        }
    }
    Ok(Some(reads))
}

/// Reads up to `count` records of each stream after these positions. With `block`, waits up to `BLOCK_MS` for a record.
async fn xread(
    connection: &mut MultiplexedConnection,
    positions: &[ReadPosition],
    count: usize,
    block: bool,
) -> Result<Vec<PartitionRead>, String> {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(count);
    if block {
        command.arg("BLOCK").arg(BLOCK_MS);
    }
    command.arg("STREAMS");
    for position in positions {
        command.arg(position.partition.ingest());
    }
    for position in positions {
        command.arg(position.after.to_string());
    }
    let answer: Result<Option<StreamEntries>, _> = command.query_async(connection).await;
    let streams = answer.map_err(|error| redacted_cause(&error))?;
    Ok(partition_reads(positions, streams.unwrap_or_default()))
}

/// The next positions of the streams that returned as many records as requested.
fn positions_of_full_streams(reads: &[PartitionRead], limit: usize) -> Vec<ReadPosition> {
    let full = reads.iter().filter(|read| read.entries.len() >= limit);
    let position = |read: &PartitionRead| {
        let after = read.entries.last().map_or(read.after, |last| last.id);
        ReadPosition { partition: read.partition, pass: read.pass, after }
    };
    full.map(position).collect()
}

/// The entries of each stream, by key. An entry is an id and its fields.
type StreamEntries = Vec<(String, Vec<(String, Vec<Bytes>)>)>;

async fn connect_stream(ingest: &Ingest, session: Arc<Session>) -> Result<StreamConnection, String> {
    let reached = connect_to_process(&ingest.redis, AsyncConnectionConfig::new()).await;
    let (connection, process) = reached.map_err(|error| error.to_string())?;
    if process.run_id != session.run_id()
        && !sabotage::is_removed("the reader reads from the session's process")
    {
        // The address leads to another Redis process, so the session has ended.
        ingest.log.discard(&session);
        return Err("the address leads to another Redis process than the session's".to_owned());
    }
    Ok(StreamConnection { session, connection })
}

/// The maximum number of records of one read, if the largest record has this size.
fn max_records(largest_bytes: usize) -> usize {
    MAX_BATCH_RECORDS.min(MAX_READ_BYTES / largest_bytes.max(1))
}

/// The number of records to request from each of `streams` streams, at least 1.
fn records_per_stream(streams: usize, largest_bytes: usize) -> usize {
    (max_records(largest_bytes) / streams).max(1)
}

fn partition_reads(positions: &[ReadPosition], streams: StreamEntries) -> Vec<PartitionRead> {
    let mut reads = Vec::with_capacity(streams.len());
    for (key, entries) in streams {
        let Some(position) = positions.iter().find(|position| position.partition.ingest() == key) else {
            continue;
        };
        let partition = position.partition;
        let entry = |(id, mut fields): (String, Vec<Bytes>)| {
            // Parsing never fails, because Redis returns only ids of this form.
            let id: IngestId = id.parse().ok()?;
            Some(IngestEntry::parse(partition, id, fields.pop().unwrap_or_default()))
        };
        let entries = entries.into_iter().filter_map(entry).collect();
        reads.push(PartitionRead { partition, pass: position.pass, after: position.after, entries });
    }
    reads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_streams_or_large_records_reduce_the_read_size() {
        assert_eq!(records_per_stream(1, 300), MAX_BATCH_RECORDS);
        assert_eq!(records_per_stream(64, 300), 15);
        assert!(records_per_stream(64, 300) * 64 <= MAX_BATCH_RECORDS);
        assert_eq!(records_per_stream(1, 64 * 1024), 128);
        assert_eq!(records_per_stream(64, 4 * 1024 * 1024), 1);
    }

    #[test]
    fn failed_reads_shrink_until_one_succeeds() {
        let mut largest = RecordSizeEstimate(MIN_RECORD_ESTIMATE_BYTES);
        assert_eq!(records_per_stream(1, largest.0), MAX_BATCH_RECORDS);
        let mut counts = Vec::new();
        for _ in 0..12 {
            largest.double();
            counts.push(records_per_stream(1, largest.0));
        }
        assert!(counts.is_sorted_by(|a, b| a >= b) && counts.ends_with(&[2, 1, 1]), "{counts:?}");
        largest.update([300, 70_000].into_iter());
        assert_eq!(records_per_stream(1, largest.0), MAX_READ_BYTES / 70_000);
        largest.update(std::iter::empty());
        assert_eq!(records_per_stream(1, largest.0), MAX_BATCH_RECORDS);
    }

    #[test]
    fn entries_belong_to_the_pass_of_their_request() {
        let after = IngestId { ms: 4, n: 2 };
        let position = |partition, pass| ReadPosition { partition, pass, after };
        let positions = [position(Partition(3), 7), position(Partition(4), 9)];
        let entry = |id: &str| (id.to_owned(), vec![Bytes::from_static(b"r"), Bytes::from_static(b"record")]);
        let streams = vec![(Partition(4).ingest().to_owned(), vec![entry("5-0"), entry("5-1")])];
        let reads = partition_reads(&positions, streams);
        assert_eq!((reads.len(), reads[0].partition, reads[0].pass), (1, Partition(4), 9));
        assert_eq!(reads[0].after, after);
        let ids: Vec<String> = reads[0].entries.iter().map(|entry| entry.id.to_string()).collect();
        assert_eq!(ids, ["5-0", "5-1"]);
        assert_eq!(reads[0].entries[0].raw, "record");
    }
}
