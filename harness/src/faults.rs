//! Runs a whole system under load, injects faults that a seed determines, and checks the recorded history.
//! Touches only processes that it started, on 127.0.0.1. Long because it has all steps of a run in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;

use crate::Stack;
use crate::history::{self, ChangeOutcome, CheckCounts, History, RequestedChange, Rule, Violation};
use crate::redis::RedisTopology;

mod act;
mod bounds;
mod clock;
mod crowd;
mod fault;
mod feed;
mod files;
mod load;
mod misbehaving;
mod postgres;
mod prefix;
mod push;
mod quiet;
mod replicas;
mod shard;
mod sound;
mod webhooks;
mod world;

pub use fault::{Fault, LinkFault, Part};
use misbehaving::MisbehavingClients;
pub use misbehaving::Noise;
use quiet::QuietRooms;
pub use shard::ShardFault;
pub use world::World;

const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Minimum of the faults in a run with random faults. The run takes longer than planned if needed.
const MIN_RANDOM_FAULTS: usize = 3;
/// In a cluster, time without a fault at the start. The latencies during faults are compared with those of this time.
const BASELINE_TIME: Duration = Duration::from_secs(3);
/// Limit of the violations of one rule that a report describes by the entries near them.
const MAX_STORIES_PER_RULE: usize = 3;

/// The plan of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Seed of the users' choices, and of the faults if none are given.
    pub seed: u64,
    /// How long faults are injected.
    pub duration: Duration,
    /// The faults, in this order, repeated until `duration` has passed. If empty, the faults are random.
    pub faults: Vec<Fault>,
    /// Messages per second of all users together.
    pub rate: u32,
    /// Timeout for the system to settle after the last fault.
    pub settle: Duration,
    /// Additional settings of all nodes.
    pub settings: Vec<(String, String)>,
    /// The Redis of the system. It decides which faults are possible.
    pub redis: RedisTopology,
    /// Whether the files are in a bucket, whose server is disturbed too. Otherwise they are in a folder.
    pub bucket: bool,
}

impl Plan {
    /// A plan with random faults for this time, at 300 messages per second.
    pub fn random(seed: u64, duration: Duration) -> Plan {
        Plan {
            seed,
            duration,
            faults: Vec::new(),
            rate: 300,
            settle: SETTLE_TIMEOUT,
            settings: Vec::new(),
            redis: RedisTopology::Single,
            bucket: false,
        }
    }

    /// A plan with each of these faults once.
    pub fn once(seed: u64, faults: Vec<Fault>) -> Plan {
        Plan { duration: Duration::ZERO, faults, ..Plan::random(seed, Duration::ZERO) }
    }

    /// The same plan for a Redis Cluster of three masters with a replica each.
    #[must_use]
    pub fn on_cluster(self) -> Plan {
        Plan { redis: RedisTopology::Cluster { masters: 3, replicas_per_master: 1 }, ..self }
    }
}

