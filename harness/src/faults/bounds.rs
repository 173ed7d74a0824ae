//! Checks the resource usage of the services during the whole run: bytes queued for connections, and memory. Clients
//! must not be able to make a service exceed the limits below. Sessions of Engine.IO count as connections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::history::{Rule, Violation};
use crate::{Node, Service, Stack, memory};

const MEASURE_INTERVAL: Duration = Duration::from_millis(500);
/// Timeout for the metrics of a node; a paused or stopping node does not answer.
const WAIT_TIMEOUT: Duration = Duration::from_secs(1);
/// Limit of the bytes queued for one connection: the limit in [PROTOCOL](../../../docs/PROTOCOL.md) plus one message.
const MAX_BYTES_PER_CONNECTION: u64 = (256 + 64) * 1024;
/// Limit of the growth of a process's memory after its first measurement. All bounded buffers together are several
/// times smaller at the load of a run. An unbounded queue would exceed the limit within a minute.
const MAX_GROWTH_BYTES: u64 = 256 * 1024 * 1024;

/// The maxima of the measured values, and the violations of the limits.
#[derive(Debug, Default, Clone)]
pub(super) struct ResourceUsage {
    /// Maximum of the bytes that were queued in one gateway.
    pub outbox_bytes: u64,
    /// Maximum of the resident memory of one process, by service.
    pub resident_bytes: BTreeMap<String, u64>,
    /// Maximum growth of the resident memory of one process since its first measurement, by service.
    pub growth_bytes: BTreeMap<String, u64>,
    /// Number of connections that gateways closed, by close code.
    pub closes: BTreeMap<String, u64>,
    /// Number of sessions that gateways opened, by transport.
    pub sessions: BTreeMap<String, u64>,
    exceeded: BTreeMap<String, String>,
    first: BTreeMap<u32, u64>,
    /// The last value of each counter, by process and series.
    last: BTreeMap<(u32, String), u64>,
}

impl ResourceUsage {
    pub fn violations(&self) -> Vec<Violation> {
        let violation = |what: &String| Violation {
            rule: Rule::Bounded,
            room: String::new(),
            seq: 0,
            user: String::new(),
            what: what.clone(),
        };
        self.exceeded.values().map(violation).collect()
    }

    fn record_memory(&mut self, node: &Node, pid: u32) {
        let Ok(bytes) = memory::resident(pid) else { return };
        let name = node.service().program();
        let growth = bytes.saturating_sub(*self.first.entry(pid).or_insert(bytes));
        let max = self.resident_bytes.entry(name.to_owned()).or_default();
        *max = bytes.max(*max);
        let max = self.growth_bytes.entry(name.to_owned()).or_default();
        *max = growth.max(*max);
        if growth > MAX_GROWTH_BYTES {
            let what =
                format!("{name} has grown by {growth} bytes to {bytes}, more than by {MAX_GROWTH_BYTES}");
            self.exceeded.insert(format!("memory of {pid}"), what);
        }
    }

    fn record_metrics(&mut self, pid: u32, page: &str) {
        let value = |name: &str| -> Option<u64> {
            page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
        };
        let queued = value("tidings_gateway_outbox_bytes").unwrap_or_default();
        // The gateway reads its gauges one after the other, so a connection may end between the two. One more is
        // allowed.
        let connections = value("tidings_gateway_connections").unwrap_or_default() + 1;
        self.outbox_bytes = self.outbox_bytes.max(queued);
        let bound = connections * MAX_BYTES_PER_CONNECTION;
        if queued > bound {
            let what = format!(
                "{queued} bytes are queued for {connections} connections of a gateway, more than {bound}"
            );
            self.exceeded.insert(format!("outboxes of {pid}"), what);
        }
        let last = &mut self.last;
        let mut add = |totals: &mut BTreeMap<String, u64>, series: &str| {
            for (label, count) in
                page.lines().filter_map(|line| line.strip_prefix(series)?.split_once("\"} "))
            {
                let count = count.parse().unwrap_or_default();
                let before = last.insert((pid, format!("{series}{label}")), count).unwrap_or_default();
                *totals.entry(label.to_owned()).or_default() += count.saturating_sub(before);
            }
        };
        add(&mut self.closes, "tidings_gateway_closes_total{code=\"");
        add(&mut self.sessions, "tidings_gateway_sessions_opened_total{transport=\"");
    }
}

/// Measures all nodes on its own task until [`ResourceMonitor::finish`].
pub(super) struct ResourceMonitor {
    stop: tokio::sync::watch::Sender<bool>,
    task: JoinHandle<ResourceUsage>,
}

impl ResourceMonitor {
    pub fn start(stack: Arc<Stack>) -> ResourceMonitor {
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let task = tokio::spawn(async move {
            let mut seen = ResourceUsage::default();
            let mut tick = interval(MEASURE_INTERVAL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = tick.tick() => measure(&stack, &mut seen).await,
                    _ = stopped.changed() => break,
                }
            }
            measure(&stack, &mut seen).await;
            seen
        });
        ResourceMonitor { stop, task }
    }

    /// Measures a last time, and returns the values.
    pub async fn finish(self) -> anyhow::Result<ResourceUsage> {
        self.stop.send_replace(true);
        Ok(self.task.await?)
    }
}

async fn measure(stack: &Stack, seen: &mut ResourceUsage) {
    for node in stack.gateways().iter().chain(stack.persistence_nodes()) {
        let Some(pid) = node.pid() else { continue };
        seen.record_memory(node, pid);
        if node.service() == Service::Gateway
            && let Ok(Ok(page)) = timeout(WAIT_TIMEOUT, node.metrics()).await
        {
            seen.record_metrics(pid, &page);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(connections: u64, queued: u64, slow: u64) -> String {
        format!(
            "# HELP tidings_gateway_connections Open\ntidings_gateway_connections {connections}\n\
             tidings_gateway_connections_opened_total 900\ntidings_gateway_outbox_bytes {queued}\n\
             tidings_gateway_closes_total{{code=\"4413\"}} {slow}\n\
             tidings_gateway_sessions_opened_total{{transport=\"engine_polling\"}} {connections}\n"
        )
    }

    #[test]
    fn queued_bytes_are_limited_per_connection() {
        let mut seen = ResourceUsage::default();
        seen.record_metrics(1, &page(3, 4 * MAX_BYTES_PER_CONNECTION, 0));
        assert_eq!(seen.violations(), []);
        seen.record_metrics(1, &page(2, 4 * MAX_BYTES_PER_CONNECTION, 0));
        assert_eq!(seen.violations().len(), 1);
        assert_eq!(seen.outbox_bytes, 4 * MAX_BYTES_PER_CONNECTION);
    }

    #[test]
    fn counters_add_up_across_process_restarts() {
        let mut seen = ResourceUsage::default();
        for (pid, slow) in [(1, 2), (1, 3), (2, 1)] {
            seen.record_metrics(pid, &page(1, 0, slow));
        }
        assert_eq!((seen.closes["4413"], seen.sessions["engine_polling"]), (4, 2));
    }
}
