//! Runs a whole system under load while faults happen, on a schedule from a seed, and checks the recorded history.
//! Touches only what it started itself, on 127.0.0.1.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;

use crate::Stack;
use crate::history::{self, Asked, ChangeOutcome, Checked, History, Rule, Violation};

mod act;
mod bounds;
mod clock;
mod crowd;
mod fault;
mod load;
mod misbehaving;
mod postgres;
mod sound;
mod world;

pub use fault::{Fault, LinkFault, Part};
use misbehaving::MisbehavingClients;
pub use world::World;

const SETTLE_PATIENCE: Duration = Duration::from_secs(120);
/// Violations that are reported with their story.
const MAX_STORIES: usize = 3;

/// The plan of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Seed of the users' choices, and of the faults if none are given.
    pub seed: u64,
    /// How long faults are injected.
    pub duration: Duration,
    /// These faults, one after the other, repeatedly; empty: random faults.
    pub faults: Vec<Fault>,
    /// Messages per second of all users together.
    pub rate: u32,
    /// How long the system may take to settle after the last fault.
    pub settle: Duration,
    /// Additional settings of all nodes.
    pub settings: Vec<(String, String)>,
}

impl Plan {
    /// Random faults for this time at 300 messages per second.
    pub fn random(seed: u64, duration: Duration) -> Plan {
        Plan { seed, duration, faults: Vec::new(), rate: 300, settle: SETTLE_PATIENCE, settings: Vec::new() }
    }

    /// These faults, once each.
    pub fn once(seed: u64, faults: Vec<Fault>) -> Plan {
        Plan { duration: Duration::ZERO, faults, ..Plan::random(seed, Duration::ZERO) }
    }
}

/// The result of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FaultReport {
    /// The seed.
    pub seed: u64,
    /// From the first message to the last.
    pub seconds: f64,
    /// Faults that were injected.
    pub faults: Vec<String>,
    /// Number of answers `stored`.
    pub stored: u64,
    /// Number of answers `accepted` without a later `stored`.
    pub accepted: u64,
    /// How many of these were lost, and reported as lost to their senders.
    pub given_up: u64,
    /// Messages that were answered between the begin of the first fault and the end of the last. Later answers do not
    /// show whether the system worked during the faults.
    pub answered: u64,
    /// From the begin of the first fault to the end of the last.
    pub fault_seconds: f64,
    /// From then until the system was settled.
    pub settle_seconds: f64,
    /// Edits, deletes and reactions that were answered `stored`, by the kind of their events.
    pub changes: BTreeMap<String, u64>,
    /// Events that listeners had at the end.
    pub deliveries: u64,
    /// Number of `room:gap` frames.
    pub gaps: u64,
    /// How often a listener got a new epoch: by a gap or, if PostgreSQL had everything that Redis lost, without a gap.
    pub new_epochs: u64,
    /// Connections made.
    pub connections: u64,
    /// Whether the system settled.
    pub at_rest: bool,
    /// Number of violations.
    pub violations: usize,
    /// The rules that were broken.
    pub broken: BTreeSet<Rule>,
    /// The most bytes that were queued for the connections of one gateway.
    pub max_outbox_bytes: u64,
    /// The most memory of one process, by service.
    pub max_resident_bytes: BTreeMap<String, u64>,
    /// The most that one process has grown by, by service.
    pub max_growth_bytes: BTreeMap<String, u64>,
    /// Connections that gateways closed, by code.
    pub closes: BTreeMap<String, u64>,
    /// What misbehaving clients did, and how they were answered.
    pub strangers: BTreeMap<String, u64>,
    /// The first violations in words, with the events around them.
    pub stories: Vec<String>,
    /// Why the run has no verdict, if so.
    pub error: Option<String>,
}

impl FaultReport {
    /// The report of a run without a verdict.
    pub fn of_none(seed: u64, error: &anyhow::Error) -> FaultReport {
        FaultReport { seed, error: Some(format!("{error:#}")), ..FaultReport::default() }
    }

    /// Whether the run has a verdict and no rule was broken.
    pub fn is_good(&self) -> bool {
        self.error.is_none() && self.violations == 0
    }
}

