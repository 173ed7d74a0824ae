//! A queue whose entries are taken in batches with pauses between them, so that the work is spread over time.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use tokio::sync::Notify;

use crate::lock::lock;

/// Pause between two batches.
const BATCH_PAUSE: Duration = Duration::from_millis(500);
/// Minimum number of entries in a batch, unless fewer are left. A long queue has larger batches, so that no queue needs
/// more than [`MAX_BATCHES`].
const MIN_BATCH_SIZE: usize = 100;
/// Maximum number of batches in which a queue is emptied, so that this takes at most a minute.
const MAX_BATCHES: usize = 120;

/// The time in which a queue with this number of entries is emptied, in ms.
pub(super) fn time_to_empty_ms(entries: usize) -> u64 {
    let pause_ms = u64::try_from(BATCH_PAUSE.as_millis()).unwrap_or(u64::MAX);
    let batches = u64::try_from(MAX_BATCHES).unwrap_or(u64::MAX);
    (u64::try_from(entries).unwrap_or(u64::MAX).saturating_mul(pause_ms) / MIN_BATCH_SIZE as u64)
        .min(batches * pause_ms)
}

#[derive(Debug)]
pub(super) struct PacedQueue<T> {
    queue: Mutex<BatchQueue<T>>,
    wake: Notify,
}

#[derive(Debug)]
struct BatchQueue<T> {
    entries: VecDeque<T>,
    batch_size: usize,
}

impl<T> Default for PacedQueue<T> {
    fn default() -> Self {
        let queue = BatchQueue { entries: VecDeque::new(), batch_size: MIN_BATCH_SIZE };
        Self { queue: Mutex::new(queue), wake: Notify::new() }
    }
}

impl<T> BatchQueue<T> {
    /// Adds entries, and adapts the batch size to the length of the queue.
    fn extend(&mut self, entries: impl IntoIterator<Item = T>) {
        self.entries.extend(entries);
        self.batch_size = MIN_BATCH_SIZE.max(self.entries.len().div_ceil(MAX_BATCHES));
    }

    fn take_batch(&mut self) -> Vec<T> {
        self.entries.drain(..self.batch_size.min(self.entries.len())).collect()
    }
}

impl<T> PacedQueue<T> {
    pub fn extend(&self, entries: impl IntoIterator<Item = T>) {
        lock(&self.queue).extend(entries);
        self.wake.notify_one();
    }

    /// Removes the entries for which `keep` returns false.
    pub fn retain(&self, keep: impl FnMut(&T) -> bool) {
        lock(&self.queue).entries.retain(keep);
    }

    /// Passes the entries to `handle`, batch by batch, until `handle` returns false.
    pub async fn run(&self, mut handle: impl FnMut(Vec<T>) -> bool) {
        loop {
            let batch = lock(&self.queue).take_batch();
            if batch.is_empty() {
                self.wake.notified().await;
                continue;
            }
            if !handle(batch) {
                return;
            }
            tokio::time::sleep(BATCH_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_to_empty_grows_with_entries_up_to_a_minute() {
        assert_eq!([0, 1, 1_000, 12_000, 1_000_000].map(time_to_empty_ms), [0, 5, 5_000, 60_000, 60_000]);
    }

    #[test]
    fn long_queue_is_taken_in_bounded_number_of_batches() {
        for (count, expected) in
            [(1, 1), (MIN_BATCH_SIZE, 1), (10 * MIN_BATCH_SIZE, 10), (1_000_000, MAX_BATCHES)]
        {
            let mut queue = BatchQueue { entries: VecDeque::new(), batch_size: MIN_BATCH_SIZE };
            queue.extend(0..count);
            let sizes: Vec<usize> =
                std::iter::repeat_with(|| queue.take_batch().len()).take_while(|size| *size > 0).collect();
            assert_eq!((sizes.len(), sizes.iter().sum::<usize>()), (expected, count));
        }
    }
}
