//! Consumers of the feed: one that reads while a system stores, and one that reads what was stored before.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use hdrhistogram::Histogram;
use serde_json::Value;
use tidings_harness::Http;
use tidings_harness::feed::read_page;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const PAGE_EVENTS: u32 = 1000;
const WAIT_MS: u32 = 1000;
/// The oldest age that is recorded, in milliseconds.
const MAX_AGE_MS: u64 = 600_000;
/// How long the consumer may take to get the last events after the load has ended.
const LAST_EVENTS_TIMEOUT: Duration = Duration::from_secs(120);

/// A consumer that reads all partitions until [`Consumer::finish`].
pub struct Consumer {
    ages: Arc<Mutex<Histogram<u64>>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<u64>>,
}

impl Consumer {
    pub fn start(http: Http) -> Consumer {
        let histogram =
            Histogram::new_with_bounds(1, MAX_AGE_MS, 3).expect("bounds that hdrhistogram allows");
        let (ages, stop) = (Arc::new(Mutex::new(histogram)), Arc::new(AtomicBool::new(false)));
        let task = tokio::spawn(consume(http, ages.clone(), stop.clone()));
        Consumer { ages, stop, task }
    }

    /// Begins a new sample.
    pub fn forget_ages(&self) {
        self.ages.lock().unwrap_or_else(PoisonError::into_inner).reset();
    }

    /// Waits until this many messages of the sample have come. Returns their ages in milliseconds.
    ///
    /// # Errors
    /// When they do not come in time.
    pub async fn ages_of(&self, messages: u64) -> Result<Histogram<u64>> {
        let deadline = Instant::now() + LAST_EVENTS_TIMEOUT;
        loop {
            let ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if ages.len() >= messages {
                return Ok(ages);
            }
            ensure!(!self.task.is_finished(), "the consumer has ended");
            ensure!(Instant::now() < deadline, "{} of {messages} messages came", ages.len());
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ends the consumer. Returns the number of all events that it got.
    ///
    /// # Errors
    /// When the feed was refused.
    pub async fn finish(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

async fn consume(http: Http, ages: Arc<Mutex<Histogram<u64>>>, stop: Arc<AtomicBool>) -> Result<u64> {
    let (mut cursor, mut count) = ("start".to_owned(), 0);
    while !stop.load(Ordering::Relaxed) {
        let query = format!("cursor={cursor}&limit={PAGE_EVENTS}&wait_ms={WAIT_MS}");
        let page = read_page(&http, &query).await?;
        count += page.entries.len() as u64;
        let now = Utc::now();
        let events = page.entries.iter().filter_map(|entry| entry.get("event"));
        let mut ages = ages.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events.filter(|event| event["type"] == "message:new") {
            ages.saturating_record(age_ms(event, now)?);
        }
        drop(ages);
        cursor = page.cursor;
    }
    Ok(count)
}

/// How long ago the event got its seq, in milliseconds.
fn age_ms(event: &Value, now: DateTime<Utc>) -> Result<u64> {
    let at = event["at"].as_str().context("an event has no time")?;
    let age = now - DateTime::parse_from_rfc3339(at)?.with_timezone(&Utc);
    Ok(age.num_milliseconds().try_into().unwrap_or(0))
}

/// Reads stored events of these partitions from the start, at most about `limit`. Returns how many it got.
///
/// # Errors
/// When the feed is refused.
pub async fn read_all(http: Http, (first, last): (u32, u32), limit: u64) -> Result<u64> {
    let (mut cursor, mut count) = ("start".to_owned(), 0);
    loop {
        let query = format!("cursor={cursor}&limit={PAGE_EVENTS}&partitions={first}-{last}");
        let page = read_page(&http, &query).await?;
        count += page.entries.len() as u64;
        if !page.more || count >= limit {
            return Ok(count);
        }
        cursor = page.cursor;
    }
}
