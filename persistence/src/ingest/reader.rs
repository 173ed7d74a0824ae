//! Reads the ingest streams of the settled partitions, with one reader for each shard. A reader has a connection of its
//! own, which must lead to the Redis process of the sessions, because records of another process must never count as
//! records of this one. Uses no consumer group, because the stored watermark is the position.

mod read_size;
mod shard_reader;
mod streams;

use std::collections::HashMap;
use std::sync::Arc;

use tidings_shared::log::{
    IngestId,
    keys::{PARTITIONS, Partition},
    shard_map::NodeAddress,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Ingest;
use crate::batch::IngestEntry;
use shard_reader::ShardReader;

/// Maximum number of records in one batch and in one read.
pub(super) const MAX_BATCH_RECORDS: usize = 1000;
/// Maximum number of chunks of one reader that wait for the writer. A reader reads the next chunk while the writer
/// writes one. Each reader has its own limit, so that no shard takes the space of another one.
const MAX_CHUNKS_OF_READER: usize = 2;
/// Capacity of the channel between the readers and the writer. It is never full, because there are at most as many
/// shards as partitions.
pub(super) const CHUNK_CHANNEL_CAPACITY: usize = PARTITIONS as usize * MAX_CHUNKS_OF_READER;
/// Maximum number of bytes of all readers that may wait for the writer.
const MAX_BUFFERED_BYTES: usize = 32 * 1024 * 1024;

/// The records that one read returned from the stream of one partition, in order.
#[derive(Debug)]
pub(super) struct PartitionRead {
    pub partition: Partition,
    pub pass: u64,
    /// The position after which the stream was read. No record lies between this position and the first entry.
    pub after: IngestId,
    pub entries: Vec<IngestEntry>,
}

/// The result of one read. While a chunk waits between reader and writer, it holds permits for its place in the queue
/// and for its bytes.
#[derive(Debug)]
pub(super) struct Chunk {
    pub reads: Vec<PartitionRead>,
    /// The reader waits until the writer drops this permit. None if the reader continues without waiting, because more
    /// records may wait in Redis.
    pub reader_permit: Option<OwnedSemaphorePermit>,
    _queue_permit: OwnedSemaphorePermit,
    _bytes_permit: OwnedSemaphorePermit,
}

impl Chunk {
    pub fn record_count(&self) -> usize {
        self.reads.iter().map(|read| read.entries.len()).sum()
    }
}

/// Runs a reader for each shard of the map. The readers send chunks to the writer until `stop` is cancelled or the
/// writer has ended.
pub(super) async fn read_streams(ingest: Arc<Ingest>, chunks: mpsc::Sender<Chunk>, stop: CancellationToken) {
    let stop_all = stop.child_token();
    let _stop_at_end = stop_all.clone().drop_guard();
    let buffered_bytes = Arc::new(Semaphore::new(MAX_BUFFERED_BYTES));
    let mut maps = ingest.log.map_watch().subscribe();
    let mut readers = JoinSet::new();
    let mut running: HashMap<NodeAddress, CancellationToken> = HashMap::new();
    loop {
        let map = maps.borrow_and_update().clone();
        let addresses = map.map(|map| map.addresses()).unwrap_or_default();
        running.retain(|address, stop| {
            let is_master = addresses.contains(address);
            if !is_master {
                stop.cancel();
            }
            is_master
        });
        for address in addresses {
            if running.contains_key(&address) {
                continue;
            }
            let stop = stop_all.child_token();
            running.insert(address.clone(), stop.clone());
            let reader = ShardReader::new(ingest.clone(), address);
            readers.spawn(reader.run(chunks.clone(), buffered_bytes.clone(), stop));
        }
        tokio::select! {
            () = stop_all.cancelled() => break,
            changed = maps.changed() => if changed.is_err() { break },
            // A reader fails only by a panic. The others must not continue without it.
            Some(ended) = readers.join_next() => if ended.is_err() { break },
        }
    }
    stop_all.cancel();
    while readers.join_next().await.is_some() {}
}
