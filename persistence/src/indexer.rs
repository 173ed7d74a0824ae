//! Brings the index of search up to what is stored, behind the writer: room by room, in batches, by each replica for
//! the rooms that it wrote. Two replicas may work on one room: each stretch of its log is done by one of them.
//! Promises that a room that went on is indexed in the end, whoever dies: all rooms are looked through at the start,
//! when partitions come from another replica, and now and then.

mod changed;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sea_orm::{DatabaseConnection, DbErr};
use tidings_shared::ids::RoomId;
use tokio_util::sync::CancellationToken;

pub use changed::Changed;

use crate::metrics::Metrics;
use crate::writer::{failure, limit::within, search};

/// Positions of logs and rooms in one transaction.
const POSITIONS_AT_ONCE: i64 = 1000;
const ROOMS_AT_ONCE: usize = 1000;
/// What is written meanwhile is indexed with it: a statement for many messages costs little more than for one.
const GATHER: Duration = Duration::from_millis(250);
/// Between two turns while something is left.
const PAUSE: Duration = Duration::from_millis(20);
/// However much comes, all rooms have their turn after so long.
const TURN: Duration = Duration::from_millis(250);
/// One transaction may take so long.
const ANSWER: Duration = Duration::from_secs(10);
const BACKOFF: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(10)];
/// All rooms are looked through so often, so many at a time, with a pause between.
const LOOK_THROUGH_EVERY: Duration = Duration::from_secs(600);
const LOOK_THROUGH_ROOMS: i64 = 1000;
const LOOK_THROUGH_PAUSE: Duration = Duration::from_millis(50);
/// No more is looked for while so many rooms wait.
const ENOUGH_WAIT: usize = 2000;
const IDLE: Duration = Duration::from_secs(1);

/// See the module.
pub struct Indexer {
    db: DatabaseConnection,
    changed: Arc<Changed>,
    metrics: Metrics,
}

/// Where the look through all rooms is.
enum Look {
    Done(Instant),
    After(String),
}

impl Indexer {
    #[must_use]
    pub fn new(db: DatabaseConnection, changed: Arc<Changed>, metrics: Metrics) -> Self {
        Self { db, changed, metrics }
    }

    /// Works until `stop`. What is left is found by whoever comes next.
    pub async fn run(self, stop: CancellationToken) {
        let _ = stop.run_until_cancelled(self.keep_up()).await;
    }

    async fn keep_up(&self) {
        let mut look = Look::After(String::new());
        let mut backoff = BACKOFF[0];
        let mut left = false;
        loop {
            let patience = match look {
                Look::After(_) => LOOK_THROUGH_PAUSE,
                Look::Done(_) => IDLE,
            };
            self.changed.until_more(patience).await;
            // What is looked through lies there already: nothing gathers.
            let gathers = !left && self.changed.len() > 0;
            tokio::time::sleep(if gathers { GATHER } else { PAUSE }).await;
            let done = async {
                left = self.index_waiting().await?;
                self.look_through(&mut look).await
            };
            match done.await {
                Ok(()) => backoff = BACKOFF[0],
                Err(error) => {
                    tracing::warn!(cause = failure::without_data(&error), "the index of search waits");
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF[1]);
                }
            }
        }
    }

    /// Indexes what waits now, for a turn. True: not all of it was done.
    async fn index_waiting(&self) -> Result<bool, DbErr> {
        let begun = Instant::now();
        self.tell_lag();
        // What comes meanwhile gathers for the next turn.
        let mut left = self.changed.len();
        while left > 0 && begun.elapsed() < TURN {
            let (rooms, since) = self.changed.take(left.min(ROOMS_AT_ONCE));
            let Some(since) = since else { break };
            left -= rooms.len();
            match self.index(&rooms, since).await {
                Ok(behind) => left += behind,
                Err(error) => {
                    self.changed.mark(rooms.iter().map(RoomId::as_str), since);
                    return Err(error);
                }
            }
            self.tell_lag();
        }
        Ok(left > 0)
    }

    fn tell_lag(&self) {
        let (rooms, since) = self.changed.waiting_since();
        self.metrics.search_lag_seconds.set(since.map_or(0.0, |since| since.elapsed().as_secs_f64()));
        self.metrics.search_rooms_waiting.set(i64::try_from(rooms).unwrap_or(i64::MAX));
    }

    /// How many of the rooms are not at their heads yet; they wait again.
    async fn index(&self, rooms: &[RoomId], since: Instant) -> Result<usize, DbErr> {
        let mut behind = 0;
        let mut left = vec![rooms];
        while let Some(rooms) = left.pop() {
            match within(ANSWER, search::index(&self.db, rooms, POSITIONS_AT_ONCE)).await {
                Ok(indexed) => {
                    self.metrics.search_indexed.inc_by(indexed.messages as u64);
                    behind += indexed.behind.len();
                    self.changed.mark(indexed.behind.iter().map(RoomId::as_str), since);
                }
                Err(error) if failure::is_of_the_connection(&error) => return Err(error),
                // One of them cannot be indexed: it must not hold up the others.
                Err(error) if rooms.len() == 1 => {
                    let (cause, room) = (failure::without_data(&error), &rooms[0]);
                    tracing::error!(cause, %room, "a room cannot be indexed for search");
                    self.metrics.search_failures.inc();
                }
                Err(_) => {
                    let (first, second) = rooms.split_at(rooms.len() / 2);
                    left.extend([first, second]);
                }
            }
        }
        Ok(behind)
    }

    /// One step of the look through all rooms, when it is due.
    async fn look_through(&self, look: &mut Look) -> Result<(), DbErr> {
        if self.changed.take_all() {
            *look = Look::After(String::new());
        }
        let after = match look {
            Look::Done(at) if at.elapsed() < LOOK_THROUGH_EVERY => return Ok(()),
            Look::Done(_) => String::new(),
            Look::After(_) if self.changed.len() > ENOUGH_WAIT => return Ok(()),
            Look::After(room) => room.clone(),
        };
        *look = match within(ANSWER, search::behind(&self.db, &after, LOOK_THROUGH_ROOMS)).await? {
            Some((last, behind)) => {
                self.changed.mark(behind.iter().map(String::as_str), Instant::now());
                Look::After(last)
            }
            None => Look::Done(Instant::now()),
        };
        Ok(())
    }
}
