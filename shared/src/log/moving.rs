//! Waits between the attempts of a command whose partition is moving to another process of a Redis Cluster.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::append::AppendError;

/// How long a command is repeated. Then it fails as unavailable.
const REPEAT_FOR: Duration = Duration::from_secs(3);
/// The pause after the first attempt. It doubles with each attempt.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(20);
pub(super) const MAX_PAUSE: Duration = Duration::from_millis(200);

/// The attempts of one command.
#[derive(Default)]
pub(super) struct MoveRetry {
    /// When the command is given up, and the next pause. `None` before the first attempt has failed.
    next: Option<(Instant, Duration)>,
}

impl MoveRetry {
    /// If an attempt failed because its partition is moving, waits, and returns true if the command must be repeated.
    pub async fn waits_after<T>(&mut self, result: &Result<T, AppendError>) -> bool {
        if !matches!(result, Err(AppendError::Moving)) {
            return false;
        }
        let (until, pause) = self.next.unwrap_or_else(|| (Instant::now() + REPEAT_FOR, FIRST_PAUSE));
        if Instant::now() + pause > until {
            return false;
        }
        sleep(pause).await;
        self.next = Some((until, next_pause(pause)));
        true
    }
}

/// The pause after the next attempt.
pub(super) fn next_pause(pause: Duration) -> Duration {
    MAX_PAUSE.min(2 * pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_moving_partitions_are_tried_again_for_three_seconds() {
        let (mut retry, begun) = (MoveRetry::default(), Instant::now());
        assert!(!retry.waits_after(&Ok(())).await);
        assert!(!retry.waits_after::<()>(&Err(AppendError::Overloaded)).await);
        let mut attempts = 0;
        while retry.waits_after::<()>(&Err(AppendError::Moving)).await {
            attempts += 1;
        }
        assert!((15..20).contains(&attempts), "{attempts}");
        assert!(begun.elapsed() > REPEAT_FOR - MAX_PAUSE && begun.elapsed() <= REPEAT_FOR);
    }
}
