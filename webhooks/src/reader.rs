//! Reads the feed for each endpoint, and queues its events. A page, its events and the cursor behind it are one
//! transaction, so that no event is missed and none is queued twice by a page. All replicas read; the lock of the
//! endpoint's row lets one of them read at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr, TransactionTrait};
use tidings_persistence::database::{STEP_TIMEOUT, within};
use tidings_persistence::query::feed::{FeedCursor, FeedFilter, LogRange, is_on, page, stored_end};
use tidings_persistence::writer::failure::redacted_cause;
use tidings_shared::ids::RoomId;
use tidings_shared::log::keys::Partition;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::endpoint::{Endpoint, reason};
use crate::metrics::Metrics;
use crate::sender::message::range_of;
use crate::sender::{self, Sending};
use crate::store::{deliveries, endpoints, totals};

/// How often the end of the feed is read: one statement for all endpoints.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Events of a page.
const PAGE_EVENTS: i64 = 200;
/// Pages of one endpoint in a turn. The other endpoints come next.
const PAGES_PER_TURN: usize = 5;

/// The limits of an endpoint's deliveries.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryLimits {
    pub pending: i64,
    pub dead: i64,
}

/// Reads the feed, and runs a sender for each enabled endpoint.
pub struct Reader {
    pub db: DatabaseConnection,
    pub sending: Arc<Sending>,
    pub limits: DeliveryLimits,
    pub metrics: Metrics,
    pub tasks: TaskTracker,
    senders: BTreeMap<String, RunningSender>,
}

struct RunningSender {
    wake: Arc<Notify>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    /// Whether the last read of the feed for its endpoint failed.
    is_unread: bool,
}

impl Reader {
    pub fn new(sending: Arc<Sending>, limits: DeliveryLimits, tasks: TaskTracker) -> Self {
        let (db, metrics) = (sending.db.clone(), sending.metrics.clone());
        Self { db, sending, limits, metrics, tasks, senders: BTreeMap::new() }
    }

    /// Reads until `stop` is cancelled, and then stops the senders.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut was_failing = false;
        while !stop.is_cancelled() {
            let turn = self.turn(&stop).await;
            if let Err(error) = &turn {
                self.metrics.failures.inc();
                if !was_failing {
                    tracing::warn!(cause = redacted_cause(error), "the feed could not be read; trying again");
                }
            }
            was_failing = turn.is_err();
            tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn turn(&mut self, stop: &CancellationToken) -> Result<(), DbErr> {
        let all = within(STEP_TIMEOUT, endpoints::list(&self.db)).await?;
        let enabled: Vec<&Endpoint> =
            all.iter().filter(|endpoint| endpoint.disabled_because.is_none()).collect();
        self.update_senders(&enabled, stop);
        // While the feed is off, there is no order to follow. The cursors wait.
        if enabled.is_empty() || !within(STEP_TIMEOUT, is_on(&self.db)).await? {
            return Ok(());
        }
        let end = within(STEP_TIMEOUT, stored_end(&self.db, Partition::all())).await?;
        for endpoint in enabled {
            if stop.is_cancelled() {
                break;
            }
            let Some(cursor) = FeedCursor::parse(&endpoint.cursor) else {
                tracing::error!(webhook = endpoint.id, "the stored cursor cannot be read");
                continue;
            };
            if cursor.is_before(&end) {
                // An error at one endpoint must not keep the others from their events.
                let read = self.read_pages(&endpoint.id).await;
                self.record(&endpoint.id, &read);
            }
        }
        Ok(())
    }

    /// Starts a sender for each enabled endpoint that has none, and forgets those of the others, which end by themselves.
    fn update_senders(&mut self, enabled: &[&Endpoint], stop: &CancellationToken) {
        self.senders.retain(|id, sender| {
            let wanted = enabled.iter().any(|endpoint| endpoint.id == *id);
            if !wanted {
                sender.stop.cancel();
            }
            wanted && !sender.task.is_finished()
        });
        for endpoint in enabled {
            self.senders.entry(endpoint.id.clone()).or_insert_with(|| {
                let (wake, stop) = (Arc::new(Notify::new()), stop.child_token());
                let sender =
                    sender::run(self.sending.clone(), endpoint.id.clone(), wake.clone(), stop.clone());
                RunningSender { wake, stop, task: self.tasks.spawn(sender), is_unread: false }
            });
        }
    }

    /// Counts a failure of an endpoint, and logs the first one.
    fn record(&mut self, webhook: &str, read: &Result<(), DbErr>) {
        let Some(sender) = self.senders.get_mut(webhook) else { return };
        if let Err(error) = read {
            self.metrics.failures.inc();
            if !sender.is_unread {
                let cause = redacted_cause(error);
                tracing::warn!(webhook, cause, "the feed could not be read for an endpoint; trying again");
            }
        }
        sender.is_unread = read.is_err();
    }

    async fn read_pages(&self, webhook: &str) -> Result<(), DbErr> {
        for _ in 0..PAGES_PER_TURN {
            let more = within(STEP_TIMEOUT, self.read_page(webhook)).await?;
            if let Some(sender) = self.senders.get(webhook) {
                sender.wake.notify_one();
            }
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// Queues the events of the next page. Returns whether more pages may follow at once.
    async fn read_page(&self, webhook: &str) -> Result<bool, DbErr> {
        let transaction = self.db.begin().await?;
        let Some(endpoint) = endpoints::lock_enabled(&transaction, webhook).await? else { return Ok(false) };
        let totals = totals::of_endpoint(&transaction, webhook).await?;
        if totals.dead >= self.limits.dead {
            endpoints::disable(&transaction, webhook, reason::DEAD_LETTERS, None).await?;
            transaction.commit().await?;
            tracing::warn!(webhook, "the endpoint has too many dead letters and is disabled");
            return Ok(false);
        }
        if totals.pending >= self.limits.pending {
            return Ok(false);
        }
        let Some(cursor) = FeedCursor::parse(&endpoint.cursor) else { return Ok(false) };
        let only_room = endpoint.rooms.first().filter(|_| endpoint.rooms.len() == 1);
        let filter = FeedFilter {
            room: only_room.and_then(|room| RoomId::parse(room).ok()),
            types: endpoint.types.clone(),
        };
        let limit = PAGE_EVENTS.min(self.limits.pending - totals.pending);
        let found = page(&transaction, cursor, &filter, limit).await?;
        let ranges: Result<Vec<LogRange>, _> = found.entries.iter().map(range_of).collect();
        let mut wanted = ranges.map_err(|error| DbErr::Custom(format!("an entry of the feed: {error}")))?;
        wanted.retain(|range| endpoint.wants_room(range.room.as_str()));
        let queued = deliveries::insert(&transaction, webhook, &wanted).await?;
        endpoints::set_cursor(&transaction, webhook, &found.cursor.to_string()).await?;
        transaction.commit().await?;
        self.metrics.queued.inc_by(queued);
        Ok(found.more)
    }
}