/// Runs a plan.
///
/// # Errors
/// When the system does not start, no message flows, or the stored data cannot be read.
pub async fn run(plan: &Plan) -> Result<FaultReport> {
    let world = World::start(plan).await?;
    let history = History::default();
    let mut load = load::Load::start(&world, plan, history.clone()).await?;
    load.until_flowing().await?;
    let misbehaving = Arc::new(MisbehavingClients::start(&world, load.rooms()).await?);
    let rooms = load.rooms().to_vec();
    let monitor = bounds::Monitor::start(Arc::clone(&world.stack));

    let mut rng = StdRng::seed_from_u64(plan.seed);
    let mut begun: Vec<(Duration, String)> = Vec::new();
    let (before, faults_from) = (load.answered(), history.now());
    let mut failed = None;
    let end = tokio::time::Instant::now() + plan.duration;
    let mut given = plan.faults.iter().cloned();
    loop {
        let fault = match (given.next(), plan.faults.is_empty()) {
            (Some(fault), _) => fault,
            (None, true) if tokio::time::Instant::now() < end => Fault::random(&mut rng, &world),
            (None, false) if tokio::time::Instant::now() < end => {
                given = plan.faults.iter().cloned();
                continue;
            }
            (None, _) => break,
        };
        begun.push((history.now(), fault.to_string()));
        if let Err(error) = act::act(&world, &misbehaving, &fault).await {
            // The history so far is checked nevertheless.
            failed = Some(format!("{fault} could not be carried out or mended: {error:#}"));
            break;
        }
        begun.push((history.now(), format!("{fault}: over")));
        tokio::time::sleep(fault::pause(&mut rng)).await;
    }
    let (answered, settles_from) = (load.answered() - before, history.now());
    let settling = async {
        load.finish().await?;
        load.until_caught_up(&world).await
    };
    let settled = tokio::time::timeout(plan.settle, settling).await;
    let at_rest = matches!(settled, Ok(Ok(())));
    let settled_at = history.now();
    let mut broken = load.broken();
    broken.extend(failed);
    let mut unsound = load.unsound();
    unsound.extend(misbehaving.broken());
    unsound.extend(sound::panics(&world.stack)?);
    let seen = monitor.finish().await?;
    match settled {
        Ok(Ok(())) => {}
        Ok(Err(error)) => broken.push(format!("{error:#}")),
        Err(_) => broken.push(format!("not at rest within {:?}: {}", plan.settle, load.state())),
    }
    let asked = load.changes().all();
    drop(load);
    let entries = history.take();
    let mut stored = history::read_stored(world.stack.database()).await?;
    stored.retain(|room, _| rooms.contains(room));
    let (checked, mut violations) = history::check(&entries, &stored);
    let reactions = history::read_reactions(world.stack.database()).await?;
    violations.extend(history::check_changes(&asked, &entries, &stored, &reactions));
    let nowhere = |rule, what| Violation { rule, room: String::new(), seq: 0, user: String::new(), what };
    violations.extend(broken.into_iter().map(|what| nowhere(Rule::Protocol, what)));
    violations.extend(unsound.into_iter().map(|what| nowhere(Rule::Sound, what)));
    violations.extend(seen.violations());
    ensure!(checked.stored > 0, "nothing was sent");
    let stories =
        violations.iter().take(MAX_STORIES).map(|broken| history::story(&entries, broken, &begun)).collect();
    let mut report = report(plan.seed, settled_at.as_secs_f64(), begun, &checked, &violations, stories);
    report.answered = answered;
    report.fault_seconds = (settles_from - faults_from).as_secs_f64();
    report.settle_seconds = (settled_at - settles_from).as_secs_f64();
    report.changes = made(&asked);
    report.at_rest = at_rest;
    report.strangers = misbehaving.told();
    report.max_outbox_bytes = seen.outbox_bytes;
    report.max_resident_bytes = seen.resident_bytes;
    report.max_growth_bytes = seen.growth_bytes;
    report.closes = seen.closes;
    Ok(report)
}

/// How many changes were answered `stored`, by the kind of their events.
fn made(asked: &[Asked]) -> BTreeMap<String, u64> {
    let mut made = BTreeMap::new();
    for asked in asked.iter().filter(|asked| matches!(asked.outcome, ChangeOutcome::Stored(_))) {
        *made.entry(asked.change.kind().to_owned()).or_default() += 1;
    }
    made
}

fn report(
    seed: u64,
    seconds: f64,
    begun: Vec<(Duration, String)>,
    checked: &Checked,
    violations: &[Violation],
    stories: Vec<String>,
) -> FaultReport {
    let faults = begun.into_iter().map(|(_, what)| what).filter(|what| !what.ends_with(": over")).collect();
    let Checked { stored, accepted, given_up, deliveries, gaps, new_epochs, connections, .. } = *checked;
    FaultReport {
        seed,
        seconds,
        faults,
        stored,
        accepted,
        given_up,
        deliveries,
        gaps,
        new_epochs,
        connections,
        violations: violations.len(),
        broken: violations.iter().map(|violation| violation.rule).collect(),
        stories,
        ..FaultReport::default()
    }
}

/// A stack for faults: two nodes of each service, proxies everywhere, leases of a few seconds.
async fn stack(settings: &[(String, String)]) -> Result<Arc<Stack>> {
    let mut builder = Stack::builder()
        .gateways(2)
        .persistence(2)
        .own_postgres()
        .proxied()
        .clocks()
        .persistence_env("TIDINGS_LEASE_MS", 3000)
        .gateway_env("TIDINGS_MESSAGES_PER_SECOND", 10_000)
        .gateway_env("TIDINGS_MESSAGES_BURST", 10_000);
    for (name, value) in settings {
        builder = builder.env(name, value);
    }
    Ok(Arc::new(builder.start().await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_with_a_violation_or_without_a_verdict_is_not_good() {
        let good = FaultReport { seed: 3, ..FaultReport::default() };
        assert!(good.is_good());
        assert!(!FaultReport { violations: 1, ..good }.is_good());
        let none = FaultReport::of_none(3, &anyhow::anyhow!("nothing flows"));
        assert!(!none.is_good() && none.error.as_deref() == Some("nothing flows"));
    }

    #[test]
    fn only_changes_with_answer_stored_are_counted() {
        let changes = history::Changes::default();
        for outcome in
            [ChangeOutcome::Stored(2), ChangeOutcome::Unknown, ChangeOutcome::Refused(String::new())]
        {
            let number = changes.ask("r", "alice", 1, history::Change::Delete);
            changes.answer(number, outcome);
        }
        assert_eq!(made(&changes.all()), [("message:deleted".to_owned(), 1)].into());
    }
}
