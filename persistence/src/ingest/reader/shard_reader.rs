//! Reads the streams of the partitions of one shard, and opens the sessions that these partitions lack.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use tidings_shared::ids::Epoch;
use tidings_shared::log::{
    BySession, Layout, connect_to_process,
    keys::{PARTITIONS, Partition},
    shard_map::{NodeAddress, ShardMap},
};
use tidings_shared::sabotage;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::read_size::RecordSizeEstimate;
use super::{Chunk, MAX_BUFFERED_BYTES, MAX_CHUNKS_OF_READER, PartitionRead, streams};
use crate::ingest::{Ingest, owned_partitions::ReadPosition, redacted_cause};

/// Pause after a failed read, and while no stream can be read.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Pause of a reader in a Redis Cluster after a read that found no record.
const EMPTY_READ_PAUSE: Duration = Duration::from_millis(10);

struct StreamConnection {
    /// The `run_id` of the sessions for which the connection was opened.
    run_id: String,
    connection: MultiplexedConnection,
}

/// Reads the streams of one shard.
pub(super) struct ShardReader {
    ingest: Arc<Ingest>,
    address: NodeAddress,
    maps: watch::Receiver<Option<Arc<ShardMap>>>,
    layout: Layout,
    /// The partitions of the shard in the present map.
    partitions: Vec<Partition>,
    /// The number of these partitions that had no session at the last read.
    without_session: usize,
    /// The task that opens missing sessions.
    opening: Option<AbortOnDropHandle<()>>,
    source: Option<StreamConnection>,
    largest: RecordSizeEstimate,
}

impl ShardReader {
    /// Creates a reader for the shard with this address, without a connection.
    pub fn new(ingest: Arc<Ingest>, address: NodeAddress) -> Self {
        let mut maps = ingest.log.map_watch().subscribe();
        maps.mark_changed();
        Self {
            ingest,
            address,
            maps,
            layout: Layout::Single,
            partitions: Vec::new(),
            without_session: 0,
            opening: None,
            source: None,
            largest: RecordSizeEstimate::default(),
        }
    }

