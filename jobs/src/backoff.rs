//! The growing pauses between attempts, up to the last attempt.

use std::time::Duration;

use crate::error::JobError;

/// See the module.
pub struct Backoff {
    left: u32,
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// With a wait before each of `retries` further attempts.
    pub fn new(retries: u32, [first, longest]: [Duration; 2]) -> Self {
        Self { left: retries, next: first, longest }
    }

    /// Waits before the next attempt; fails with `cause` after the last one.
    pub async fn wait(&mut self, cause: String) -> Result<(), JobError> {
        self.left = self.left.checked_sub(1).ok_or(JobError(cause))?;
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(self.longest);
        Ok(())
    }
}
