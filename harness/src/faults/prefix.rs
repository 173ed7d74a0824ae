//! Reads PostgreSQL at intervals while a run lasts, and checks the rule `Prefix` each time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::Stack;
use crate::history::{History, PrefixCheck, Violation};

const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Timeout of a look. A PostgreSQL that a fault has paused does not answer.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Looks on its own task until [`PrefixMonitor::finish`].
pub(super) struct PrefixMonitor {
    stack: Arc<Stack>,
    history: History,
    stop: watch::Sender<bool>,
    task: JoinHandle<PrefixCheck>,
}

impl PrefixMonitor {
    pub fn start(stack: &Arc<Stack>, history: &History, rooms: &[String]) -> PrefixMonitor {
        let (stop, mut stopped) = watch::channel(false);
        let (mut check, looked_at, clock) =
            (PrefixCheck::of_rooms(rooms), Arc::clone(stack), history.clone());
        let task = tokio::spawn(async move {
            let mut tick = interval(LOOK_INTERVAL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    // A fault may make PostgreSQL unreachable. The next look covers what this one has missed.
                    _ = tick.tick() => {
                        let _ = timeout(LOOK_TIMEOUT, check.look(looked_at.database(), clock.now())).await;
                    }
                    _ = stopped.changed() => return check,
                }
            }
        });
        PrefixMonitor { stack: Arc::clone(stack), history: history.clone(), stop, task }
    }

    /// Looks a last time, and returns the violations.
    ///
    /// # Errors
    /// When PostgreSQL does not answer any more.
    pub async fn finish(self) -> Result<Vec<Violation>> {
        self.stop.send_replace(true);
        let mut check = self.task.await?;
        check.look(self.stack.database(), self.history.now()).await?;
        Ok(check.into_violations())
    }
}
