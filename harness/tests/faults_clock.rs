//! The wall clock of one process jumps while people talk: no promise hangs on it.

use std::time::Duration;

use anyhow::Result;
use tidings_harness::faults::{Fault, Part, Plan, run};

async fn jumps(seed: u64, part: Part) -> Result<()> {
    let time = Duration::from_secs(3);
    let faults = [3600, -3600, 300, -20].map(|seconds| Fault::Clock(part, seconds, time)).to_vec();
    let report = run(&Plan::once(seed, faults)).await?;
    assert_eq!(report.violations, 0, "{report:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_clock_jumps_keeps_all_promises() -> Result<()> {
    jumps(51, Part::Gateway(0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persistence_node_whose_clock_jumps_keeps_all_promises() -> Result<()> {
    jumps(52, Part::Persistence(0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_whose_clock_jumps_keeps_all_promises() -> Result<()> {
    jumps(53, Part::Redis).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_whose_clock_jumps_keeps_all_promises() -> Result<()> {
    jumps(54, Part::Postgres).await
}
