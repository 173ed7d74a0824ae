//! Runs schedules of faults under load and checks the recorded history: no stored message is lost, no event is
//! duplicated, out of order, missing or seen by an unauthorized user, and all clients catch up. One schedule is random,
//! with the date as its seed. The fixed ones, one for each kind of fault, are long. More random schedules: `./dev
//! faults`.

use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use tidings_harness::faults::{Fault, FaultReport, LinkFault, Plan, run};
use tidings_harness::stack::Link;

/// Messages per second of all senders together. Each goes to twelve clients, which a debug build can sustain.
const MESSAGES_PER_SECOND: u32 = 120;
const SEED: u64 = 4;
/// Seconds until all clients have caught up. The longest wait is a client's timeout for a silent connection, plus its
/// pauses between attempts.
const MAX_SETTLE_S: f64 = 45.0;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

async fn run_without_violations(faults: Vec<Fault>) -> Result<FaultReport> {
    let report = run(&Plan { rate: MESSAGES_PER_SECOND, ..Plan::once(SEED, faults) }).await?;
    ensure!(report.violations == 0, "{} violations: {}", report.violations, report.stories.join("\n"));
    eprintln!("{report:?}");
    ensure_meaningful(&report)?;
    Ok(report)
}

/// Checks that the run proves something: enough messages were stored, also during the faults, and enough of them were
/// changed. Checks also that the clients caught up soon.
fn ensure_meaningful(report: &FaultReport) -> Result<()> {
    ensure!(report.stored > 200 && report.deliveries > 2_000, "{report:?}");
    // For more than half of the time some service is away, and the messages wait for it.
    let due = f64::from(MESSAGES_PER_SECOND) * report.fault_seconds;
    ensure!(report.answered as f64 > due / 5.0, "{} of {due:.0} were answered: {report:?}", report.answered);
    for kind in ["message:edited", "message:deleted", "reaction:added"] {
        ensure!(report.changes.contains_key(kind), "no {kind}: {report:?}");
    }
    ensure!(report.changes.values().sum::<u64>() >= 10, "too few changes: {report:?}");
    ensure!(report.shown_files > 3 && report.images > 0, "too few files: {report:?}");
    ensure!(report.settle_seconds < MAX_SETTLE_S, "clients caught up too late: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn killed_and_paused_gateways_lose_nothing() -> Result<()> {
    let faults = vec![
        Fault::KillGateway(0),
        Fault::PauseGateway(1, ms(4000)),
        Fault::Storm,
        Fault::KillGateway(1),
        Fault::Storm,
    ];
    run_without_violations(faults).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn killed_writers_and_expired_leases_break_nothing() -> Result<()> {
    let faults = vec![
        Fault::KillPersistence(0),
        Fault::PausePersistence(0, ms(7000)),
        Fault::PausePersistence(1, ms(1500)),
        Fault::KillPersistence(1),
    ];
    run_without_violations(faults).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn redis_restart_with_kept_data_opens_epoch_without_loss() -> Result<()> {
    let faults = vec![
        Fault::KillRedis,
        Fault::TruncateRedis(30_000),
        Fault::PauseRedis(ms(3000)),
        Fault::KillRedis,
        Fault::TruncateRedis(300),
    ];
    let report = run_without_violations(faults).await?;
    ensure!(report.new_epochs > 0, "no client saw a new epoch: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn empty_redis_is_seeded_from_stored_events() -> Result<()> {
    let report = run_without_violations(vec![
        Fault::EmptyRedis,
        Fault::EmptyRedis,
        Fault::Nothing(ms(5000)),
        Fault::KillRedis,
        Fault::Nothing(ms(3000)),
        Fault::EmptyRedis,
    ])
    .await?;
    ensure!(report.new_epochs > 0, "no client saw a new epoch: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn redis_failover_to_older_replica_loses_nothing_stored() -> Result<()> {
    let faults = vec![
        Fault::FailOver(ms(2000)),
        Fault::FailOver(ms(0)),
        Fault::SplitBrain(ms(3000)),
        Fault::FailOver(ms(500)),
    ];
    let report = run_without_violations(faults).await?;
    ensure!(report.new_epochs > 0, "no client saw a new epoch: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn writer_waits_for_killed_paused_or_read_only_postgres() -> Result<()> {
    let faults = vec![
        Fault::KillPostgres,
        Fault::PausePostgres(ms(4000)),
        Fault::Nothing(ms(4000)),
        Fault::ReadOnlyPostgres(ms(3000)),
        Fault::Nothing(ms(4000)),
        Fault::KillPostgres,
    ];
    run_without_violations(faults).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn writer_waits_for_full_crowded_or_locked_postgres() -> Result<()> {
    let faults = vec![
        Fault::FullPostgres(ms(3000)),
        Fault::CrowdedPostgres(ms(3000)),
        Fault::LockedPostgres(ms(10_000)),
    ];
    run_without_violations(faults).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn redis_link_faults_break_nothing() -> Result<()> {
    let faults = vec![
        Fault::Link(Link::GatewaysRedis, LinkFault::Reset, ms(0)),
        Fault::Link(Link::GatewaysRedis, LinkFault::BlackHole, ms(4000)),
        Fault::Link(Link::GatewaysRedis, LinkFault::OneWayDown, ms(3000)),
        Fault::Link(Link::GatewaysRedis, LinkFault::OneWayUp, ms(3000)),
        Fault::Link(Link::GatewaysRedis, LinkFault::HalfOpen, ms(0)),
        Fault::Link(Link::PersistenceRedis, LinkFault::BlackHole, ms(4000)),
        Fault::Link(Link::PersistenceRedis, LinkFault::HalfOpen, ms(0)),
        Fault::Link(Link::PersistenceRedis, LinkFault::Refused, ms(2000)),
    ];
    run_without_violations(faults).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn postgres_persistence_and_client_link_faults_break_nothing() -> Result<()> {
    let faults = vec![
        Fault::Link(Link::PersistencePostgres, LinkFault::HalfOpen, ms(0)),
        Fault::Link(Link::PersistencePostgres, LinkFault::BlackHole, ms(4000)),
        Fault::Link(Link::PersistencePostgres, LinkFault::Reset, ms(0)),
        Fault::Link(Link::GatewaysPersistence(0), LinkFault::BlackHole, ms(2000)),
        Fault::Link(Link::ClientsGateway(0), LinkFault::HalfOpen, ms(0)),
        Fault::Link(Link::ClientsGateway(1), LinkFault::BlackHole, ms(4000)),
        Fault::Link(Link::ClientsGateway(0), LinkFault::OneWayUp, ms(3000)),
        Fault::Link(Link::ClientsGateway(1), LinkFault::AnswersLost, ms(1000)),
        Fault::Link(Link::ClientsPersistence(0), LinkFault::Slow, ms(2000)),
    ];
    run_without_violations(faults).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn fixed_seed_faults_break_nothing() -> Result<()> {
    let report =
        run(&Plan { rate: MESSAGES_PER_SECOND, ..Plan::random(SEED, Duration::from_secs(40)) }).await?;
    ensure!(report.violations == 0, "{} violations: {}", report.violations, report.stories.join("\n"));
    ensure!(report.stored > 500 && report.faults.len() > 5, "{report:?}");
    ensure_meaningful(&report)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn killed_and_paused_bucket_loses_no_file() -> Result<()> {
    let faults = [Fault::KillPostgres, Fault::Nothing(ms(8000)), Fault::PausePostgres(ms(4000))];
    let plan = Plan::once(SEED, faults.iter().cycle().take(9).cloned().collect());
    let report = run(&Plan { rate: MESSAGES_PER_SECOND, bucket: true, ..plan }).await?;
    ensure!(report.violations == 0, "{} violations: {}", report.violations, report.stories.join("\n"));
    ensure_meaningful(&report)
}

/// A new seed each day. `TIDINGS_FAULT_SEED` repeats the schedule of an earlier day.
fn seed_of_today() -> Result<u64> {
    match std::env::var("TIDINGS_FAULT_SEED") {
        Ok(seed) => Ok(seed.parse()?),
        Err(_) => Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() / (24 * 60 * 60)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_faults_break_nothing() -> Result<()> {
    run_faults_of_today(false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn random_faults_with_a_bucket_break_nothing() -> Result<()> {
    run_faults_of_today(true).await
}

async fn run_faults_of_today(bucket: bool) -> Result<()> {
    let seed = seed_of_today()?;
    eprintln!("to repeat: TIDINGS_FAULT_SEED={seed} ./dev test random_faults");
    let plan = Plan::random(seed, Duration::from_secs(30));
    let report = run(&Plan { rate: MESSAGES_PER_SECOND, bucket, ..plan }).await?;
    ensure!(report.violations == 0, "{} violations: {}", report.violations, report.stories.join("\n"));
    // The bounds are lower than for a fixed schedule, because a random schedule may contain only outages.
    ensure!(report.stored > 200 && report.faults.len() > 2, "{report:?}");
    ensure!(report.settle_seconds < MAX_SETTLE_S, "clients caught up too late: {report:?}");
    Ok(())
}
