//! Runs schedules of faults of a Redis Cluster under load, and checks the recorded history as with a single Redis. The
//! cluster has three masters with a replica each. Random schedules: `./dev faults --redis-cluster`.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidings_harness::faults::{Fault, FaultReport, Plan, ShardFault, run};

/// Messages per second of all senders together, as in the tests of a single Redis.
const MESSAGES_PER_SECOND: u32 = 120;
const SEED: u64 = 61;
/// Limit of the 99th percentile of the latencies in rooms of other shards. It is high because a loaded machine takes
/// seconds; the report has the figure.
const MAX_OTHER_SHARDS_S: f64 = 15.0;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

async fn run_without_violations(plan: Plan) -> Result<FaultReport> {
    let report = run(&Plan { rate: MESSAGES_PER_SECOND, ..plan.on_cluster() }).await?;
    ensure!(report.violations == 0, "{} violations: {}", report.violations, report.stories.join("\n"));
    eprintln!("{report:?}");
    ensure!(report.stored > 200 && report.deliveries > 2_000, "{report:?}");
    let is_prompt = report.other_shards_p99_seconds.values().all(|seconds| *seconds < MAX_OTHER_SHARDS_S);
    ensure!(is_prompt && report.other_shards_p99_seconds.contains_key("Nothing"), "{report:?}");
    Ok(report)
}

/// Runs faults of the shards that own these rooms.
async fn run_shard_faults(faults: &[(usize, ShardFault)]) -> Result<FaultReport> {
    let faults = faults.iter().map(|(room, fault)| Fault::Shard(*room, *fault)).collect();
    run_without_violations(Plan::once(SEED, faults)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn failover_and_moved_slots_under_load_lose_nothing() -> Result<()> {
    let faults = [(0, ShardFault::FailOver), (1, ShardFault::MoveHalf), (2, ShardFault::MoveSlot)];
    let report = run_shard_faults(&faults).await?;
    ensure!(report.new_epochs > 0, "no client saw a new epoch: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn killed_and_paused_masters_lose_nothing_stored() -> Result<()> {
    // The replica takes over after a pause that is longer than the node timeout of one second.
    let report = run_shard_faults(&[
        (0, ShardFault::Restart(ms(500))),
        (1, ShardFault::Pause(ms(500))),
        (2, ShardFault::Restart(ms(3000))),
        (3, ShardFault::Pause(ms(4000))),
        (4, ShardFault::FailOver),
    ])
    .await?;
    ensure!(report.new_epochs > 0, "no client saw a new epoch: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn promoted_older_replicas_lose_nothing_stored() -> Result<()> {
    let report = run_shard_faults(&[
        (0, ShardFault::OlderReplica(ms(2000))),
        (1, ShardFault::OlderReplica(ms(500))),
        (0, ShardFault::MoveHalf),
        (0, ShardFault::OlderReplica(ms(2000))),
    ])
    .await?;
    ensure!(report.new_epochs > 0, "no client saw a new epoch: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn full_shards_lose_nothing() -> Result<()> {
    run_shard_faults(&[
        (0, ShardFault::Full(ms(3000))),
        (1, ShardFault::Full(ms(1000))),
        (2, ShardFault::FailOver),
        (2, ShardFault::Full(ms(3000))),
    ])
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn fixed_seed_cluster_faults_break_nothing() -> Result<()> {
    let report = run_without_violations(Plan::random(SEED, Duration::from_secs(60))).await?;
    ensure!(report.faults.len() > 5, "{report:?}");
    Ok(())
}
