//! Parts of the system fail while noisy neighbours are active. Nothing is lost, and quiet rooms deliver again after
//! each fault.

use std::time::Duration;

use anyhow::Result;
use tidings_harness::faults::{Fault, Noise, Plan, run};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn quiet_rooms_deliver_again_beside_noisy_neighbours() -> Result<()> {
    let faults = [
        Fault::KillRedis,
        Fault::KillGateway(0),
        Fault::KillPersistence(0),
        Fault::PausePostgres(seconds(2)),
        Fault::KillGateway(1),
    ];
    let calm = || Fault::Nothing(seconds(3));
    let noisy = Noise::ALL.into_iter().zip(faults);
    let faults = noisy.flat_map(|(noise, fault)| [Fault::Noisy(noise, seconds(10)), calm(), fault, calm()]);
    let report = run(&Plan { rate: 120, ..Plan::once(49, faults.collect()) }).await?;
    assert_eq!(report.violations, 0, "{report:#?}");
    // The report measures only faults that a pause follows.
    assert!(report.quiet_seconds.len() > 3, "{report:#?}");
    assert!(report.quiet_seconds.values().all(|seconds| (0.0..30.0).contains(seconds)), "{report:#?}");
    for answer in ["Large", "Signals", "given", "heard", "poll 200", "search 200", "InventedIds 400 code 1"] {
        let count = report.strangers.get(answer).copied().unwrap_or_default();
        assert!(count > 20, "{answer}: {report:#?}");
    }
    Ok(())
}
