//! Reads the feed, and queues the notifications of new messages. A page, its notifications and the cursor behind it are
//! one transaction, so no message is missed. All replicas read; the lock of the cursor lets one of them read at a time.

use std::time::Duration;

use sea_orm::{DatabaseConnection, DbErr, TransactionTrait};
use serde::Deserialize;
use tidings_persistence::database::{STEP_TIMEOUT, within};
use tidings_persistence::query::feed::{FeedCursor, FeedEntry, FeedFilter, is_on, page, stored_end};
use tidings_persistence::writer::failure::redacted_cause;
use tidings_shared::events::MESSAGE_NEW;
use tidings_shared::log::keys::Partition;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::store::queue::{self, NewMessage};
use crate::store::{MessageRules, cursor};

/// How often the reader looks for new events.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The most events of a page.
const MAX_PAGE_EVENTS: i64 = 200;

/// The number of events of the next page. It is halved when a page takes too long, so that a page that is too large for
/// the statement timeout does not hold the cursor for ever, and it grows back slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PageSize(i64);

impl PageSize {
    fn halved(self) -> Self {
        Self((self.0 / 2).max(1))
    }

    fn grown(self) -> Self {
        Self((self.0 + self.0 / 8 + 1).min(MAX_PAGE_EVENTS))
    }
}

/// Reads the feed for all devices.
pub struct Reader {
    pub db: DatabaseConnection,
    pub rules: MessageRules,
    /// Pause between a message and its notification.
    pub delay: Duration,
    /// Backpressure: the reader stops while more notifications than this are due.
    pub max_due: i64,
    pub metrics: Metrics,
}

impl Reader {
    /// Reads until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let (mut was_failing, mut size) = (false, PageSize(MAX_PAGE_EVENTS));
        while !stop.is_cancelled() {
            let read = within(STEP_TIMEOUT, self.read_page(size)).await;
            size = match &read {
                Ok(_) => size.grown(),
                // It may have taken too long, in one statement or in all together.
                Err(_) => size.halved(),
            };
            if let Err(error) = &read {
                self.metrics.failures.inc();
                if !was_failing {
                    tracing::warn!(cause = redacted_cause(error), "the feed could not be read; trying again");
                }
            }
            was_failing = read.is_err();
            if !matches!(read, Ok(true)) {
                stop.run_until_cancelled(tokio::time::sleep(POLL_INTERVAL)).await;
            }
        }
    }

    /// Queues the notifications of the next page. Returns whether more pages may follow at once.
    async fn read_page(&self, size: PageSize) -> Result<bool, DbErr> {
        // While the feed is off its events have no order, so the reader does not advance.
        if !is_on(&self.db).await? {
            return Ok(false);
        }
        let end = stored_end(&self.db, Partition::all()).await?;
        let Some(known) = cursor::get(&self.db).await? else {
            cursor::begin(&self.db, &end.to_string()).await?;
            return Ok(true);
        };
        if FeedCursor::parse(&known).is_some_and(|known| !known.is_before(&end))
            || queue::count_due(&self.db, self.max_due).await? >= self.max_due
        {
            return Ok(false);
        }
        let transaction = self.db.begin().await?;
        let Some(text) = cursor::lock(&transaction).await? else { return Ok(false) };
        let Some(from) = FeedCursor::parse(&text) else {
            return Err(DbErr::Custom("the stored cursor cannot be read".to_owned()));
        };
        let filter = FeedFilter { room: None, types: vec![MESSAGE_NEW.to_owned()] };
        let found = page(&transaction, from, &filter, size.0).await?;
        let messages = new_messages(&found.entries)?;
        let queued = queue::insert(&transaction, &messages, self.rules, self.delay).await?;
        cursor::set(&transaction, &found.cursor.to_string()).await?;
        transaction.commit().await?;
        self.metrics.queued.inc_by(queued);
        Ok(found.more)
    }
}

#[derive(Deserialize)]
struct EventPosition {
    room: String,
    seq: i64,
}

/// The messages of a page. Skips gaps, because their messages no longer exist.
fn new_messages(entries: &[FeedEntry]) -> Result<Vec<NewMessage>, DbErr> {
    let message = |event: &str| {
        let EventPosition { room, seq } = serde_json::from_str(event)
            .map_err(|error| DbErr::Custom(format!("cannot parse a feed event: {error}")))?;
        Ok(NewMessage { room, seq })
    };
    entries.iter().filter_map(|entry| entry.event.as_ref()).map(|event| message(event.get())).collect()
}

#[cfg(test)]
mod tests {
    use tidings_persistence::query::feed::FeedGap;
    use tidings_persistence::query::json::RawJson;

    use super::*;

    fn entry(text: &str) -> FeedEntry {
        FeedEntry { partition: 0, event: Some(RawJson::new(text.to_owned()).unwrap()), gap: None }
    }

    #[test]
    fn events_name_messages_and_gaps_are_left_out() {
        let gap = FeedGap { room: "r".to_owned(), after: 1, upto: 2 };
        let gap = FeedEntry { partition: 0, event: None, gap: Some(gap) };
        let found = new_messages(&[gap, entry(r#"{"type":"message:new","room":"r","seq":3}"#)]).unwrap();
        assert_eq!(found, [NewMessage { room: "r".to_owned(), seq: 3 }]);
    }

    #[test]
    fn page_size_is_halved_by_errors_and_grows_back() {
        let mut size = PageSize(MAX_PAGE_EVENTS);
        for wanted in [100, 50, 25, 12, 6, 3, 1, 1] {
            size = size.halved();
            assert_eq!(size, PageSize(wanted));
        }
        assert_eq!(size.grown(), PageSize(2));
        for _ in 0..60 {
            size = size.grown();
        }
        assert_eq!(size, PageSize(MAX_PAGE_EVENTS));
    }

    #[test]
    fn event_of_unknown_form_is_an_error_and_is_not_skipped() {
        assert!(new_messages(&[entry(r#"{"room":"r"}"#)]).is_err());
    }
}
