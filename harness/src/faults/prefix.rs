//! Reads PostgreSQL at intervals while a run lasts, and checks the rule `Prefix` each time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::Stack;
use crate::history::{History, PrefixCheck, Violation};

const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Timeout of a check, because a PostgreSQL that a fault has paused does not answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Checks the rule on a task of its own until [`PrefixMonitor::finish`].
pub(super) struct PrefixMonitor {
    stack: Arc<Stack>,
    history: History,
    stop: watch::Sender<bool>,
    task: JoinHandle<PrefixCheck>,
}

impl PrefixMonitor {
    pub fn start(stack: &Arc<Stack>, history: &History, rooms: &[String]) -> PrefixMonitor {
        let (stop, mut stopped) = watch::channel(false);
        let (mut check, target, clock) = (PrefixCheck::new(rooms), Arc::clone(stack), history.clone());
        let task = tokio::spawn(async move {
            let mut tick = interval(CHECK_INTERVAL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    // A check that fails is not an error, because a fault may make PostgreSQL unreachable. The next
                    // check covers the same events.
                    _ = tick.tick() => {
                        let _ = timeout(CHECK_TIMEOUT, check.look(target.database(), clock.now())).await;
                    }
                    _ = stopped.changed() => return check,
                }
            }
        });
        PrefixMonitor { stack: Arc::clone(stack), history: history.clone(), stop, task }
    }

    /// Checks a last time, and returns the violations.
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
