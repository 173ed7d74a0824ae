//! Probes the readiness of the persistence nodes at a fixed interval.

use std::time::{Duration, Instant};

use anyhow::Result;
use tidings_harness::{Node, Stack, http};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Pause between two probes.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The default timeout of a Kubernetes probe.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The results of the probes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ProbeResults {
    probes: u64,
    not_ready: u64,
    pub(super) longest: Duration,
}

impl ProbeResults {
    /// Percentage of probes that were refused or timed out.
    pub(super) fn not_ready_percent(&self) -> f64 {
        self.not_ready as f64 * 100.0 / self.probes as f64
    }
}

/// Probes the readiness on its own task until [`ReadinessWatch::finish`].
pub(super) struct ReadinessWatch {
    stop: watch::Sender<bool>,
    task: JoinHandle<ProbeResults>,
}

impl ReadinessWatch {
    pub(super) fn start(stack: &Stack) -> ReadinessWatch {
        let urls: Vec<String> = stack
            .persistence_nodes()
            .iter()
            .map(Node::admin)
            .map(|admin| format!("{admin}/readyz"))
            .collect();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            // All probes share one client, which reuses connections.
            let (client, mut seen) = (http::client(), ProbeResults::default());
            while !*stopped.borrow() {
                for url in &urls {
                    let begun = Instant::now();
                    let answer = tokio::time::timeout(PROBE_TIMEOUT, client.get(url).send()).await;
                    let is_ready = matches!(answer, Ok(Ok(answer)) if answer.status().is_success());
                    seen.probes += 1;
                    seen.not_ready += u64::from(!is_ready);
                    seen.longest = seen.longest.max(begun.elapsed());
                }
                tokio::time::sleep(CHECK_INTERVAL).await;
            }
            seen
        });
        ReadinessWatch { stop, task }
    }

    pub(super) async fn finish(self) -> Result<ProbeResults> {
        self.stop.send_replace(true);
        Ok(self.task.await?)
    }
}
