//! A rolling restart of three gateways and two persistence nodes under load: no sender gets an error, nothing is
//! missing or duplicated, and clients do not reconnect all at once.

use crate::crowd;
use std::time::{Duration, Instant};

use crate::crowd::Crowd;
use anyhow::{Result, ensure};
use tidings_harness::{Node, Stack};

const DRAIN_TIME: Duration = Duration::from_secs(10);
/// The number of slices of the drain time in which reconnects are counted.
const SLICES: u32 = 10;
/// How long the load continues between two restarts.
const PAUSE_BETWEEN_RESTARTS: Duration = Duration::from_secs(2);

/// Restarts a node; returns when the stop began and when the process was gone.
async fn restart(node: &Node) -> Result<(Instant, Instant)> {
    let begun = Instant::now();
    node.stop().await?;
    let gone = Instant::now();
    node.restart().await?;
    tokio::time::sleep(PAUSE_BETWEEN_RESTARTS).await;
    Ok((begun, gone))
}

/// Counts the moments in each slice of the drain time.
fn count_by_slice(moments: &[Instant], begun: Instant) -> Vec<usize> {
    let slice = DRAIN_TIME / SLICES;
    let mut counts = vec![0; SLICES as usize];
    for moment in moments {
        let number = moment.duration_since(begun).as_nanos() / slice.as_nanos();
        let last = counts.len() - 1;
        counts[usize::try_from(number).unwrap_or(last).min(last)] += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: a rolling restart"]
async fn rolling_restart_under_load_loses_nothing_without_errors() -> Result<()> {
    let builder = Stack::builder().gateways(3).persistence(2);
    let builder = builder.gateway_env("TIDINGS_DRAIN_MS", DRAIN_TIME.as_millis());
    let builder = builder.gateway_env("TIDINGS_MESSAGES_PER_SECOND", 1_000);
    let stack = builder.persistence_env("TIDINGS_UNREADY_MS", 1_000).start().await?;
    let crowd = Crowd::start(&stack).await?;
    tokio::time::sleep(PAUSE_BETWEEN_RESTARTS).await;

    let mut drains = Vec::new();
    for number in 0..3 {
        drains.push((number, restart(stack.gateway(number)).await?));
        if number < 2 {
            restart(stack.persistence(number)).await?;
        }
    }
    let done = crowd.finish().await?;

    println!("{} connects refused, {} requests refused by HTTP", done.refused_connects.len(), done.refused);
    println!("{} messages in {:?}, {} a second", done.messages, done.took, done.rate());
    let mut reconnects = 0;
    for (number, (begun, gone)) in drains {
        let moments = done.connected_between(begun, gone);
        let slices = count_by_slice(&moments, begun);
        println!("gateway {number}: {} reconnects in {:?}: {slices:?}", moments.len(), gone - begun);
        let (mean, peak) =
            (moments.len() as f64 / f64::from(SLICES), slices.iter().max().copied().unwrap_or(0));
        ensure!(peak as f64 <= 3.0 * mean, "gateway {number}: peak {peak}, mean {mean}: {slices:?}");
        let log = stack.gateway(number).log()?;
        ensure!(log.contains(r#""cut":0"#), "a connection that left in time was cut off: {log}");
        reconnects += moments.len();
    }
    // Every gateway is restarted, so each client reconnects at least once.
    ensure!(reconnects >= crowd::CONNECTIONS, "{reconnects} reconnects");
    ensure!(done.errors.is_empty(), "{} errors: {:#?}", done.errors.len(), done.errors);
    // A stopping node refuses connections, or its port is closed already.
    let known = |why: &&String| why.contains("this node is stopping") || why.contains("Connection refused");
    let unknown: Vec<&String> = done.refused_connects.iter().filter(|why| !known(why)).collect();
    ensure!(unknown.is_empty(), "{unknown:#?}");
    ensure!(done.verdict.is_clean(), "{:#?}", done.verdict);
    ensure!(done.rate() >= 100.0, "no load: {} a second", done.rate());
    Ok(())
}
