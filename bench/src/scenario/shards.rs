//! The cost of a stored message with a single Redis and with clusters of one, three and six masters, and how evenly the
//! appends are distributed over the masters.
//! All systems run at once and get the same load in turn. So a ratio compares two loads that ran within a minute, and
//! the machine had little time to become faster or slower.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use redis::Value;
use tidings_harness::Stack;
use tidings_harness::redis::RedisTopology;

use super::Scale;
use super::stored::{self, MESSAGE_CHARS, PEOPLE, WINDOW_MESSAGES};
use super::world::World;
use crate::load::{Work, fixed_rate_work};
use crate::peers::{ServerRequirements, tidings};
use crate::results::{Bound, Scenario, Target};

const SINGLE: &str = "single Redis";
const ONE_MASTER: &str = "1 master";
const LAYOUTS: [(&str, RedisTopology); 4] = [
    (SINGLE, RedisTopology::Single),
    (ONE_MASTER, cluster_of(1)),
    ("3 masters", cluster_of(3)),
    ("6 masters", cluster_of(6)),
];
/// Longer than one round of all systems, because a client that waits for its turn does not answer pings.
const HEARTBEAT_MS: u64 = 600_000;
const REST_PERIOD: Duration = Duration::from_secs(3);

const TOTAL_CPU: &str = "all: CPU µs per message";
const RATIO_TO_SINGLE: &str = "all: times a single Redis";
const RATIO_TO_ONE_MASTER: &str = "all: times 1 master";
const CPU_AT_REST: &str = "at rest: CPU ms per second";
const SENDS_PER_SECOND: &str = "stored sends per second";
const P99_UNTIL_STORED: &str = "p99 until stored (ms)";
const MOST_APPENDS: &str = "most appends of a master, times the mean";
const FEWEST_APPENDS: &str = "fewest appends of a master, times the mean";

/// The targets of clusters with several masters.
const LIMITS: [(&str, Bound, f64); 3] = [
    (RATIO_TO_ONE_MASTER, Bound::AtMost, 1.10),
    (MOST_APPENDS, Bound::AtMost, 1.15),
    (FEWEST_APPENDS, Bound::AtLeast, 0.85),
];

/// A running system and its clients.
struct System {
    name: &'static str,
    world: World,
    /// Number of messages that were acknowledged as stored.
    stored: u64,
}

const fn cluster_of(masters: usize) -> RedisTopology {
    RedisTopology::Cluster { masters, replicas_per_master: 0 }
}

/// Runs the scenario.
///
/// # Errors
/// When a system does not start, or loses messages.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let [few, many] = scale.choose([100, 10_000], [20, 200]);
    let mut scenario = Scenario {
        name: "shards".into(),
        title: "A stored message with one to six masters".into(),
        method: format!(
            "Four systems of two gateways, one persistence node and PostgreSQL: with a single Redis, and with Redis \
             Clusters of one, three and six masters without replicas. All run at once and get the same load in turn, \
             sample by sample; each sample is compared with those beside it. {PEOPLE} connections send to {few} or \
             {many} rooms of two: {WINDOW_MESSAGES} messages under way at any time, or a fixed rate. CPU time is that \
             of all processes; `redis` is the sum of all masters. It contains what the processes use at rest during \
             the load, but not while the bench waits for the search index afterwards. Appends are counted by the \
             entries that were ever added to the ingest streams of a master."
        ),
        ..Scenario::default()
    };
    for rooms in [few, many] {
        measure(&mut scenario, scale, rooms).await?;
    }
    add_targets(&mut scenario, &spread_setting(few));
    Ok(scenario)
}

fn spread_setting(rooms: u32) -> String {
    format!("{rooms} rooms, appends")
}

async fn measure(scenario: &mut Scenario, scale: &Scale, rooms: u32) -> Result<()> {
    let members = stored::room_members(rooms);
    let (mut systems, mut senders) = (Vec::new(), Vec::new());
    for (name, layout) in LAYOUTS {
        eprintln!("shards: {name} starts with {rooms} rooms");
        let settings = [("TIDINGS_HEARTBEAT_MS", HEARTBEAT_MS.to_string())];
        let requirements = ServerRequirements { nodes: 2, stored: true };
        let mut world =
            World::from_tidings(tidings::start_on(layout, &requirements, &settings).await?, &members).await?;
        senders = stored::connect_members(&mut world, &members)?;
        systems.push(System { name, world, stored: 0 });
    }
    let (per_second, time) = (scale.choose(1000.0, 200.0), Duration::from_secs(scale.choose(6, 1)));
    let fixed_rate = fixed_rate_work(&senders, MESSAGE_CHARS, per_second, time);
    let loads = [
        ("saturated".to_owned(), stored::saturating_work(scale, senders)),
        (format!("{per_second} messages per second"), fixed_rate),
    ];
    for (load, work) in &loads {
        let setting = format!("{rooms} rooms, {load}");
        eprintln!("shards: {setting}");
        for system in &mut systems {
            // Warms up.
            system.world.run(work)?;
        }
        for sample in 0..scale.samples {
            let mut order: Vec<&mut System> = systems.iter_mut().collect();
            // The order alternates, because a load may disturb the next one.
            if sample % 2 == 1 {
                order.reverse();
            }
            let mut costs = BTreeMap::new();
            for system in order {
                costs.insert(system.name, measure_load(scenario, system, &setting, work)?);
            }
            add_ratios(scenario, &setting, &costs);
        }
    }
    for System { name, world, stored } in systems {
        let stack = world.stack.clone().context("Tidings has a stack")?;
        let appends = appends_by_master(&stack).await?;
        let total: f64 = appends.iter().sum();
        ensure!(appends.is_empty() || total >= stored as f64, "{name}: {total} appends of {stored} messages");
        let mean = total / appends.len() as f64;
        let shares = appends.iter().map(|count| count / mean);
        if let (Some(most), Some(fewest)) = (shares.clone().reduce(f64::max), shares.reduce(f64::min)) {
            scenario.add(name, &spread_setting(rooms), MOST_APPENDS, most);
            scenario.add(name, &spread_setting(rooms), FEWEST_APPENDS, fewest);
        }
    }
    Ok(())
}

