//! A rolling upgrade under load: both gateways and both persistence nodes are restarted one after the other behind the
//! shipped load balancer, while a conversation is played through it. Nothing is missing or duplicated, no request and
//! no send fails, and a Prometheus with the shipped rules fires no alert of severity `page`.

use crate::prometheus;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::prometheus::Prometheus;
use anyhow::{Context, Result, ensure};
use tidings_harness::balancer::Balancer;
use tidings_harness::play::run::{PlayOptions, Progress, Speed, play};
use tidings_harness::play::transcript;
use tidings_harness::{Node, Nodes, Stack};

/// Longer than the load balancer needs to notice an unready node: two checks, two seconds apart.
const UNREADY_TIME: Duration = Duration::from_secs(6);
const DRAIN_TIME: Duration = Duration::from_secs(4);
/// Time until the load balancer uses a restarted node again.
const RETURN_DELAY: Duration = Duration::from_secs(3);
/// The speed at which the conversation takes about a minute, so that all restarts happen during one play.
const PLAY_SPEED: f64 = 110.0;

/// The allowed share of late events. A busy machine makes some events late; restarts that delay messages would make
/// many late. Alerts on lateness fire at a lower share, so the test ignores them.
const MAX_LATE_SHARE: f64 = 0.05;

/// Plays the conversation again and again until the restarts are over; each play must be clean. Returns the number of
/// messages.
async fn play_until(restarted: Arc<AtomicBool>, nodes: Nodes) -> Result<u64> {
    let conversation = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ubuntu-2016-12-19.jsonl");
    let conversations = transcript::read(&[conversation])?;
    let mut messages = 0;
    loop {
        let (options, progress) = (PlayOptions::new(Speed::Times(PLAY_SPEED), 20), Progress::default());
        let (report, verdict) = play(conversations.clone(), options, nodes.clone(), &progress).await?;
        println!("{}", serde_json::to_string(&report)?);
        ensure!(verdict.is_clean(), "{verdict:#?}");
        ensure!(report.messages >= 100, "{report:?}");
        messages += report.messages;
        if restarted.load(Ordering::Relaxed) {
            return Ok(messages);
        }
    }
}

async fn restart(node: &Node) -> Result<()> {
    node.restart().await?;
    tokio::time::sleep(RETURN_DELAY).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: a rolling restart"]
async fn rolling_restart_behind_balancer_disturbs_nobody() -> Result<()> {
    let builder = Stack::builder().gateways(2).persistence(2);
    let builder = builder.gateway_env("TIDINGS_DRAIN_MS", DRAIN_TIME.as_millis());
    let stack = builder.env("TIDINGS_UNREADY_MS", UNREADY_TIME.as_millis()).start().await?;
    let balancer = Balancer::of(&stack).await?;
    let prometheus = Prometheus::start(&stack, |rules| rules).await?;
    let restarted = Arc::new(AtomicBool::new(false));
    let playing = tokio::spawn(play_until(restarted.clone(), balancer.nodes(&stack)));

    for number in 0..2 {
        restart(stack.gateway(number)).await?;
        restart(stack.persistence(number)).await?;
    }
    restarted.store(true, Ordering::Relaxed);
    println!("{} messages were sent", playing.await??);

    let bad = prometheus.query("max_over_time(slo:tidings_bad_events:ratio_rate5m[10m])").await?;
    for (objective, allowed) in [("sends", 0.0), ("delivered", MAX_LATE_SHARE), ("stored", MAX_LATE_SHARE)] {
        let series = bad.iter().find(|series| series["metric"]["slo"] == objective);
        let series = series.with_context(|| format!("no data about {objective}: {bad:?}"))?;
        println!("{objective}: at worst a share of {} was bad within five minutes", series["value"][1]);
        let share: f64 = series["value"][1].as_str().context("no value")?.parse()?;
        ensure!(share <= allowed, "{objective}: {share}");
    }
    let of_lateness = prometheus::LATENCY_ALERTS;
    let paging = format!(r#"ALERTS{{alertstate="firing",severity="page",alertname!~"{of_lateness}"}}"#);
    let firing = prometheus.query(&paging).await?;
    ensure!(firing.is_empty(), "alerts of severity page fired: {firing:#?}");
    let metrics = balancer.metrics().await?;
    let failed: Vec<&str> = metrics.lines().filter(|line| is_failure(line)).collect();
    println!("{}", failed.join("\n"));
    ensure!(!failed.is_empty(), "HAProxy has no metric of its answers:\n{metrics}");
    let sum: f64 = failed.iter().map(|line| metric_value(line)).sum::<Result<f64>>()?;
    ensure!(sum == 0.0, "{failed:#?}\n{}", balancer.log()?);
    Ok(())
}

/// Whether a line counts failed answers to clients, from any node or from the load balancer itself.
fn is_failure(line: &str) -> bool {
    line.starts_with("haproxy_frontend_http_responses_total{")
        && line.contains(r#"proxy="public",code="5xx""#)
}

fn metric_value(line: &str) -> Result<f64> {
    Ok(line.rsplit(' ').next().context("no value")?.parse()?)
}
