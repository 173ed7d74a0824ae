//! A third of the users are Socket.IO clients, as in all schedules of faults. Here gateways fail, some clients break the
//! rules of Engine.IO, and some stop reading. Nothing is lost, and the memory of the gateways stays within its limits.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidings_harness::faults::{Fault, Noise, Plan, run};

#[tokio::test(flavor = "multi_thread")]
async fn socket_io_users_lose_nothing_beside_engine_misuse() -> Result<()> {
    let misuse = || Fault::Noisy(Noise::EngineMisuse, Duration::from_secs(5));
    let faults =
        vec![misuse(), Fault::KillGateway(0), misuse(), Fault::Storm, Fault::Stall(Duration::from_secs(8))];
    let report = run(&Plan { rate: 120, ..Plan::once(67, faults) }).await?;
    ensure!(report.violations == 0, "{} violations: {}", report.violations, report.stories.join("\n"));
    eprintln!("{report:?}");
    // The limits hold although some did not read.
    ensure!(report.strangers.contains_key("stalled") && report.max_outbox_bytes > 0, "{report:?}");
    ensure!(report.stored > 100 && report.deliveries > 1_000, "{report:?}");
    for transport in ["websocket", "engine_polling", "engine_websocket"] {
        ensure!(report.sessions.get(transport).is_some_and(|count| *count > 0), "{transport}: {report:?}");
    }
    // The answers of each kind of misuse. An unknown session has the code 1, a wrong request the code 3.
    for (misuse, status) in [
        ("NeverPoll", "200"),
        ("CancelPolls", "400"),
        ("ParallelPolls", "400 code 3"),
        ("HalfUpgrades", "200"),
        ("Garbage", "400 code 3"),
        ("Garbage closed", ""),
        ("HugeBodies", ""),
        ("InventedIds", "400 code 1"),
    ] {
        let wanted = format!("{misuse} {status}");
        let counts = report.strangers.iter().filter(|(answer, _)| answer.starts_with(&wanted));
        ensure!(counts.map(|(_, count)| count).sum::<u64>() > 0, "{wanted}: {report:?}");
    }
    Ok(())
}