/// Measures one load. Returns the CPU time of all processes per message, in µs.
fn measure_load(scenario: &mut Scenario, system: &mut System, setting: &str, work: &Work) -> Result<f64> {
    let name = system.name;
    let rest = system.world.run(&Work::Listen(REST_PERIOD))?.cpu;
    let begun = Instant::now();
    let phase = system.world.run(work)?;
    let idle_periods =
        begun.elapsed().saturating_sub(phase.tally.wall).as_secs_f64() / REST_PERIOD.as_secs_f64();
    phase.ensure_valid(setting)?;
    let tally = &phase.tally;
    ensure!(tally.acked == tally.sent, "{name}: {} of {} were answered", tally.acked, tally.sent);
    system.stored += tally.acked;
    let mut total = 0.0;
    for (process, seconds) in &phase.cpu.0 {
        // The bench then waits for the search index. What an idle process uses in this time is no cost of the messages.
        let idle = rest.0.get(process).copied().unwrap_or_default() * idle_periods;
        let micros = (seconds - idle).max(0.0) * 1e6 / tally.acked as f64;
        scenario.add(name, setting, &format!("{process}: CPU µs per message"), micros);
        total += micros;
    }
    scenario.add(name, setting, TOTAL_CPU, total);
    scenario.add(name, setting, CPU_AT_REST, rest.total() * 1000.0 / REST_PERIOD.as_secs_f64());
    scenario.add(name, setting, SENDS_PER_SECOND, tally.in_time.acked as f64 / tally.wall.as_secs_f64());
    scenario.add(name, setting, P99_UNTIL_STORED, tally.ack_ms(0.99));
    scenario.note_if_generator_bound(name, setting, tally);
    Ok(total)
}

/// Compares the costs of one sample with those of a single Redis and of one master.
fn add_ratios(scenario: &mut Scenario, setting: &str, costs: &BTreeMap<&'static str, f64>) {
    for (name, cost) in costs.iter().filter(|(name, _)| **name != SINGLE) {
        scenario.add(name, setting, RATIO_TO_SINGLE, cost / costs[SINGLE]);
        if *name != ONE_MASTER {
            scenario.add(name, setting, RATIO_TO_ONE_MASTER, cost / costs[ONE_MASTER]);
        }
    }
}

/// The number of records that were ever appended to the ingest streams of each master; empty without a cluster.
async fn appends_by_master(stack: &Stack) -> Result<Vec<f64>> {
    let Some(cluster) = stack.shards().cluster() else { return Ok(Vec::new()) };
    let mut appends = Vec::new();
    for (master, partitions) in cluster.partitions_by_master().await? {
        let mut added = 0_i64;
        for partition in partitions {
            let key = format!("{{{partition:02}}}:ingest");
            let node = cluster.node(master);
            // XINFO fails for a partition without records, because it has no stream.
            if !node.command::<bool>(redis::cmd("EXISTS").arg(&key)).await? {
                continue;
            }
            let stream: BTreeMap<String, Value> =
                node.command(redis::cmd("XINFO").arg("STREAM").arg(&key)).await?;
            let Some(Value::Int(entries)) = stream.get("entries-added") else {
                bail!("{key} has no entries-added");
            };
            added += *entries;
        }
        appends.push(added as f64);
    }
    Ok(appends)
}

/// Adds the targets of the clusters with several masters. A few rooms are not distributed evenly, so their spread has no
/// target.
fn add_targets(scenario: &mut Scenario, spread_of_few: &str) {
    let mut targets = Vec::new();
    for row in &scenario.rows {
        if [SINGLE, ONE_MASTER].contains(&row.subject.as_str()) || row.setting == spread_of_few {
            continue;
        }
        for (figure, bound, limit) in LIMITS {
            let Some(measured) = row.figures.get(figure) else { continue };
            let what = format!("{}, {}: {figure}", row.subject, row.setting);
            targets.push(Target { what, value: measured.median(), bound, limit });
        }
    }
    scenario.targets = targets;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_compare_several_masters_with_one() {
        let mut scenario = Scenario::default();
        let costs = [(SINGLE, 80.0), (ONE_MASTER, 100.0), ("3 masters", 105.0), ("6 masters", 120.0)];
        add_ratios(&mut scenario, "saturated", &costs.into_iter().collect());
        for setting in ["few", "many"] {
            scenario.add("6 masters", setting, MOST_APPENDS, 1.2);
        }
        add_targets(&mut scenario, "few");
        let results: Vec<(&str, bool)> =
            scenario.targets.iter().map(|target| (target.what.as_str(), target.is_met())).collect();
        assert_eq!(
            results,
            [
                ("3 masters, saturated: all: times 1 master", true),
                ("6 masters, saturated: all: times 1 master", false),
                ("6 masters, many: most appends of a master, times the mean", false),
            ]
        );
    }
}