/// The result of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FaultReport {
    pub seed: u64,
    /// Time from the start of the load until the system was settled.
    pub seconds: f64,
    /// Faults that were injected.
    pub faults: Vec<String>,
    /// Number of answers `stored`.
    pub stored: u64,
    /// Number of answers `accepted` without a later `stored`.
    pub accepted: u64,
    /// How many of the `accepted` messages were lost, and reported as lost to their senders.
    pub given_up: u64,
    /// Number of messages that were answered between the start of the first fault and the end of the last. Later
    /// answers do not show whether the system worked during the faults.
    pub answered: u64,
    /// Time from the start of the first fault to the end of the last.
    pub fault_seconds: f64,
    /// Time from the end of the last fault until the system was settled.
    pub settle_seconds: f64,
    /// Number of edits, deletes and reactions that were answered `stored`, by the type of their events.
    pub changes: BTreeMap<String, u64>,
    /// Number of events that listeners had at the end, summed over all listeners.
    pub deliveries: u64,
    /// Number of events that the consumers of the feed got.
    pub fed: u64,
    /// Number of events that the receiver of webhooks got.
    pub webhook_events: u64,
    /// Number of stored messages of which `tidings-push` notified the user who is away.
    pub notified: u64,
    /// Number of files that stored messages show. Each was downloaded and compared.
    pub shown_files: u64,
    /// How many of these are images. The preview of each was decoded.
    pub images: u64,
    /// Number of complete files that no stored message shows.
    pub unshown_files: u64,
    /// Number of `room:gap` frames.
    pub gaps: u64,
    /// How often a listener got a new epoch. This needs no gap if PostgreSQL had everything that Redis lost.
    pub new_epochs: u64,
    /// Number of connections that listeners opened.
    pub connections: u64,
    /// The longest recovery of the quiet rooms, in seconds, by kind of fault: the time from the end of a fault until
    /// every quiet room has delivered a newer message. Longer times count as 30 s. A fault that the next one follows
    /// without a pause is not measured.
    pub quiet_seconds: BTreeMap<String, f64>,
    /// In a cluster, the 99th percentile of the latencies of quiet rooms in other shards than the fault, in seconds, by
    /// kind of fault. `Nothing` stands for all quiet rooms without a fault.
    pub other_shards_p99_seconds: BTreeMap<String, f64>,
    /// Whether the system settled within [`Plan::settle`].
    pub at_rest: bool,
    pub violations: usize,
    /// The rules that were broken.
    pub broken: BTreeSet<Rule>,
    /// Maximum of the bytes that were queued for the connections of one gateway.
    pub max_outbox_bytes: u64,
    /// Maximum of the resident memory of one process, by service.
    pub max_resident_bytes: BTreeMap<String, u64>,
    /// Maximum growth of the resident memory of one process since its first measurement, by service.
    pub max_growth_bytes: BTreeMap<String, u64>,
    /// Number of connections that gateways closed, by close code.
    pub closes: BTreeMap<String, u64>,
    /// Number of sessions that gateways opened, by transport.
    pub sessions: BTreeMap<String, u64>,
    /// The answers to misbehaving clients, with their counts.
    pub strangers: BTreeMap<String, u64>,
    /// The first violations in words, with the events around them.
    pub stories: Vec<String>,
    /// The error if the run has no verdict.
    pub error: Option<String>,
}

