//! Reads the ingest streams of the settled partitions, on a connection of its own to the very process of the
//! session: what another process holds must never be taken for it. No consumer group: places are in PostgreSQL.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use tidings_shared::log::{IngestId, Session, connect_to_process, keys::Partition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    Ingest,
    batch::Entry,
    holdings::{Holdings, Position},
    without_data,
};

/// Records that one batch holds at most, and so that are read at once.
pub(super) const BATCH_RECORDS: usize = 1000;
/// How long a read blocks: then changed positions are taken up. Far below the connection's response timeout.
const BLOCK_MS: u64 = 100;
/// What is read at once, bytes, as far as the records before tell.
const READ_BYTES: usize = 8 * 1024 * 1024;
/// What a record is taken to be as long as none was read.
const USUAL_RECORD_BYTES: usize = 4 * 1024;
/// What may lie between reader and writer, bytes.
const BETWEEN_BYTES: usize = 32 * 1024 * 1024;
/// How long to rest after a failure, or while there is nothing to read from.
const PAUSE: Duration = Duration::from_millis(100);

/// What one partition's stream gave in one pass, in order.
#[derive(Debug)]
pub(super) struct Read {
    pub partition: Partition,
    pub pass: u64,
    /// The place from which it was read: nothing lies between it and the first entry.
    pub after: IngestId,
    pub entries: Vec<Entry>,
}

/// What one reading gave. Holds its room in the memory between reader and writer.
#[derive(Debug)]
pub(super) struct Chunk {
    pub reads: Vec<Read>,
    /// Nothing more is read until the writer has let go of it. None: more may lie there, and is read meanwhile.
    pub turn: Option<OwnedSemaphorePermit>,
    _room: OwnedSemaphorePermit,
}

impl Chunk {
    pub fn records(&self) -> usize {
        self.reads.iter().map(|read| read.entries.len()).sum()
    }
}

struct Source {
    session: Arc<Session>,
    connection: MultiplexedConnection,
}

