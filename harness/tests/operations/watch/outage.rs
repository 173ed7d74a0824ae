//! A system with its edge and its monitoring, on which an outage is played.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidings_harness::balancer::{Balancer, SHIPPED};
use tidings_harness::{Node, Stack};
use tokio::time::{Instant, sleep, sleep_until};

use super::dashboards;
use super::edge::{Counts, EdgeLoad};
use super::exporters::Exporters;
use super::figures::{Figures, Shares};
use super::pages::Pages;
use crate::probe::{Probe, RunningProbe};
use crate::prometheus::Prometheus;

/// Prometheus must see a counter before its first event. Then the system works for as long.
const WARM_UP: Duration = Duration::from_secs(45);
/// When the load ends, after the recovery. Rates of two minutes blur the edges of an outage by half a scrape, which
/// counts less the longer the load lasts.
const LOAD_LASTS: Duration = Duration::from_secs(210);
/// When the figures are read, after the recovery: causes hold symptoms back for five minutes, and by then the rules have
/// seen each event for two minutes.
const PAGES_LAST: Duration = Duration::from_secs(345);

/// The default of the probe.
const PROBE_INTERVAL_MS: &str = "15000";

pub struct Scene {
    outage: &'static str,
    pages: Pages,
    _running_probe: RunningProbe,
    // The running probe reads its folder.
    _probe: Probe,
    _exporters: Exporters,
    prometheus: Prometheus,
    pub balancer: Balancer,
    pub stack: Stack,
}

impl Scene {
    pub async fn start(outage: &'static str, gateways: usize) -> Result<Scene> {
        let stack = Stack::builder().gateways(gateways).persistence(2).durable_postgres("").start().await?;
        let balancer = balancer_of_all(&stack).await?;
        let prometheus = Prometheus::start(&stack, |rules| rules).await?;
        prometheus.use_shipped_intervals()?;
        prometheus.add_target("haproxy", &format!("127.0.0.1:{}", balancer.metrics_port()))?;
        for node in stack.gateways().iter().skip(2) {
            prometheus.add_further_target("tidings-gateway", &format!("127.0.0.1:{}", node.ports().admin))?;
        }
        let exporters = Exporters::start(&stack, &prometheus).await?;
        let probe = Probe::through(&balancer, &stack)?;
        let running_probe = probe.start_every(PROBE_INTERVAL_MS)?;
        prometheus.add_target("tidings-probe", &running_probe.address())?;
        let pages = Pages::start(&stack, &prometheus).await?;
        Ok(Scene {
            outage,
            pages,
            _running_probe: running_probe,
            _probe: probe,
            _exporters: exporters,
            prometheus,
            balancer,
            stack,
        })
    }

    /// Starts the load, and ensures that all is up and nothing pages.
    pub async fn warm_up(&self) -> Result<EdgeLoad> {
        sleep(WARM_UP).await;
        let load = EdgeLoad::begin(&self.stack, &self.balancer);
        sleep(WARM_UP).await;
        ensure!(self.pages.received().is_empty(), "{}: a page before", self.outage);
        let down = self.prometheus.query("up == 0 or tidings_probe_success == 0").await?;
        ensure!(down.is_empty(), "{}: {down:?}", self.outage);
        Ok(load)
    }

    /// Watches the system, which has just recovered, until no further page can come. Then compares all figures.
    pub async fn observe_recovery(&self, mut load: EdgeLoad, begun: Instant) -> Result<Figures> {
        let recovered = Instant::now();
        sleep(LOAD_LASTS).await;
        load.end().await;
        sleep_until(recovered + PAGES_LAST).await;
        let pages = self.pages.received();
        for page in &pages {
            let at = page.at.saturating_duration_since(begun).as_secs();
            println!("{}: {at} s, resolved {}: {:?}", self.outage, page.resolved, page.alerts);
        }
        let last = pages.last().filter(|_| self.pages.none_is_open());
        Ok(Figures {
            outage: self.outage,
            shares: [
                self.shares("HTTP", "HTTP answered", &load.http).await?,
                self.shares("connects", "Connecting answered", &load.connects).await?,
            ],
            incidents: self.pages.incidents(),
            alerts: pages.iter().flat_map(|page| page.alerts.clone()).collect(),
            page_after: pages.first().map(|page| page.at.saturating_duration_since(begun)),
            over_after: last.map(|page| page.at.saturating_duration_since(recovered)),
        })
    }

    async fn shares(&self, objective: &'static str, panel: &str, counts: &Counts) -> Result<Shares> {
        let panels = dashboards::expressions()?;
        let place = format!("/ {panel} A");
        let (_, expression) = panels.iter().find(|(at, _)| at.ends_with(&place)).context("no such panel")?;
        let found = self.prometheus.query(expression).await?;
        let value = found.first().with_context(|| format!("{expression} has no value"))?;
        let answered: f64 = value["value"][1].as_str().context("no text")?.parse()?;
        let (requests, failed_by_clients) = (counts.requests(), counts.failed_share());
        Ok(Shares { objective, requests, failed_by_clients, failed_by_panel: 1.0 - answered })
    }
}

/// The shipped HAProxy, with one more line for each gateway above two.
async fn balancer_of_all(stack: &Stack) -> Result<Balancer> {
    let ports: Vec<_> = stack.gateways().iter().map(Node::ports).collect();
    let persistence: Vec<_> = stack.persistence_nodes().iter().map(Node::ports).collect();
    let line =
        SHIPPED.lines().find(|line| line.contains("server gateway-2 ")).context("no second gateway")?;
    let mut lines = line.to_owned();
    for (number, ports) in (1..).zip(&ports).skip(2) {
        let (public, admin) = (ports.public, ports.admin);
        lines += &format!("\n    server gateway-{number} 127.0.0.1:{public} check port {admin}");
    }
    let configuration = SHIPPED.replace(line, &lines);
    Balancer::start(&ports[..2], &persistence, &[], &configuration).await
}
