//! Some clients vanish, stall or flood while others talk. The others must not be affected.

use std::time::Duration;

use anyhow::Result;
use tidings_harness::faults::{Fault, FaultReport, Plan, run};

/// The number of talking clients. Each must keep its first connection.
const TALKING_CLIENTS: u64 = 12;

fn assert_others_unaffected(report: &FaultReport) {
    assert_eq!(report.violations, 0, "{report:#?}");
    assert_eq!(report.connections, TALKING_CLIENTS, "a talking client lost its connection: {report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn vanished_clients_are_closed_after_two_heartbeats() -> Result<()> {
    let flood = Fault::Flood(Duration::from_secs(5));
    let mut plan = Plan::once(41, vec![Fault::Vanish(12), flood.clone(), flood]);
    plan.settings = vec![("TIDINGS_HEARTBEAT_MS".to_owned(), "2000".to_owned())];
    let report = run(&plan).await?;
    assert_others_unaffected(&report);
    assert_eq!((report.strangers["vanished"], report.strangers["reset"]), (8, 4), "{report:#?}");
    assert!(report.closes.get("4408").is_some_and(|closes| *closes >= 8), "{report:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn non_reading_clients_are_closed_at_outbox_limit() -> Result<()> {
    // A gateway closes a connection to which it could write nothing for 10 s.
    let report = run(&Plan::once(42, vec![Fault::Stall(Duration::from_secs(30))])).await?;
    assert_others_unaffected(&report);
    assert_eq!(report.strangers["stalled"], 8, "{report:#?}");
    assert_eq!(report.closes.get("4413"), Some(&8), "{report:#?}");
    assert!(report.max_outbox_bytes > 0, "{report:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn flooding_clients_are_limited_and_disturb_nobody() -> Result<()> {
    let report = run(&Plan::once(43, vec![Fault::Flood(Duration::from_secs(16))])).await?;
    assert_others_unaffected(&report);
    let count = |outcome: &str| report.strangers.get(outcome).copied().unwrap_or_default();
    for outcome in ["rate_limited", "bad_request", "accepted", "HTTP 400", "HTTP 201"] {
        assert!(count(outcome) > 20, "{outcome}: {report:#?}");
    }
    for outcome in ["Breaches closed 1003", "Breaches closed 1009", "Live closed 4429"] {
        assert!(count(outcome) > 0, "{outcome}: {report:#?}");
    }
    Ok(())
}