    /// Reads chunks and sends them to the writer, until `stop` is cancelled or the writer has ended.
    pub async fn run(
        mut self,
        chunks: mpsc::Sender<Chunk>,
        buffered_bytes: Arc<Semaphore>,
        stop: CancellationToken,
    ) {
        let reader_permits = Arc::new(Semaphore::new(1));
        let queue_permits = Arc::new(Semaphore::new(MAX_CHUNKS_OF_READER));
        let mut positions_changed = self.ingest.wake_readers.subscribe();
        let mut reader_permit: Option<OwnedSemaphorePermit> = None;
        let mut read_ahead = false;
        while !stop.is_cancelled() {
            // Waits while a batch is written, because records that gather in Redis meanwhile are cheaper to read than
            // single ones.
            if reader_permit.is_none() && !read_ahead {
                reader_permit = stop
                    .run_until_cancelled(reader_permits.clone().acquire_owned())
                    .await
                    .and_then(Result::ok);
                if reader_permit.is_none() {
                    return;
                }
            }
            let mut reads = match self.read_once().await {
                Ok(Some(reads)) => reads,
                Ok(None) => {
                    let _ = tokio::time::timeout(RETRY_PAUSE, positions_changed.changed()).await;
                    continue;
                }
                Err(cause) => {
                    tracing::debug!(cause, shard = %self.address, "ingest streams cannot be read");
                    self.source = None;
                    self.largest.double();
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            };
            reads.retain(|read| {
                let last = read.entries.last();
                last.is_some_and(|last| self.ingest.owned().advance_read(read.partition, read.pass, last.id))
            });
            if reads.is_empty() {
                if self.layout == Layout::Cluster {
                    let _ = tokio::time::timeout(EMPTY_READ_PAUSE, positions_changed.changed()).await;
                }
                continue;
            }
            let sizes = || reads.iter().flat_map(|read| &read.entries).map(|entry| entry.raw.len());
            // After a read that returned half of its limit, more records may wait. The reader reads them while the
            // writer writes.
            let limit = self.largest.max_records() / 2;
            self.largest.update(sizes());
            let bytes = u32::try_from(sizes().sum::<usize>().min(MAX_BUFFERED_BYTES)).unwrap_or(u32::MAX);
            read_ahead = sizes().count() >= limit.max(2);
            let reader_permit = reader_permit.take().filter(|_| !read_ahead);
            let sent = async {
                let queue_permit = queue_permits.clone().acquire_owned().await.ok()?;
                let bytes_permit = buffered_bytes.clone().acquire_many_owned(bytes).await.ok()?;
                let chunk =
                    Chunk { reads, reader_permit, _queue_permit: queue_permit, _bytes_permit: bytes_permit };
                chunks.send(chunk).await.ok()
            };
            tokio::select! {
                // The next owner of the partitions reads the records that the writer did not get.
                () = stop.cancelled() => return,
                sent = sent => if sent.is_none() { return },
            }
        }
    }

    /// Reads once from all settled streams of the shard. None if there is no stream to read.
    async fn read_once(&mut self) -> Result<Option<Vec<PartitionRead>>, String> {
        self.update_partitions_from_map();
        let mut sessions =
            self.ingest.log.group_by_current_session(self.partitions.clone(), |partition| *partition);
        self.open_missing_sessions(&sessions);
        // While a slot moves, the session of its partition may still be at another shard.
        sessions.retain(|(session, _)| *session.address() == self.address);
        if sessions.is_empty() {
            return Ok(None);
        }
        let leads_to = |run_id: &str| sessions.iter().all(|(session, _)| session.run_id() == run_id);
        if self.source.as_ref().is_none_or(|source| !leads_to(&source.run_id)) {
            self.source = Some(self.connect(&sessions).await?);
        }
        let positions = self.read_positions(&sessions);
        if positions.is_empty() {
            return Ok(None);
        }
        let limit = self.largest.records_per_stream(positions.len());
        let mut reads = self.read(&sessions, &positions, limit, true).await?;
        let more = streams::positions_of_full_streams(&reads, limit);
        let read: usize = reads.iter().map(|read| read.entries.len()).sum();
        let remaining = self.largest.max_records().saturating_sub(read);
        if !more.is_empty() && remaining >= more.len() {
            // Reads more from the streams that returned as many records as requested. The others have no further
            // records.
            for read in self.read(&sessions, &more, remaining / more.len(), false).await? {
                match reads.iter_mut().find(|first| first.partition == read.partition) {
                    Some(first) => first.entries.extend(read.entries),
                    None => reads.push(read),
                }
            }
        }
        Ok(Some(reads))
    }

    /// Takes the partitions of the shard from the map, if the map has changed.
    fn update_partitions_from_map(&mut self) {
        if self.maps.has_changed().unwrap_or(false)
            && let Some(map) = self.maps.borrow_and_update().as_ref()
        {
            self.layout = map.layout();
            self.partitions = map.partitions_of(&self.address).iter().collect();
        }
    }

    /// Starts to open the sessions of partitions without one, unless this is running already. The reader does not wait,
    /// because other partitions of the shard may have a session. `sessions` are those of the other partitions.
    fn open_missing_sessions(&mut self, sessions: &BySession<Partition>) {
        let with_session: usize = sessions.iter().map(|(_, partitions)| partitions.len()).sum();
        let without_session = self.partitions.len() - with_session;
        if without_session < self.without_session {
            // A partition is settled only when it has a session.
            self.ingest.wake_settler.notify_one();
        }
        self.without_session = without_session;
        if without_session == 0 || self.opening.as_ref().is_some_and(|opening| !opening.is_finished()) {
            return;
        }
        let has_session = |partition: &Partition| sessions.iter().any(|(_, own)| own.contains(partition));
        let missing: Vec<Partition> =
            self.partitions.iter().copied().filter(|partition| !has_session(partition)).collect();
        let ingest = self.ingest.clone();
        self.opening = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let mut is_opened = false;
            for partition in missing {
                is_opened |= ingest.log.session(partition).await.is_ok();
            }
            if is_opened {
                ingest.wake_readers.send_replace(());
            }
        })));
    }

    /// Connects to the process of the sessions.
    async fn connect(&self, sessions: &BySession<Partition>) -> Result<StreamConnection, String> {
        let client = self.ingest.redis.at(&self.address);
        let reached = connect_to_process(&client, AsyncConnectionConfig::new()).await;
        let (connection, process) = reached.map_err(|error| error.to_string())?;
        let other = sessions.iter().filter(|(session, _)| session.run_id() != process.run_id);
        let other: Vec<_> = other.map(|(session, _)| session).collect();
        if !other.is_empty() && !sabotage::is_removed("the reader reads from the session's process") {
            // The address leads to another Redis process, so these sessions have ended.
            other.into_iter().for_each(|session| self.ingest.log.discard(session));
            return Err("the address leads to another Redis process than the session's".to_owned());
        }
        let run_id = sessions.first().map_or(process.run_id, |(session, _)| session.run_id().to_owned());
        Ok(StreamConnection { run_id, connection })
    }

    /// The positions of the partitions that are settled in the epochs of these sessions. Unsettles partitions that were
    /// settled in an earlier epoch.
    fn read_positions(&self, sessions: &BySession<Partition>) -> Vec<ReadPosition> {
        let mut epochs: [Option<Epoch>; PARTITIONS as usize] = [None; PARTITIONS as usize];
        for (session, partitions) in sessions {
            for partition in partitions {
                epochs[usize::from(partition.0)] = Some(session.epoch);
            }
        }
        let epoch_of = |partition: Partition| epochs[usize::from(partition.0)];
        let mut owned = self.ingest.owned();
        if owned.unsettle_earlier_epochs(epoch_of, Instant::now()) {
            self.ingest.wake_settler.notify_one();
        }
        owned.read_positions(epoch_of)
    }

    /// Reads up to `count` records of each stream. With `block`, a single Redis waits briefly for a record; a cluster
    /// never waits. In a cluster, a stream that cannot be read, for example because its slot moves, does not stop the
    /// reads of the other streams.
    async fn read(
        &mut self,
        sessions: &BySession<Partition>,
        positions: &[ReadPosition],
        count: usize,
        block: bool,
    ) -> Result<Vec<PartitionRead>, String> {
        let Some(StreamConnection { connection, .. }) = &mut self.source else { return Ok(Vec::new()) };
        if self.layout == Layout::Single {
            let reads = streams::read_together(connection, positions, count, block).await;
            return reads.map_err(|error| redacted_cause(&error));
        }
        let answers = streams::read_each(connection, positions, count).await;
        let (reads, errors) = answers.map_err(|error| redacted_cause(&error))?;
        for (partition, error) in &errors {
            tracing::debug!(
                cause = redacted_cause(error),
                partition = partition.0,
                "a stream cannot be read"
            );
            if let Some((session, _)) = sessions.iter().find(|(_, own)| own.contains(partition)) {
                self.ingest.log.discard_if_unusable(session, error);
            }
        }
        match errors.first() {
            Some((_, error)) if errors.len() == positions.len() => Err(redacted_cause(error)),
            _ => Ok(reads),
        }
    }
}