impl FaultReport {
    /// The report of a run without a verdict.
    pub fn without_verdict(seed: u64, error: &anyhow::Error) -> FaultReport {
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
/// When the system does not start, no message is delivered, or the stored data cannot be read.
pub async fn run(plan: &Plan) -> Result<FaultReport> {
    let world = World::start(plan).await?;
    let history = History::default();
    let mut load = load::Load::start(&world, plan, history.clone()).await?;
    load.wait_until_flowing().await?;
    let misbehaving = Arc::new(MisbehavingClients::start(&world, load.rooms()).await?);
    let rooms = load.rooms().to_vec();
    let mut quiet = QuietRooms::start(&world.stack).await?;
    crate::stack::set_feed(world.stack.database().url(), true).await?;
    let feed = feed::FeedConsumers::start(&world);
    let webhook = webhooks::WebhookReceiver::start(&world, plan.seed, &plan.settings).await?;
    let mut sharers = files::FileSharers::start(&world, plan, &load).await?;
    let mut away = push::AwayUser::start(&world, plan).await?;
    let monitor = bounds::ResourceMonitor::start(Arc::clone(&world.stack));
    let prefix = prefix::PrefixMonitor::start(&world.stack, &history, &rooms);

    let mut rng = StdRng::seed_from_u64(plan.seed);
    let mut begun: Vec<(Duration, String)> = Vec::new();
    let mut redis_losses = Vec::new();
    let (before, faults_from) = (load.answered_count(), history.now());
    let mut failed = None;
    let end = tokio::time::Instant::now() + plan.duration;
    // `begun` has two entries for each fault: its start and its end.
    let at_least = if plan.duration.is_zero() { 0 } else { 2 * MIN_RANDOM_FAULTS };
    let mut planned_faults = plan.faults.iter().cloned();
    let mut baseline = world.cluster().is_ok().then_some(Fault::Nothing(BASELINE_TIME));
    loop {
        let fault = match (baseline.take().or_else(|| planned_faults.next()), plan.faults.is_empty()) {
            (Some(fault), _) => fault,
            (None, true) if tokio::time::Instant::now() < end || begun.len() < at_least => {
                Fault::random(&mut rng, &world)
            }
            (None, false) if tokio::time::Instant::now() < end => {
                planned_faults = plan.faults.iter().cloned();
                continue;
            }
            (None, _) => break,
        };
        let fault_from = history.now();
        begun.push((fault_from, fault.to_string()));
        let act = async {
            let window = quiet.begin_fault(&world.stack, &rooms, &fault).await?;
            act::inject_and_repair(&world, &misbehaving, &rooms, &fault).await?;
            quiet.end_fault(window);
            anyhow::Ok(())
        };
        let outcome = act.await;
        if fault.may_lose_redis_data() {
            redis_losses.push(fault_from..=history.now());
        }
        if let Err(error) = outcome {
            // The run ends, and the history so far is checked.
            failed = Some(format!("{fault} could not be carried out or mended: {error:#}"));
            break;
        }
        begun.push((history.now(), format!("{fault}: over")));
        let pause = fault::random_pause(&mut rng);
        if !pause.is_zero() {
            let waited = quiet.measure_recovery(&fault).await;
            tokio::time::sleep(pause.saturating_sub(waited)).await;
        }
    }
    misbehaving.stop_noise();
    let quiet_seconds = quiet.finish();
    let (answered, settles_from) = (load.answered_count() - before, history.now());
    sharers.stop();
    away.stop();
    let settling = async {
        load.finish().await?;
        sharers.finish().await?;
        away.finish().await?;
        load.wait_until_caught_up(&world).await
    };
    let settled = tokio::time::timeout(plan.settle, settling).await;
    let at_rest = matches!(settled, Ok(Ok(())));
    let settled_at = history.now();
    sharers.abort();
    away.abort();
    let mut client_errors = load.client_errors();
    client_errors.extend(failed);
    client_errors.extend(quiet.client_errors());
    client_errors.extend(sharers.client_errors());
    let mut internal_errors = load.internal_errors();
    internal_errors.extend(misbehaving.internal_errors());
    internal_errors.extend(sharers.internal_errors()?);
    internal_errors.extend(sound::panics_in_logs(&world.stack)?);
    let seen = monitor.finish().await?;
    match settled {
        Ok(Ok(())) => {}
        Ok(Err(error)) => client_errors.push(format!("{error:#}")),
        Err(_) => {
            client_errors.push(format!("not at rest within {:?}: {}", plan.settle, load.describe_listeners()))
        }
    }
    let requested = load.changes().all();
    drop(load);
    let entries = history.take();
    let mut stored = history::read_stored(world.stack.database()).await?;
    stored.retain(|room, _| rooms.contains(room));
    let (checked, mut violations) = history::check(&entries, &stored, &redis_losses);
    violations.extend(prefix.finish().await?);
    let (fed, not_fed) = feed.finish(&stored).await;
    violations.extend(not_fed);
    let (shared, lost_files) = sharers.check(&world, &stored).await?;
    violations.extend(lost_files);
    clock::end_all_pauses(&world)?;
    let (webhook_events, not_received) = webhook.finish(&world, &stored).await;
    violations.extend(not_received);
    let (notified, not_notified) = away.check(&world).await?;
    violations.extend(not_notified);
    let reactions = history::read_reactions(world.stack.database()).await?;
    violations.extend(history::check_changes(&requested, &entries, &stored, &reactions));
    let nowhere = |rule, what| Violation { rule, room: String::new(), seq: 0, user: String::new(), what };
    violations.extend(client_errors.into_iter().map(|what| nowhere(Rule::Protocol, what)));
    violations.extend(internal_errors.into_iter().map(|what| nowhere(Rule::Sound, what)));
    violations.extend(seen.violations());
    ensure!(checked.stored > 0, "nothing was sent");
    let mut described: BTreeMap<Rule, usize> = BTreeMap::new();
    let stories = violations
        .iter()
        .filter(|violation| {
            let count = described.entry(violation.rule).or_default();
            *count += 1;
            *count <= MAX_STORIES_PER_RULE
        })
        .map(|violation| history::describe_violation(&entries, violation, &begun))
        .collect();
    let mut report = build_report(plan.seed, settled_at.as_secs_f64(), begun, &checked, &violations, stories);
    report.answered = answered;
    report.fed = fed;
    report.webhook_events = webhook_events;
    report.notified = notified;
    report.shown_files = shared.shown;
    report.images = shared.images;
    report.unshown_files = shared.unshown;
    report.fault_seconds = (settles_from - faults_from).as_secs_f64();
    report.settle_seconds = (settled_at - settles_from).as_secs_f64();
    report.changes = stored_change_counts(&requested);
    report.quiet_seconds = quiet_seconds;
    report.other_shards_p99_seconds = quiet.other_shards_p99_seconds();
    report.at_rest = at_rest;
    report.strangers = misbehaving.answer_counts();
    report.max_outbox_bytes = seen.outbox_bytes;
    report.max_resident_bytes = seen.resident_bytes;
    report.max_growth_bytes = seen.growth_bytes;
    report.closes = seen.closes;
    report.sessions = seen.sessions;
    Ok(report)
}

/// The number of changes that were answered `stored`, by the type of their events.
fn stored_change_counts(requested: &[RequestedChange]) -> BTreeMap<String, u64> {
    let mut made = BTreeMap::new();
    for request in requested.iter().filter(|request| matches!(request.outcome, ChangeOutcome::Stored(_))) {
        *made.entry(request.change.kind().to_owned()).or_default() += 1;
    }
    made
}

fn build_report(
    seed: u64,
    seconds: f64,
    begun: Vec<(Duration, String)>,
    checked: &CheckCounts,
    violations: &[Violation],
    stories: Vec<String>,
) -> FaultReport {
    let faults = begun.into_iter().map(|(_, what)| what).filter(|what| !what.ends_with(": over")).collect();
    let CheckCounts { stored, accepted, given_up, deliveries, gaps, new_epochs, connections, .. } = *checked;
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

/// Starts a stack for faults: two nodes of each service, proxies everywhere, leases of a few seconds.
async fn start_stack(plan: &Plan) -> Result<Arc<Stack>> {
    let mut builder = Stack::builder()
        .redis(plan.redis)
        .gateways(2)
        .persistence(2)
        .own_postgres()
        .proxied()
        .clocks()
        .persistence_env("TIDINGS_LEASE_MS", 3000)
        .gateway_env("TIDINGS_SOCKET_IO", "on")
        .gateway_env("TIDINGS_MESSAGES_PER_SECOND", 10_000)
        .gateway_env("TIDINGS_MESSAGES_BURST", 10_000);
    for (name, value) in &plan.settings {
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
        let none = FaultReport::without_verdict(3, &anyhow::anyhow!("nothing flows"));
        assert!(!none.is_good() && none.error.as_deref() == Some("nothing flows"));
    }

    #[test]
    fn only_changes_with_answer_stored_are_counted() {
        let changes = history::ChangeRequests::default();
        for outcome in
            [ChangeOutcome::Stored(2), ChangeOutcome::Unknown, ChangeOutcome::Refused(String::new())]
        {
            let number = changes.record_request("r", "alice", 1, history::Change::Delete);
            changes.record_outcome(number, outcome);
        }
        assert_eq!(stored_change_counts(&changes.all()), [("message:deleted".to_owned(), 1)].into());
    }
}
