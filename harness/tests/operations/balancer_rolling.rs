//! A new version at noon: both gateways and both persistence nodes are restarted one after the other behind the shipped
//! load balancer, while a conversation is played through it. Nobody misses or doubles anything, no request and no
//! send fails, nobody would be woken, as a Prometheus with the shipped rules tells.

use crate::prometheus;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::prometheus::Prometheus;
use anyhow::{Context, Result, ensure};
use tidings_harness::balancer::Balancer;
use tidings_harness::play::run::{Direction, Progress, Speed, play};
use tidings_harness::play::transcript;
use tidings_harness::{Node, Nodes, Stack};

/// Longer than the load balancer takes to find out: twice two seconds.
const UNREADY: Duration = Duration::from_secs(6);
const DRAIN: Duration = Duration::from_secs(4);
/// Until the load balancer sends people to a node that is back.
const BACK: Duration = Duration::from_secs(3);
/// About a minute for all of it, so that it is one conversation that the restarts run into.
const TIMES: f64 = 110.0;

/// Of late events, at worst: a busy machine makes some late, restarts that held messages up would make many late.
/// Alerts on lateness fire at less, so they are not asked for here.
const LATE: f64 = 0.05;

/// Plays the conversation, and again as long as restarts go on: each by itself was noticed by nobody.
async fn play_until(restarted: Arc<AtomicBool>, nodes: Nodes) -> Result<u64> {
    let conversation = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ubuntu-2016-12-19.jsonl");
    let conversations = transcript::read(&[conversation])?;
    let mut messages = 0;
    loop {
        let (direction, progress) = (Direction::new(Speed::Times(TIMES), 20), Progress::default());
        let (report, verdict) = play(conversations.clone(), direction, nodes.clone(), &progress).await?;
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
    tokio::time::sleep(BACK).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: a rolling restart"]
async fn a_rolling_restart_behind_the_load_balancer_is_noticed_by_nobody() -> Result<()> {
    let builder = Stack::builder().gateways(2).persistence(2);
    let builder = builder.gateway_env("TIDINGS_DRAIN_MS", DRAIN.as_millis());
    let stack = builder.env("TIDINGS_UNREADY_MS", UNREADY.as_millis()).start().await?;
    let balancer = Balancer::of(&stack).await?;
    let prometheus = Prometheus::start(&stack, |rules| rules).await?;
    let restarted = Arc::new(AtomicBool::new(false));
    let playing = tokio::spawn(play_until(restarted.clone(), balancer.nodes(&stack)));

    for number in 0..2 {
        restart(stack.gateway(number)).await?;
        restart(stack.persistence(number)).await?;
    }
    restarted.store(true, Ordering::Relaxed);
    println!("{} messages were said", playing.await??);

    let bad = prometheus.query("max_over_time(slo:tidings_bad_events:ratio_rate5m[10m])").await?;
    for (objective, allowed) in [("sends", 0.0), ("delivered", LATE), ("stored", LATE)] {
        let series = bad.iter().find(|series| series["metric"]["slo"] == objective);
        let series = series.with_context(|| format!("nothing is known of {objective}: {bad:?}"))?;
        println!("{objective}: at worst {} of five minutes were bad", series["value"][1]);
        let share: f64 = series["value"][1].as_str().context("no value")?.parse()?;
        ensure!(share <= allowed, "{objective}: {share}");
    }
    let of_lateness = prometheus::OF_LATENESS;
    let woken = format!(r#"ALERTS{{alertstate="firing",severity="page",alertname!~"{of_lateness}"}}"#);
    let firing = prometheus.query(&woken).await?;
    ensure!(firing.is_empty(), "somebody was woken: {firing:#?}");
    let metrics = balancer.metrics().await?;
    let failed: Vec<&str> = metrics.lines().filter(|line| is_failure(line)).collect();
    println!("{}", failed.join("\n"));
    ensure!(!failed.is_empty(), "HAProxy does not tell what it answered:\n{metrics}");
    let sum: f64 = failed.iter().map(|line| value(line)).sum::<Result<f64>>()?;
    ensure!(sum == 0.0, "{failed:#?}\n{}", balancer.log()?);
    Ok(())
}

/// What clients were told of failure by whichever node, or by the load balancer itself.
fn is_failure(line: &str) -> bool {
    line.starts_with("haproxy_frontend_http_responses_total{")
        && line.contains(r#"proxy="public",code="5xx""#)
}

fn value(line: &str) -> Result<f64> {
    Ok(line.rsplit(' ').next().context("no value")?.parse()?)
}
