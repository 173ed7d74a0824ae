//! The shutdown of a process in two stages, which both services use.
//!
//! `draining` begins with SIGTERM or SIGINT. The service reports that it is not ready, accepts no new work, and
//! finishes work in progress. `stopping` begins when all tracked tasks have finished, when the drain time is up, or
//! with a second signal. All remaining work is cancelled.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Why draining has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainOutcome {
    /// All tracked tasks have finished.
    Drained,
    /// The drain time is up.
    TimeUp,
    /// The process received a second signal.
    Signalled,
}

/// The cancellation tokens of the two stages, and the tasks for which draining waits.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    pub draining: CancellationToken,
    pub stopping: CancellationToken,
    pub tasks: TaskTracker,
}

impl Lifecycle {
    /// Waits for signals, and cancels the tokens `draining` and `stopping` in turn. Draining takes at most `drain`.
    /// Returns when the process may end.
    pub async fn run(&self, drain: Duration) -> std::io::Result<DrainOutcome> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = self.draining.cancelled() => {}
        }
        tracing::info!("draining");
        self.draining.cancel();
        self.tasks.close();
        let outcome = tokio::select! {
            () = self.tasks.wait() => DrainOutcome::Drained,
            () = tokio::time::sleep(drain) => DrainOutcome::TimeUp,
            _ = terminate.recv() => DrainOutcome::Signalled,
            _ = interrupt.recv() => DrainOutcome::Signalled,
        };
        match outcome {
            DrainOutcome::Drained => tracing::info!("drained"),
            DrainOutcome::TimeUp => tracing::warn!("drain time is up"),
            DrainOutcome::Signalled => tracing::warn!("second signal"),
        }
        self.stopping.cancel();
        Ok(outcome)
    }
}