pub(super) async fn read(ingest: Arc<Ingest>, chunks: mpsc::Sender<Chunk>, stop: CancellationToken) {
    let between = Arc::new(Semaphore::new(BETWEEN_BYTES));
    let turns = Arc::new(Semaphore::new(1));
    let mut source = None;
    let mut largest = Largest::default();
    let mut turn = None;
    let mut ahead = false;
    while !stop.is_cancelled() {
        // Records gather in Redis while a batch is written: read one by one they would cost more to read than to write.
        if turn.is_none() && !ahead {
            turn = stop.run_until_cancelled(turns.clone().acquire_owned()).await.and_then(Result::ok);
            if turn.is_none() {
                return;
            }
        }
        let reads = match read_once(&ingest, &mut source, largest.0).await {
            Ok(Some(reads)) => reads,
            Ok(None) => {
                let _ = tokio::time::timeout(PAUSE, ingest.to_read.notified()).await;
                continue;
            }
            Err(cause) => {
                tracing::debug!(cause, "ingest streams cannot be read");
                source = None;
                largest.failed();
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let reads: Vec<Read> = {
            let mut holdings = ingest.holdings();
            reads.into_iter().filter(|read| took(&mut holdings, read)).collect()
        };
        if reads.is_empty() {
            continue;
        }
        let sizes = || reads.iter().flat_map(|read| &read.entries).map(|entry| entry.raw.len());
        // Where a reading gave half of what it may, more may lie behind it, which is read while this is written.
        let many = records(largest.0) / 2;
        largest.read(sizes());
        let room = u32::try_from(sizes().sum::<usize>().min(BETWEEN_BYTES)).unwrap_or(u32::MAX);
        ahead = sizes().count() >= many.max(2);
        let turn = turn.take().filter(|_| !ahead);
        let sent = async {
            let room = between.clone().acquire_many_owned(room).await.ok()?;
            chunks.send(Chunk { reads, turn, _room: room }).await.ok()
        };
        tokio::select! {
            // What was read and cannot be handed on any more is read again by the next owner.
            () = stop.cancelled() => return,
            sent = sent => if sent.is_none() { return },
        }
    }
}

/// Size of the largest record to expect, bytes: as the last reading had it, never below [`USUAL_RECORD_BYTES`]. A
/// reading that failed may have failed for its size: the next asks for less, down to one record of each stream.
struct Largest(usize);

impl Default for Largest {
    fn default() -> Self {
        Self(USUAL_RECORD_BYTES)
    }
}

impl Largest {
    fn read(&mut self, sizes: impl Iterator<Item = usize>) {
        self.0 = sizes.max().unwrap_or_default().max(USUAL_RECORD_BYTES);
    }

    fn failed(&mut self) {
        self.0 = (self.0 * 2).min(READ_BYTES);
    }
}

fn took(holdings: &mut Holdings, read: &Read) -> bool {
    read.entries.last().is_some_and(|last| holdings.was_read(read.partition, read.pass, last.id))
}

/// One reading. `None`: there is nothing that may be read.
async fn read_once(
    ingest: &Ingest,
    source: &mut Option<Source>,
    largest: usize,
) -> Result<Option<Vec<Read>>, String> {
    let session = ingest.log.session().await.map_err(|error| error.to_string())?;
    if source.as_ref().is_none_or(|source| !Arc::ptr_eq(&source.session, &session)) {
        *source = Some(connect(ingest, session).await?);
    }
    let Some(Source { session, connection }) = source else { return Ok(None) };
    let positions = {
        let mut holdings = ingest.holdings();
        if holdings.unsettle_before(session.epoch, Instant::now()) {
            ingest.to_settle.notify_one();
        }
        holdings.positions(session.epoch)
    };
    if positions.is_empty() {
        return Ok(None);
    }
    let many = count(positions.len(), largest);
    let mut reads = xread(connection, &positions, many, true).await?;
    let more = behind(&reads, many);
    let left = records(largest).saturating_sub(reads.iter().map(|read| read.entries.len()).sum());
    if !more.is_empty() && left >= more.len() {
        // Those with a crowd in one room: the others had nothing that waits.
        for read in xread(connection, &more, left / more.len(), false).await? {
            match reads.iter_mut().find(|first| first.partition == read.partition) {
                Some(first) => first.entries.extend(read.entries),
                None => reads.push(read),
            }
        }
    }
    Ok(Some(reads))
}

/// Reads behind these places; blocks only while there is nothing at all.
async fn xread(
    connection: &mut MultiplexedConnection,
    positions: &[Position],
    count: usize,
    block: bool,
) -> Result<Vec<Read>, String> {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(count);
    if block {
        command.arg("BLOCK").arg(BLOCK_MS);
    }
    command.arg("STREAMS");
    for position in positions {
        command.arg(position.partition.ingest());
    }
    let mut place = String::with_capacity(40);
    for position in positions {
        place.clear();
        // Writing to a string cannot fail.
        let _ = write!(place, "{}", position.after);
        command.arg(&place);
    }
    let answer: Result<Option<Streams>, _> = command.query_async(connection).await;
    let streams = answer.map_err(|error| without_data(&error))?;
    Ok(reads_of(positions, streams.unwrap_or_default()))
}

/// Where the streams go on that gave as many records as they were asked for.
fn behind(reads: &[Read], asked: usize) -> Vec<Position> {
    let full = reads.iter().filter(|read| read.entries.len() >= asked);
    let position = |read: &Read| {
        let after = read.entries.last().map_or(read.after, |last| last.id);
        Position { partition: read.partition, pass: read.pass, after }
    };
    full.map(position).collect()
}

/// By key: the entries, each an id and its fields.
type Streams = Vec<(String, Vec<(String, Vec<Bytes>)>)>;

async fn connect(ingest: &Ingest, session: Arc<Session>) -> Result<Source, String> {
    let reached = connect_to_process(&ingest.redis, AsyncConnectionConfig::new()).await;
    let (connection, run_id) = reached.map_err(|error| error.to_string())?;
    if run_id != session.run_id {
        // The address leads to another process by now: the session is of the past.
        ingest.log.discard(&session);
        return Err("another Redis process answers than the session's".to_owned());
    }
    Ok(Source { session, connection })
}

/// Records that one reading may give.
fn records(largest_bytes: usize) -> usize {
    BATCH_RECORDS.min(READ_BYTES / largest_bytes.max(1))
}

/// Records to ask of each stream.
fn count(streams: usize, largest_bytes: usize) -> usize {
    (records(largest_bytes) / streams).max(1)
}

fn reads_of(positions: &[Position], streams: Streams) -> Vec<Read> {
    let mut reads = Vec::with_capacity(streams.len());
    for (key, entries) in streams {
        let Some(position) = positions.iter().find(|position| position.partition.ingest() == key) else {
            continue;
        };
        let partition = position.partition;
        let entry = |(id, mut fields): (String, Vec<Bytes>)| {
            // Redis gives ids of this form only.
            let id: IngestId = id.parse().ok()?;
            Some(Entry::read(partition, id, fields.pop().unwrap_or_default()))
        };
        let entries = entries.into_iter().filter_map(entry).collect();
        reads.push(Read { partition, pass: position.pass, after: position.after, entries });
    }
    reads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_streams_or_large_records_make_small_readings() {
        assert_eq!(count(1, 300), BATCH_RECORDS);
        assert_eq!(count(64, 300), 15);
        assert!(count(64, 300) * 64 <= BATCH_RECORDS);
        assert_eq!(count(1, 64 * 1024), 128);
        assert_eq!(count(64, 4 * 1024 * 1024), 1);
    }

    #[test]
    fn readings_that_fail_become_smaller_until_one_comes_through() {
        let mut largest = Largest::default();
        assert_eq!(count(1, largest.0), BATCH_RECORDS);
        let mut counts = Vec::new();
        for _ in 0..12 {
            largest.failed();
            counts.push(count(1, largest.0));
        }
        assert!(counts.is_sorted_by(|a, b| a >= b) && counts.ends_with(&[2, 1, 1]), "{counts:?}");
        largest.read([300, 70_000].into_iter());
        assert_eq!(count(1, largest.0), READ_BYTES / 70_000);
        largest.read(std::iter::empty());
        assert_eq!(count(1, largest.0), BATCH_RECORDS);
    }

    #[test]
    fn a_stream_s_entries_are_read_in_the_pass_they_were_asked_for() {
        let after = IngestId { ms: 4, n: 2 };
        let position = |partition, pass| Position { partition, pass, after };
        let positions = [position(Partition(3), 7), position(Partition(4), 9)];
        let entry = |id: &str| (id.to_owned(), vec![Bytes::from_static(b"r"), Bytes::from_static(b"record")]);
        let streams = vec![(Partition(4).ingest().to_owned(), vec![entry("5-0"), entry("5-1")])];
        let reads = reads_of(&positions, streams);
        assert_eq!((reads.len(), reads[0].partition, reads[0].pass), (1, Partition(4), 9));
        assert_eq!(reads[0].after, after);
        let ids: Vec<String> = reads[0].entries.iter().map(|entry| entry.id.to_string()).collect();
        assert_eq!(ids, ["5-0", "5-1"]);
        assert_eq!(reads[0].entries[0].raw, "record");
    }
}
