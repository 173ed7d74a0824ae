//! Whether a gateway that holds whatever comes for a slow connection would be noticed.

use std::time::Duration;

use anyhow::Result;
use tidings_harness::faults::{Fault, Plan, Report, run};

async fn stalled(settings: &[(&str, &str)]) -> Result<Report> {
    let mut plan = Plan::once(7, vec![Fault::Stall(Duration::from_secs(10))]);
    plan.settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    run(&plan).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_holds_all_that_a_slow_client_does_not_read_breaks_the_rule_bounded() -> Result<()> {
    let report = stalled(&[("TIDINGS_SABOTAGE", "bounded")]).await?;
    assert!(report.rules.contains_key("Bounded"), "{report:#?}");
    let report = stalled(&[]).await?;
    assert!(!report.rules.contains_key("Bounded"), "{report:#?}");
    Ok(())
}
