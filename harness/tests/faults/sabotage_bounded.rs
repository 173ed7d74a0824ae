//! The checker detects a gateway that buffers without a limit for a slow connection.

use std::time::Duration;

use anyhow::Result;
use tidings_harness::faults::{Fault, FaultReport, Plan, run};
use tidings_harness::history::Rule;

async fn run_with_stalled_client(stall_seconds: u64, settings: &[(&str, &str)]) -> Result<FaultReport> {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let faults = vec![Fault::Stall(Duration::from_secs(stall_seconds))];
    run(&Plan { settings, rate: 120, ..Plan::once(7, faults) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn unbounded_outbox_of_slow_client_is_detected() -> Result<()> {
    // The stall is long, because a busy machine delivers few messages per second.
    let report = run_with_stalled_client(20, &[("TIDINGS_SABOTAGE", "bounded")]).await?;
    assert!(report.broken.contains(&Rule::Bounded), "{report:#?}");
    assert!(report.max_outbox_bytes > 4 << 20, "{report:#?}");
    let report = run_with_stalled_client(10, &[]).await?;
    assert!(!report.broken.contains(&Rule::Bounded), "{report:#?}");
    Ok(())
}
