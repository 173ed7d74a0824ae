//! The shipped monitoring against a running system: a real Prometheus with the shipped rules scrapes gateways, persistence,
//! HAProxy, the probe, and the exporters of Redis and PostgreSQL. Every rule finds the metrics that it names, and every query of the
//! dashboards has a value.

mod dashboards;
pub mod edge;
pub mod exporters;
pub mod figures;
pub mod flow;
mod names;
pub mod outage;
pub mod pages;
pub mod scene;
pub mod shortened;

use crate::prometheus;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::probe::Probe;
use crate::prometheus::Prometheus;
use anyhow::{Context, Result, ensure};
use exporters::Exporters;
use serde_json::{Value, json};
use tidings_harness::balancer::Balancer;
use tidings_harness::files::FilesNode;
use tidings_harness::push::PushNode;
use tidings_harness::stack::set_feed;
use tidings_harness::webhooks::WebhooksNode;
use tidings_harness::{Client, Http, Stack};

const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
/// The scrape targets: two gateways, two persistence nodes, HAProxy, Redis, PostgreSQL, the probe, the webhooks, the
/// files, push, and Prometheus itself.
const TARGET_COUNT: usize = 12;

/// Two users talk through HAProxy. One reads history and polls, and a stranger is refused.
async fn generate_traffic(stack: &Stack, balancer: &Balancer) -> Result<()> {
    let http = Http::new(&balancer.url(), &stack.token("ann"));
    let room = http.new_room(&["ben"]).await?;
    let ann = Client::connect(&balancer.ws(), &stack.token("ann")).await?;
    let ben = Client::connect(&balancer.ws(), &stack.token("ben")).await?;
    ensure!(Client::connect(&balancer.ws(), "no token").await.is_err(), "a stranger was accepted");
    ann.join_and_catch_up(&room).await?;
    ben.join_and_catch_up(&room).await?;
    for number in 0..20 {
        ann.send(&room, &format!("from ann {number}")).await?;
        ben.send(&room, &format!("from ben {number}")).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ben.send(&room, "the last message").await?;
    http.messages(&room, "").await?.expect(200);
    http.post("/poll", json!({"timeout_ms": 0})).await?.expect(200);
    ann.close().await?;
    ben.close().await?;
    Ok(())
}

/// Waits until Prometheus can scrape every target.
async fn until_targets_are_up(prometheus: &Prometheus) -> Result<()> {
    let begun = Instant::now();
    loop {
        let answer = prometheus.get_api("targets", &[("state", "active")]).await?;
        let targets = answer["activeTargets"].as_array().cloned().unwrap_or_default();
        if targets.len() == TARGET_COUNT && targets.iter().all(|target| target["health"] == "up") {
            return Ok(());
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "{targets:#?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Waits until every rule is evaluated; fails if one has an error.
async fn until_rules_are_evaluated(prometheus: &Prometheus) -> Result<Vec<Value>> {
    let begun = Instant::now();
    loop {
        let rules = prometheus.rules().await?;
        let failed: Vec<&Value> = rules.iter().filter(|rule| rule["health"] == "err").collect();
        ensure!(failed.is_empty(), "{failed:#?}");
        if rules.iter().all(|rule| rule["health"] == "ok") {
            return Ok(rules);
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT, "not all rules are evaluated: {rules:#?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Runs every query of the dashboards. Returns a table of their values, and the queries without a series for which no
/// metric of the query is a reason.
async fn run_panels(
    prometheus: &Prometheus,
    panels: &[(String, String)],
    late: &BTreeMap<String, String>,
) -> Result<(Vec<String>, Vec<String>)> {
    let (mut table, mut empty) = (Vec::new(), Vec::new());
    for (place, expression) in panels {
        let found = prometheus.query(expression).await.with_context(|| format!("{place}: {expression}"))?;
        let names = names::metric_names(expression);
        let reason = names.iter().find_map(|name| late.get(name));
        if found.is_empty() && reason.is_none() {
            empty.push(format!("{place}: {expression}"));
        }
        let reason = reason.map_or_else(String::new, |reason| format!("empty: {reason}"));
        let shown = if found.is_empty() { reason } else { dashboards::one_line(&found) };
        table.push(format!("{place} | {shown}"));
    }
    Ok((table, empty))
}

/// Metric names without a series, each with the rule or panel that uses it.
async fn missing_metrics(
    prometheus: &Prometheus,
    asked: &BTreeMap<String, String>,
    late: &BTreeMap<String, String>,
) -> Result<Vec<String>> {
    let mut missing = BTreeSet::new();
    for (place, expression) in asked {
        for name in names::metric_names(expression).into_iter().filter(|name| !late.contains_key(name)) {
            if prometheus.query(&format!("{{__name__=\"{name}\"}}")).await?.is_empty() {
                missing.insert(format!("{name}, used by {place}"));
            }
        }
    }
    Ok(missing.into_iter().collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_and_dashboards_find_their_metrics_in_running_system() -> Result<()> {
    let stack = Stack::builder().gateways(2).persistence(2).durable_postgres("").start().await?;
    let balancer = Balancer::of(&stack).await?;
    // With a limit, Redis has a share of it.
    let mut limit = redis::cmd("CONFIG");
    stack.redis().command::<()>(limit.arg("SET").arg("maxmemory").arg("400mb")).await?;
    // Rule groups with an interval of their own would delay the test.
    let prometheus = Prometheus::start(&stack, |rules| names::without_intervals(&rules)).await?;
    prometheus.add_target("haproxy", &format!("127.0.0.1:{}", balancer.metrics_port()))?;
    let _exporters = Exporters::start(&stack, &prometheus).await?;
    let probe = Probe::through(&balancer, &stack)?;
    let probe = probe.start()?;
    prometheus.add_target("tidings-probe", &probe.address())?;
    let webhooks = WebhooksNode::start(&stack, "webhooks", &[]).await?;
    prometheus.add_target("tidings-webhooks", &format!("127.0.0.1:{}", webhooks.admin_port()))?;
    let files = FilesNode::start(&stack, "files", &[]).await?;
    prometheus.add_target("tidings-files", &format!("127.0.0.1:{}", files.admin_port()))?;
    set_feed(stack.database().url(), true).await?;
    let push = PushNode::start(&stack, "push", &[]).await?;
    prometheus.add_target("tidings-push", &format!("127.0.0.1:{}", push.admin_port()))?;
    until_targets_are_up(&prometheus).await?;
    generate_traffic(&stack, &balancer).await?;
    let rules = until_rules_are_evaluated(&prometheus).await?;
    ensure!(rules.len() > 50, "only {} rules were found", rules.len());

    let mut asked: BTreeMap<String, String> = BTreeMap::new();
    for rule in &rules {
        let name = rule["name"].as_str().context("a rule without a name")?;
        asked.insert(format!("rule {name}"), rule["query"].as_str().context("no query")?.to_owned());
    }
    let panels = dashboards::expressions()?;
    ensure!(panels.len() > 50, "only {} expressions were found", panels.len());
    asked.extend(panels.iter().cloned());
    let (late, begun) = (names::late_metrics()?, Instant::now());
    loop {
        // The latest events are visible only after the next scrape.
        let missing = missing_metrics(&prometheus, &asked, &late).await?;
        let (table, empty) = run_panels(&prometheus, &panels, &late).await?;
        if missing.is_empty() && empty.is_empty() {
            println!("{}", table.join("\n"));
            break;
        }
        let [missing, empty] = [missing, empty].map(|lines| lines.join("\n  "));
        ensure!(
            begun.elapsed() < WAIT_TIMEOUT / 4,
            "metrics without a series:\n  {missing}\nqueries without a value:\n  {empty}"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    exporters::ensure_least_rights(&stack).await?;

    // The system is quiet, so nothing may fire except alerts that a busy machine alone can cause.
    let of_lateness = prometheus::LATENCY_ALERTS;
    let firing = format!(r#"ALERTS{{alertstate="firing",severity!="none",alertname!~"{of_lateness}"}}"#);
    let firing = prometheus.query(&firing).await?;
    ensure!(firing.is_empty(), "{firing:#?}");
    Ok(())
}
