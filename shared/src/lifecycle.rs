//! The end of a process in two stages, told once for both services.
//!
//! `draining`: SIGTERM or SIGINT came. Readiness turns false, nothing new is accepted, what is under way is finished.
//! `stopping`: what is still there ends now: all that was tracked has finished, the time is up, or a second signal came.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How the time between the two stages ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All that was tracked has finished.
    Drained,
    TimeUp,
    /// A second signal: nothing is waited for any more.
    Signalled,
}

/// The two tokens and the tasks that must finish between them.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    pub draining: CancellationToken,
    pub stopping: CancellationToken,
    pub tasks: TaskTracker,
}

impl Lifecycle {
    /// Waits for the signals and moves through the stages; returns when the process may end.
    ///
    /// # Errors
    /// When signals cannot be waited for.
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
