//! Wakes the requests for the feed that wait for events. One task of the process reads the last positions of the feed
//! four times a second while at least one request waits, and nothing otherwise. So waiting consumers cost the database
//! no queries of their own.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tidings_shared::log::keys::Partition;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use crate::query::feed::{FeedCursor, stored_end};

const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The end of the stored events, as the task last read it. The task ends when this is dropped.
pub struct FeedWatch {
    end: watch::Receiver<Option<FeedCursor>>,
    wake: Arc<Notify>,
}

impl FeedWatch {
    /// Starts the task on the current runtime.
    pub fn start(db: DatabaseConnection) -> Self {
        let (sender, end) = watch::channel(None);
        let wake = Arc::new(Notify::new());
        tokio::spawn(poll(db, sender, wake.clone()));
        Self { end, wake }
    }

    /// Returns when events after `cursor` are stored, or at the deadline.
    pub async fn wait_after(&self, cursor: &FeedCursor, deadline: Instant) {
        // This clone counts as a waiting request until it is dropped.
        let mut end = self.end.clone();
        self.wake.notify_one();
        let has_more = |end: &Option<FeedCursor>| end.as_ref().is_some_and(|end| cursor.is_before(end));
        let _ = timeout_at(deadline, end.wait_for(has_more)).await;
    }
}

async fn poll(db: DatabaseConnection, end: watch::Sender<Option<FeedCursor>>, wake: Arc<Notify>) {
    while end.receiver_count() > 0 {
        // The receiver of `FeedWatch` waits for nothing.
        if end.receiver_count() == 1 {
            tokio::select! { () = wake.notified() => {}, () = end.closed() => {} }
            continue;
        }
        match stored_end(&db, Partition::all()).await {
            Ok(stored) => {
                end.send_if_modified(|known| known.replace(stored.clone()) != Some(stored));
            }
            Err(error) => tracing::warn!(%error, "the end of the feed could not be read"),
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
