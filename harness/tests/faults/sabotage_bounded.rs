//! Whether a gateway that holds whatever comes for a slow connection would be noticed.

use std::time::Duration;

use anyhow::Result;
use tidings_harness::faults::{Fault, Plan, Report, run};
use tidings_harness::history::Rule;

async fn stalled(settings: &[(&str, &str)]) -> Result<Report> {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let faults = vec![Fault::Stall(Duration::from_secs(10))];
    run(&Plan { settings, rate: 120, ..Plan::once(7, faults) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_holds_all_that_a_slow_client_does_not_read_breaks_the_rule_bounded() -> Result<()> {
    let report = stalled(&[("TIDINGS_SABOTAGE", "bounded")]).await?;
    assert!(report.broken.contains(&Rule::Bounded), "{report:#?}");
    assert!(report.max_outbox_bytes > 4 << 20, "{report:#?}");
    let report = stalled(&[]).await?;
    assert!(!report.broken.contains(&Rule::Bounded), "{report:#?}");
    Ok(())
}
