//! The shipped monitoring against a running system: a real Prometheus with the shipped rules scrapes two gateways and
//! persistence, and every rule and every expression of the dashboards finds the metrics that it names.

mod dashboards;
pub mod flow;
mod names;
pub mod scene;
pub mod shortened;

use crate::prometheus;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::prometheus::Prometheus;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidings_harness::Stack;

const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
/// The scrape targets: two gateways, persistence, and Prometheus itself.
const TARGET_COUNT: usize = 4;

/// Two users talk through two gateways, and one of them reads history.
async fn generate_traffic(stack: &Stack) -> Result<()> {
    let room = stack.http("ann").new_room(&["ben"]).await?;
    let (ann, ben) = (stack.connect_at(0, "ann").await?, stack.connect_at(1, "ben").await?);
    ann.join_and_catch_up(&room).await?;
    ben.join_and_catch_up(&room).await?;
    for number in 0..20 {
        ann.send(&room, &format!("from ann {number}")).await?;
        ben.send(&room, &format!("from ben {number}")).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ben.send(&room, "the last message").await?;
    stack.http("ann").messages(&room, "").await?.expect(200);
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
    let stack = Stack::builder().gateways(2).start().await?;
    // Rule groups with an interval of their own would delay the test.
    let prometheus = Prometheus::start(&stack, |rules| names::without_intervals(&rules)).await?;
    until_targets_are_up(&prometheus).await?;
    generate_traffic(&stack).await?;
    let rules = until_rules_are_evaluated(&prometheus).await?;
    ensure!(rules.len() > 50, "only {} rules were found", rules.len());

    let mut asked: BTreeMap<String, String> = BTreeMap::new();
    for rule in &rules {
        let name = rule["name"].as_str().context("a rule without a name")?;
        asked.insert(format!("rule {name}"), rule["query"].as_str().context("no query")?.to_owned());
    }
    let panels = dashboards::expressions()?;
    ensure!(panels.len() > 50, "only {} expressions were found", panels.len());
    let mut values = Vec::new();
    for (place, expression) in panels {
        let found = prometheus.query(&expression).await.with_context(|| format!("{place}: {expression}"))?;
        values.push(format!("{place}: {}", dashboards::one_line(&found)));
        asked.insert(place, expression);
    }
    println!("{}", values.join("\n"));

    let (late, begun) = (names::late_metrics()?, Instant::now());
    loop {
        // The latest events are visible only after the next scrape.
        let missing = missing_metrics(&prometheus, &asked, &late).await?;
        if missing.is_empty() {
            break;
        }
        ensure!(begun.elapsed() < WAIT_TIMEOUT / 4, "metrics without a series:\n  {}", missing.join("\n  "));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    // The system is quiet, so nothing may fire except alerts that a busy machine alone can cause.
    let of_lateness = prometheus::LATENCY_ALERTS;
    let firing = format!(r#"ALERTS{{alertstate="firing",alertname!~"{of_lateness}"}}"#);
    let firing = prometheus.query(&firing).await?;
    ensure!(firing.is_empty(), "{firing:#?}");
    Ok(())
}
