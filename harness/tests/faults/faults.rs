//! Schedules of faults under load, and the verdict on what everybody saw: nothing that was stored is lost, nothing is
//! doubled, out of order, incomplete or seen by whom it is not for, and everybody comes to rest. One is drawn by the
//! date; the fixed ones, one for each kind of fault, are long. More random schedules: `./dev faults`.

use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use tidings_harness::faults::{Fault, LinkFault, Plan, Report, run};
use tidings_harness::stack::Link;

/// Messages a second, of all together, which a build without optimisation delivers twelve times over.
const RATE: u32 = 120;
const SEED: u64 = 4;
/// Of what waits the longest: a client's patience with a connection that fell silent, and its pauses between attempts.
const SETTLED_WITHIN_S: f64 = 45.0;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

async fn nothing_is_broken_by(faults: Vec<Fault>) -> Result<Report> {
    let report = run(&Plan { rate: RATE, ..Plan::once(SEED, faults) }).await?;
    ensure!(report.violations == 0, "{} violations\n{}", report.violations, report.stories.join("\n"));
    eprintln!("{report:?}");
    shows_something(&report)?;
    Ok(report)
}

/// A run in which hardly anything was said, or only before anything broke, or hardly anything was changed, shows nothing.
/// And what was broken is over soon.
fn shows_something(report: &Report) -> Result<()> {
    ensure!(report.stored > 200 && report.deliveries > 2_000, "{report:?}");
    // Half of the time and more something is away for which a message waits.
    let due = f64::from(RATE) * report.fault_seconds;
    ensure!(report.answered as f64 > due / 5.0, "{} of {due:.0} were answered: {report:?}", report.answered);
    for kind in ["message:edited", "message:deleted", "reaction:added"] {
        ensure!(report.changes.contains_key(kind), "no {kind}: {report:?}");
    }
    ensure!(report.changes.values().sum::<u64>() >= 10, "hardly anything was changed: {report:?}");
    ensure!(report.settle_seconds < SETTLED_WITHIN_S, "at rest late: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn gateways_that_are_killed_and_stand_still_lose_nothing() -> Result<()> {
    let faults = vec![
        Fault::KillGateway(0),
        Fault::PauseGateway(1, ms(4000)),
        Fault::Storm,
        Fault::KillGateway(1),
        Fault::Storm,
    ];
    nothing_is_broken_by(faults).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn writers_that_are_killed_and_stand_still_longer_than_their_leases_do_no_harm() -> Result<()> {
    let faults = vec![
        Fault::KillPersistence(0),
        Fault::PausePersistence(0, ms(7000)),
        Fault::PausePersistence(1, ms(1500)),
        Fault::KillPersistence(1),
    ];
    nothing_is_broken_by(faults).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn a_redis_that_starts_again_with_what_it_has_kept_opens_a_new_epoch_without_loss() -> Result<()> {
    let faults = vec![
        Fault::KillRedis,
        Fault::TruncateRedis(30_000),
        Fault::PauseRedis(ms(3000)),
        Fault::KillRedis,
        Fault::TruncateRedis(300),
    ];
    let report = nothing_is_broken_by(faults).await?;
    ensure!(report.new_epochs > 0, "nobody was told: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn a_redis_that_comes_back_empty_is_seeded_from_what_is_stored() -> Result<()> {
    let report = nothing_is_broken_by(vec![
        Fault::EmptyRedis,
        Fault::EmptyRedis,
        Fault::Nothing(ms(5000)),
        Fault::KillRedis,
        Fault::Nothing(ms(3000)),
        Fault::EmptyRedis,
    ])
    .await?;
    ensure!(report.new_epochs > 0, "nobody was told: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn an_older_replica_that_takes_over_loses_nothing_that_was_stored() -> Result<()> {
    let faults = vec![
        Fault::FailOver(ms(2000)),
        Fault::FailOver(ms(0)),
        Fault::SplitBrain(ms(3000)),
        Fault::FailOver(ms(500)),
    ];
    let report = nothing_is_broken_by(faults).await?;
    ensure!(report.new_epochs > 0, "nobody was told: {report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn a_postgres_that_dies_stands_still_or_takes_no_writes_is_waited_for() -> Result<()> {
    let faults = vec![
        Fault::KillPostgres,
        Fault::PausePostgres(ms(4000)),
        Fault::Nothing(ms(4000)),
        Fault::ReadOnlyPostgres(ms(3000)),
        Fault::Nothing(ms(4000)),
        Fault::KillPostgres,
    ];
    nothing_is_broken_by(faults).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn a_postgres_that_is_full_crowded_or_locked_for_ten_seconds_is_waited_for() -> Result<()> {
    let faults = vec![
        Fault::FullPostgres(ms(3000)),
        Fault::CrowdedPostgres(ms(3000)),
        Fault::LockedPostgres(ms(10_000)),
    ];
    nothing_is_broken_by(faults).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn whatever_happens_to_the_connections_to_redis_is_made_good() -> Result<()> {
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
    nothing_is_broken_by(faults).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn whatever_happens_to_the_other_connections_is_made_good() -> Result<()> {
    let faults = vec![
        Fault::Link(Link::PersistencePostgres, LinkFault::HalfOpen, ms(0)),
        Fault::Link(Link::PersistencePostgres, LinkFault::BlackHole, ms(4000)),
        Fault::Link(Link::PersistencePostgres, LinkFault::Reset, ms(0)),
        Fault::Link(Link::GatewaysPersistence(0), LinkFault::BlackHole, ms(2000)),
        Fault::Link(Link::ClientsGateway(0), LinkFault::HalfOpen, ms(0)),
        Fault::Link(Link::ClientsGateway(1), LinkFault::BlackHole, ms(4000)),
        Fault::Link(Link::ClientsGateway(0), LinkFault::OneWayUp, ms(3000)),
        Fault::Link(Link::ClientsPersistence(0), LinkFault::Slow, ms(2000)),
    ];
    nothing_is_broken_by(faults).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: a schedule of faults"]
async fn faults_drawn_by_a_fixed_seed_break_nothing() -> Result<()> {
    let report = run(&Plan { rate: RATE, ..Plan::random(SEED, Duration::from_secs(40)) }).await?;
    ensure!(report.violations == 0, "{} violations\n{}", report.violations, report.stories.join("\n"));
    ensure!(report.stored > 500 && report.faults.len() > 5, "{report:?}");
    shows_something(&report)
}

/// Another one each day; `TIDINGS_FAULT_SEED` draws that of an earlier day again.
fn seed_of_today() -> Result<u64> {
    match std::env::var("TIDINGS_FAULT_SEED") {
        Ok(seed) => Ok(seed.parse()?),
        Err(_) => Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() / (24 * 60 * 60)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_faults_break_nothing() -> Result<()> {
    let seed = seed_of_today()?;
    eprintln!("again: TIDINGS_FAULT_SEED={seed} ./dev test random_faults_break_nothing");
    let report = run(&Plan { rate: RATE, ..Plan::random(seed, Duration::from_secs(40)) }).await?;
    ensure!(report.violations == 0, "{} violations\n{}", report.violations, report.stories.join("\n"));
    // Less than of a fixed schedule: a seed may draw outages alone.
    ensure!(report.stored > 200 && report.faults.len() > 2, "{report:?}");
    ensure!(report.settle_seconds < SETTLED_WITHIN_S, "at rest late: {report:?}");
    Ok(())
}
