//! Ends transfers of clients that are too slow, so that they do not occupy slots for hours. A transfer may fall behind
//! its lowest rate by a grace period. Faster bytes restore the grace period, but never extend it: a client that first
//! sends much and then a byte now and then is ended as early as one that was always slow.

use std::future::Future;
use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::{Instant, timeout};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The lowest rate of one transfer, and how far the transfer may still fall behind it.
pub struct MinDataRate {
    bytes_per_second: NonZeroU64,
    grace_period: Duration,
    /// What is left of the grace period.
    remaining: Duration,
}

impl MinDataRate {
    /// Creates the limit of a transfer that begins now.
    #[must_use]
    pub fn new(bytes_per_second: NonZeroU64, grace_period: Duration) -> Self {
        Self { bytes_per_second, grace_period, remaining: grace_period }
    }

    /// Waits for the client, such as for the next piece of a body. Returns None if the client takes too long. Only the
    /// time in this function counts, so a slow disk or database does not end a transfer.
    pub async fn wait<F: Future>(&mut self, client: F) -> Option<F::Output> {
        let began = Instant::now();
        let output = timeout(self.remaining, client).await.ok();
        self.remaining = self.remaining.saturating_sub(began.elapsed());
        output
    }

    /// Counts bytes that the client has sent or read.
    pub fn count(&mut self, bytes: usize) {
        let nanos = (bytes as u64).saturating_mul(NANOS_PER_SECOND) / self.bytes_per_second;
        self.remaining = self.remaining.saturating_add(Duration::from_nanos(nanos)).min(self.grace_period);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    fn rate() -> MinDataRate {
        MinDataRate::new(NonZeroU64::new(1_000).unwrap(), Duration::from_secs(20))
    }

    /// Seconds until a transfer that sends `bytes` after each pause is ended; None if it lasts an hour.
    async fn seconds_until_end(rate: &mut MinDataRate, bytes: usize, pause: Duration) -> Option<u64> {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3_600) {
            if rate.wait(sleep(pause)).await.is_none() {
                return Some(began.elapsed().as_secs());
            }
            rate.count(bytes);
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn transfer_below_the_lowest_rate_ends() {
        let second = Duration::from_secs(1);
        assert_eq!(seconds_until_end(&mut rate(), 1, 19 * second).await, Some(20));
        // It falls behind by half a second in each second.
        let slow = seconds_until_end(&mut rate(), 500, second).await.unwrap();
        assert!((38..=41).contains(&slow), "{slow}");
        assert_eq!(seconds_until_end(&mut rate(), 1_000, second).await, None);
        assert_eq!(seconds_until_end(&mut rate(), 19_000, 19 * second).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn fast_bytes_restore_the_grace_period_and_are_no_credit() {
        let mut rate = rate();
        assert!(rate.wait(sleep(Duration::from_secs(15))).await.is_some());
        rate.count(100_000_000);
        assert_eq!(seconds_until_end(&mut rate, 1, Duration::from_secs(19)).await, Some(20));
    }

    #[tokio::test(start_paused = true)]
    async fn time_of_the_service_does_not_count() {
        let mut rate = rate();
        for _ in 0..10 {
            sleep(Duration::from_secs(60)).await;
            assert!(rate.wait(sleep(Duration::from_secs(1))).await.is_some());
            rate.count(500);
        }
    }
}
