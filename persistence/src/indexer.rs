//! Keeps the search index up to date with the stored logs. Runs in the background, in batches of rooms; each replica
//! indexes the rooms that it wrote. Two replicas may index the same room, but never the same range of its log. No
//! changed room stays unindexed, even if a replica crashes, because all rooms are scanned: at the start, when a
//! partition is taken over from another replica, and at intervals by one elected replica. The elected replica also
//! rebuilds blocks whose signatures are outdated.

mod changed_rooms;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sea_orm::{DatabaseConnection, DbErr};
use tidings_shared::ids::RoomId;
use tokio_util::sync::CancellationToken;

pub use changed_rooms::ChangedRooms;
use changed_rooms::UnindexedRoom;

use crate::metrics::Metrics;
use crate::writer::search::Block;
use crate::writer::{failure, leases, limit::within, search};

/// Maximum number of blocks, and of rooms, that one transaction indexes.
const MAX_BLOCKS_PER_TRANSACTION: i64 = 64;
const MAX_ROOMS_PER_TRANSACTION: usize = 64;
/// Pause between two turns of the indexer while rooms are due.
const TURN_PAUSE: Duration = Duration::from_millis(20);
/// After this time a turn of the indexer starts no further transaction, because the scan of all rooms must continue.
const TURN_DURATION: Duration = Duration::from_millis(250);
/// How long one transaction may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// First and longest pause after a failure.
const RETRY_BACKOFF: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(10)];
/// Interval of the scan of all rooms, the number of rooms in its pages, and the pause between pages.
const SCAN_INTERVAL: Duration = Duration::from_secs(600);
const SCAN_PAGE_ROOMS: i64 = 1000;
const SCAN_PAUSE: Duration = Duration::from_millis(50);
/// The scan pauses while more rooms than this are due to be indexed.
const MAX_DUE_ROOMS_FOR_SCAN: usize = 2000;
const IDLE_PAUSE: Duration = Duration::from_millis(250);
/// Pause before a replica asks, for the first time and again, whether it is elected to rebuild outdated blocks. Right
/// after a start other work is more urgent.
const ELECTION_PAUSE: Duration = Duration::from_secs(10);

/// The background task that updates the search index.
pub struct Indexer {
    pub db: DatabaseConnection,
    pub changed_rooms: Arc<ChangedRooms>,
    pub metrics: Metrics,
    pub replica: String,
}

/// The progress of the scan of all rooms.
enum ScanState {
    /// When the last scan was finished.
    Done(Instant),
    After {
        room: String,
        /// Whether another replica may have stopped before it indexed its rooms.
        abandoned: bool,
    },
}

impl ScanState {
    fn begin(abandoned: bool) -> Self {
        Self::After { room: String::new(), abandoned }
    }
}

/// The progress of rebuilding outdated blocks.
struct OutdatedScan {
    /// The last block that was rebuilt, or that cannot be rebuilt.
    after: Block,
    /// Number of blocks of the next transaction: fewer after a failure, to find the block that fails.
    limit: i64,
    due: Instant,
}

impl OutdatedScan {
    fn begin(due: Instant) -> Self {
        Self { after: Block::default(), limit: MAX_BLOCKS_PER_TRANSACTION, due }
    }

    fn is_due(&self) -> bool {
        self.due <= Instant::now()
    }
}

impl Indexer {
    /// Indexes until `stop` is cancelled. Rooms that are not indexed by then are found by the scans of other replicas.
    pub async fn run(self, stop: CancellationToken) {
        let _ = stop.run_until_cancelled(self.index_forever()).await;
    }

    async fn index_forever(&self) {
        let mut scan = ScanState::begin(true);
        let mut outdated = OutdatedScan::begin(Instant::now() + ELECTION_PAUSE);
        let mut backoff = RETRY_BACKOFF[0];
        let mut left = false;
        loop {
            let pause = match scan {
                _ if left => TURN_PAUSE,
                _ if outdated.is_due() => SCAN_PAUSE,
                ScanState::After { .. } => SCAN_PAUSE,
                ScanState::Done(_) => IDLE_PAUSE,
            };
            tokio::time::sleep(pause).await;
            let done = async {
                left = self.index_due().await?;
                self.scan_next_page(&mut scan).await?;
                self.rebuild_next_blocks(&mut outdated).await
            };
            match done.await {
                Ok(()) => backoff = RETRY_BACKOFF[0],
                Err(error) => {
                    failure::log_failure(&error, "the search index cannot be updated; retrying");
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(RETRY_BACKOFF[1]);
                }
            }
        }
    }

    /// Indexes the rooms that are due, for the time of one turn. Returns whether some of them are left.
    async fn index_due(&self) -> Result<bool, DbErr> {
        let begun = Instant::now();
        // Rooms that become due during this turn wait for the next turn.
        let mut left = self.report_due();
        while left > 0 && begun.elapsed() < TURN_DURATION {
            let rooms = self.changed_rooms.take_due(left.min(MAX_ROOMS_PER_TRANSACTION), begun);
            if rooms.is_empty() {
                break;
            }
            left -= rooms.len();
            left += self.index(rooms, begun).await?;
            self.report_due();
        }
        Ok(left > 0)
    }

