//! Clients that vanish, stall and flood, beside people who talk: nobody else notices.

use std::time::Duration;

use anyhow::Result;
use tidings_harness::faults::{Fault, Plan, Report, run};

/// So many people talk; each is to keep the connection that they began with.
const PEOPLE: u64 = 12;

fn assert_unnoticed(report: &Report) {
    assert_eq!(report.violations, 0, "{report:#?}");
    assert_eq!(report.connections, PEOPLE, "somebody lost a connection: {report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn clients_that_vanish_are_forgotten_after_two_heartbeats_and_nobody_else_notices() -> Result<()> {
    let flood = Fault::Flood(Duration::from_secs(5));
    let mut plan = Plan::once(41, vec![Fault::Vanish(12), flood.clone(), flood]);
    plan.settings = vec![("TIDINGS_HEARTBEAT_MS".to_owned(), "2000".to_owned())];
    let report = run(&plan).await?;
    assert_unnoticed(&report);
    assert_eq!((report.strangers["vanished"], report.strangers["reset"]), (8, 4), "{report:#?}");
    assert!(report.closes.get("4408").is_some_and(|closes| *closes >= 8), "{report:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn clients_that_do_not_read_are_closed_before_much_is_held_for_them() -> Result<()> {
    let report = run(&Plan::once(42, vec![Fault::Stall(Duration::from_secs(10))])).await?;
    assert_unnoticed(&report);
    assert_eq!(report.strangers["stalled"], 8, "{report:#?}");
    assert_eq!(report.closes.get("4413"), Some(&8), "{report:#?}");
    assert!(report.max_outbox_bytes > 0, "{report:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn clients_that_flood_are_limited_or_closed_and_nobody_else_notices() -> Result<()> {
    let report = run(&Plan::once(43, vec![Fault::Flood(Duration::from_secs(16))])).await?;
    assert_unnoticed(&report);
    let told = |what: &str| report.strangers.get(what).copied().unwrap_or_default();
    for what in ["rate_limited", "bad_request", "accepted", "HTTP 400", "HTTP 201"] {
        assert!(told(what) > 20, "{what}: {report:#?}");
    }
    for what in ["Breaches closed 1003", "Breaches closed 1009", "Live closed 4429"] {
        assert!(told(what) > 0, "{what}: {report:#?}");
    }
    Ok(())
}
