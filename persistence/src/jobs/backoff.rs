//! Pauses between attempts of an operation. Each pause is twice the one before, and retries are limited.

use std::time::Duration;

use crate::job_error::JobError;

/// Counts the retries that are left, and computes the next pause.
pub struct Backoff {
    left: u32,
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// Allows `retries` retries, each after a pause. The first pause is `first`; no pause is over `longest`.
    pub fn new(retries: u32, [first, longest]: [Duration; 2]) -> Self {
        Self { left: retries, next: first, longest }
    }

    /// Sleeps before the next retry. Fails with `cause` if no retry is left.
    pub async fn wait(&mut self, cause: String) -> Result<(), JobError> {
        self.left = self.left.checked_sub(1).ok_or(JobError(cause))?;
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(self.longest);
        Ok(())
    }
}
