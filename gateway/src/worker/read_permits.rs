//! Limits how many reads of rooms a worker makes at the same time. Each Redis process has its own permits, so reads of
//! a shard that is slow or away do not delay the reads of the other shards.

use std::{cell::RefCell, sync::Arc};

use rustc_hash::FxHashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The permits of one kind of read, by the `run_id` of the Redis process.
pub(super) struct ReadPermits {
    max: usize,
    by_process: RefCell<FxHashMap<Arc<str>, Arc<Semaphore>>>,
}

impl ReadPermits {
    /// Creates permits for `max` concurrent reads of each process.
    pub fn new(max: usize) -> Self {
        Self { max, by_process: RefCell::default() }
    }

    /// Waits for a permit to read from a process. The partition may have gone offline meanwhile. The result is never
    /// `None`, because no semaphore is closed.
    pub async fn acquire(&self, process: &Arc<str>) -> Option<OwnedSemaphorePermit> {
        let permits = self.permits_of(process);
        permits.acquire_owned().await.ok()
    }

    fn permits_of(&self, process: &Arc<str>) -> Arc<Semaphore> {
        let mut by_process = self.by_process.borrow_mut();
        if let Some(permits) = by_process.get(process) {
            return permits.clone();
        }
        // Removes processes without a read, because a restarted process never has its earlier id.
        by_process.retain(|_, permits| Arc::strong_count(permits) > 1);
        by_process.entry(process.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.max))).clone()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn reads_of_one_process_do_not_delay_another() {
        let permits = ReadPermits::new(1);
        let (away, near): (Arc<str>, Arc<str>) = (Arc::from("away"), Arc::from("near"));
        let held = permits.acquire(&away).await;
        assert!(permits.acquire(&away).now_or_never().is_none(), "the process has one permit");
        assert!(permits.acquire(&near).now_or_never().is_some());
        drop(held);
        assert!(permits.acquire(&away).now_or_never().is_some());
    }

    #[tokio::test]
    async fn processes_without_reads_are_forgotten() {
        let permits = ReadPermits::new(2);
        let held = permits.acquire(&Arc::from("read")).await;
        for number in 0..10 {
            drop(permits.acquire(&Arc::from(format!("process{number}"))).await);
        }
        assert_eq!(permits.by_process.borrow().len(), 2, "the one that is read, and the last");
        drop(held);
    }
}
