//! Checks the resource usage of the services during the whole run: bytes queued for connections, and memory. Both must
//! stay within a bound, whatever clients do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::history::{Rule, Violation};
use crate::{Node, Service, Stack, memory};

const PACE: Duration = Duration::from_millis(500);
/// Timeout for the metrics of a node; a paused or stopping node does not answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Limit of the bytes queued for one connection: the limit in [PROTOCOL](../../../docs/PROTOCOL.md), and one message.
const CONNECTION_BYTES: u64 = (256 + 64) * 1024;
/// Limit of a process's growth after its first measurement. It is several times the size of all bounded buffers at the
/// load of a run, and less than an unbounded queue needs in a minute.
const GROWTH_BYTES: u64 = 256 * 1024 * 1024;

/// The measured values.
#[derive(Debug, Default, Clone)]
pub(super) struct ObservedLimits {
    /// The most bytes that were queued in one gateway.
    pub outbox_bytes: u64,
    /// The most memory of one process, by service.
    pub resident_bytes: BTreeMap<String, u64>,
    /// The most that one process has grown by, by service.
    pub growth_bytes: BTreeMap<String, u64>,
    /// Connections that gateways closed, by code.
    pub closes: BTreeMap<String, u64>,
    broken: BTreeMap<String, String>,
    first: BTreeMap<u32, u64>,
    last: BTreeMap<(u32, String), u64>,
}

impl ObservedLimits {
    pub fn violations(&self) -> Vec<Violation> {
        let broken = |what: &String| Violation {
            rule: Rule::Bounded,
            room: String::new(),
            seq: 0,
            user: String::new(),
            what: what.clone(),
        };
        self.broken.values().map(broken).collect()
    }

    fn resident(&mut self, node: &Node, pid: u32) {
        let Ok(bytes) = memory::resident(pid) else { return };
        let name = node.service().program();
        let growth = bytes.saturating_sub(*self.first.entry(pid).or_insert(bytes));
        let most = self.resident_bytes.entry(name.to_owned()).or_default();
        *most = bytes.max(*most);
        let most = self.growth_bytes.entry(name.to_owned()).or_default();
        *most = growth.max(*most);
        if growth > GROWTH_BYTES {
            let what = format!("{name} has grown by {growth} bytes to {bytes}, more than by {GROWTH_BYTES}");
            self.broken.insert(format!("memory of {pid}"), what);
        }
    }

    fn metrics(&mut self, pid: u32, page: &str) {
        let value = |name: &str| -> Option<u64> {
            page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
        };
        let queued = value("tidings_gateway_outbox_bytes").unwrap_or_default();
        // The gauges are read one after the other, so one connection may have been added or removed in between.
        let connections = value("tidings_gateway_connections").unwrap_or_default() + 1;
        self.outbox_bytes = self.outbox_bytes.max(queued);
        let bound = connections * CONNECTION_BYTES;
        if queued > bound {
            let what = format!(
                "{queued} bytes are queued for {connections} connections of a gateway, more than {bound}"
            );
            self.broken.insert(format!("outboxes of {pid}"), what);
        }
        let closes =
            page.lines().filter_map(|line| line.strip_prefix("tidings_gateway_closes_total{code=\""));
        for (code, count) in closes.filter_map(|line| line.split_once("\"} ")) {
            let count = count.parse().unwrap_or_default();
            let before = self.last.insert((pid, code.to_owned()), count).unwrap_or_default();
            *self.closes.entry(code.to_owned()).or_default() += count.saturating_sub(before);
        }
    }
}

/// Measures until it is stopped.
pub(super) struct Monitor {
    stop: tokio::sync::watch::Sender<bool>,
    looking: JoinHandle<ObservedLimits>,
}

impl Monitor {
    pub fn start(stack: Arc<Stack>) -> Monitor {
        let (stop, mut stopped) = tokio::sync::watch::channel(false);
        let looking = tokio::spawn(async move {
            let mut seen = ObservedLimits::default();
            let mut tick = interval(PACE);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = tick.tick() => look(&stack, &mut seen).await,
                    _ = stopped.changed() => break,
                }
            }
            look(&stack, &mut seen).await;
            seen
        });
        Monitor { stop, looking }
    }

    /// Measures a last time, and returns the values.
    pub async fn finish(self) -> anyhow::Result<ObservedLimits> {
        self.stop.send_replace(true);
        Ok(self.looking.await?)
    }
}

async fn look(stack: &Stack, seen: &mut ObservedLimits) {
    for node in stack.gateways().iter().chain(stack.persistence_nodes()) {
        let Some(pid) = node.pid() else { continue };
        seen.resident(node, pid);
        if node.service() == Service::Gateway
            && let Ok(Ok(page)) = timeout(PATIENCE, node.metrics()).await
        {
            seen.metrics(pid, &page);
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
             tidings_gateway_closes_total{{code=\"4413\"}} {slow}\n"
        )
    }

    #[test]
    fn queued_bytes_are_limited_per_connection() {
        let mut seen = ObservedLimits::default();
        seen.metrics(1, &page(3, 4 * CONNECTION_BYTES, 0));
        assert_eq!(seen.violations(), []);
        seen.metrics(1, &page(2, 4 * CONNECTION_BYTES, 0));
        assert_eq!(seen.violations().len(), 1);
        assert_eq!(seen.outbox_bytes, 4 * CONNECTION_BYTES);
    }

    #[test]
    fn closes_of_a_restarted_process_are_added() {
        let mut seen = ObservedLimits::default();
        for (pid, slow) in [(1, 2), (1, 3), (2, 1)] {
            seen.metrics(pid, &page(1, 0, slow));
        }
        assert_eq!(seen.closes["4413"], 4);
    }
}
