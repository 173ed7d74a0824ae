//! The shutdown of a process in two stages, the same for both services.
//!
//! `draining`: SIGTERM or SIGINT came. The service is no longer ready, accepts nothing new, and finishes work in
//! progress.
//! `stopping`: all tracked tasks have finished, the time is up, or a second signal came. Everything that is left ends
//! now.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Why draining ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All tracked tasks have finished.
    Drained,
    TimeUp,
    /// A second signal came.
    Signalled,
}

/// The tokens of the two stages, and the tasks that must finish before `stopping`.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    pub draining: CancellationToken,
    pub stopping: CancellationToken,
    pub tasks: TaskTracker,
}

impl Lifecycle {
    /// Waits for signals, and cancels the tokens of the two stages in turn. Returns when the process may end. Draining
    /// takes at most `drain`.
    pub async fn run(&self, drain: Duration) -> std::io::Result<Ending> {
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
        let ending = tokio::select! {
            () = self.tasks.wait() => Ending::Drained,
            () = tokio::time::sleep(drain) => Ending::TimeUp,
            _ = terminate.recv() => Ending::Signalled,
            _ = interrupt.recv() => Ending::Signalled,
        };
        match ending {
            Ending::Drained => tracing::info!("drained"),
            Ending::TimeUp => tracing::warn!("drain time is up"),
            Ending::Signalled => tracing::warn!("second signal"),
        }
        self.stopping.cancel();
        Ok(ending)
    }
}