    /// Sets the metrics, and returns the number of rooms that are due.
    fn report_due(&self) -> usize {
        let (due, since) = self.changed_rooms.due_summary(Instant::now());
        self.metrics.search_lag_seconds.set(since.map_or(0.0, |since| since.elapsed().as_secs_f64()));
        self.metrics.search_rooms_waiting.set(i64::try_from(due).unwrap_or(i64::MAX));
        due
    }

    /// Indexes these rooms, in a turn that began at `turn`. Puts rooms that are not indexed up to `UnindexedRoom::upto`
    /// back into the queue, and returns their number. After a connection error puts all remaining rooms back.
    async fn index(&self, rooms: Vec<(RoomId, UnindexedRoom)>, turn: Instant) -> Result<usize, DbErr> {
        let mut behind = 0;
        let mut left = vec![(rooms, MAX_BLOCKS_PER_TRANSACTION)];
        while let Some((mut rooms, blocks)) = left.pop() {
            let due = rooms.iter().map(|(room, waiting)| (room.clone(), waiting.upto())).collect::<Vec<_>>();
            match within(ANSWER_DEADLINE, search::index_rooms(&self.db, &due, blocks)).await {
                Ok(indexed) => {
                    self.metrics.search_indexed.inc_by(indexed.messages as u64);
                    rooms.retain(|(room, _)| indexed.behind.contains(room));
                    behind += rooms.len();
                    self.changed_rooms.put_back(rooms, turn);
                }
                Err(error) if failure::is_connection_error(&error) => {
                    let rest = left.into_iter().flat_map(|(rooms, _)| rooms);
                    self.changed_rooms.put_back(rooms.into_iter().chain(rest), turn);
                    return Err(error);
                }
                // Splits the rooms to find the one that fails, because that room must not block the others. A single
                // room is tried again with one block, because edits in many blocks may rewrite too many blocks for one
                // transaction.
                Err(_) if rooms.len() == 1 && blocks > 1 => left.push((rooms, 1)),
                Err(error) if rooms.len() == 1 => {
                    let (cause, room) = (failure::redacted_cause(&error), &rooms[0].0);
                    tracing::error!(cause, %room, "a room cannot be indexed for search");
                    self.metrics.search_failures.inc();
                }
                Err(_) => {
                    let second = rooms.split_off(rooms.len() / 2);
                    left.extend([(second, blocks), (rooms, blocks)]);
                }
            }
        }
        Ok(behind)
    }

    /// Scans the next page of all rooms, if the scan is due.
    async fn scan_next_page(&self, scan: &mut ScanState) -> Result<(), DbErr> {
        if self.changed_rooms.take_scan_request() {
            *scan = ScanState::begin(true);
        }
        if let ScanState::Done(at) = scan {
            if self.changed_rooms.take_overflow() {
                *scan = ScanState::begin(false);
            } else if at.elapsed() >= SCAN_INTERVAL {
                // Only the elected replica scans. The others check again after the next interval.
                let elected = within(ANSWER_DEADLINE, leases::is_elected(&self.db, &self.replica)).await?;
                *scan = if elected { ScanState::begin(false) } else { ScanState::Done(Instant::now()) };
            }
        }
        let ScanState::After { room, abandoned } = scan else { return Ok(()) };
        if self.report_due() > MAX_DUE_ROOMS_FOR_SCAN {
            return Ok(());
        }
        let page = within(ANSWER_DEADLINE, search::rooms_behind(&self.db, room, SCAN_PAGE_ROOMS)).await?;
        *scan = match page {
            Some((last, behind)) => {
                let (now, abandoned) = (Instant::now(), *abandoned);
                for (room, first, head) in behind {
                    self.changed_rooms.add_range(room, first, head, abandoned, now);
                }
                ScanState::After { room: last, abandoned }
            }
            None => ScanState::Done(Instant::now()),
        };
        Ok(())
    }

    /// Rebuilds the next outdated blocks if the scan for them is due. It is one transaction between two turns of the
    /// indexer, so that new messages do not wait.
    async fn rebuild_next_blocks(&self, scan: &mut OutdatedScan) -> Result<(), DbErr> {
        if !scan.is_due() {
            return Ok(());
        }
        if !within(ANSWER_DEADLINE, leases::is_elected(&self.db, &self.replica)).await? {
            scan.due = Instant::now() + ELECTION_PAUSE;
            return Ok(());
        }
        let find = search::outdated_blocks(&self.db, &scan.after, scan.limit);
        let blocks = within(ANSWER_DEADLINE, find).await?;
        let (Some(last), count) = (blocks.last().cloned(), blocks.len()) else {
            // Nodes of the previous version may still write such blocks, and a block that failed is tried again.
            *scan = OutdatedScan::begin(Instant::now() + SCAN_INTERVAL);
            return Ok(());
        };
        match within(ANSWER_DEADLINE, search::rebuild(&self.db, BTreeSet::from_iter(blocks))).await {
            Ok(messages) => {
                self.metrics.search_indexed.inc_by(messages as u64);
                scan.limit = (scan.limit * 2).min(MAX_BLOCKS_PER_TRANSACTION);
            }
            Err(error) if failure::is_connection_error(&error) => return Err(error),
            Err(_) if count > 1 => {
                scan.limit = (scan.limit / 2).max(1);
                return Ok(());
            }
            Err(error) => {
                let (cause, room) = (failure::redacted_cause(&error), &last.room);
                tracing::error!(cause, %room, "an outdated block cannot be indexed for search");
                self.metrics.search_failures.inc();
            }
        }
        scan.after = last;
        Ok(())
    }
}
