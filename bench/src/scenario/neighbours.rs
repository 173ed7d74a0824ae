//! Quiet rooms beside noisy neighbours: a flooding member, a hot room, many pollers, an account that searches. Measures
//! the delivery latency of the quiet rooms, how many of their connections are closed, and whether persistence stays
//! ready. The noise is made by another process, at the lowest priority.

use std::time::Duration;

use anyhow::{Context, Result};
use tidings_harness::Stack;

use super::Scale;
use super::storm::{sum_of_gateways, wait_until_connected_at_most};
use super::world::World;
use crate::load::Tally;
use crate::peers::{ServerRequirements, tidings};
use crate::processes::Process;
use crate::results::{Bound, Scenario};
use generator::NoiseOrder;
pub use generator::run as run_noise_program;
use noise::NoiseSizes;
use noise_process::{NoiseProcess, NoiseReport};
use quiet::QuietRooms;
use readiness::ReadinessWatch;

mod cpu_shares;
mod generator;
mod noise;
mod noise_process;
mod quiet;
mod readiness;

const NODES: usize = 2;
/// The niceness of the process that makes the noise: the lowest priority.
const NICENESS: u8 = 19;
/// Pause after each noisy neighbour, in which gateways remove its connections.
const CLEANUP_PAUSE: Duration = Duration::from_secs(2);

const SUBJECT: &str = "Tidings";
const P99_WITHOUT_NOISE: &str = "p99 of the quiet rooms without it (ms)";
const P99_WITH_NOISE: &str = "p99 of the quiet rooms with it (ms)";
const P99_RATIO: &str = "p99, times that without it";
const CONNECTIONS_CLOSED: &str = "quiet connections closed";
const DELIVERIES_MISSING: &str = "quiet deliveries missing";
const NOT_READY_PERCENT: &str = "readiness of persistence: refused or late, %";
const LONGEST_READINESS_ANSWER: &str = "readiness of persistence: longest answer (ms)";
const NOISE_DELIVERIES: &str = "deliveries or answers to the noise, per second";
const NOISE_REPLAYS: &str = "subscriptions that lagged and were replayed";
const LAGGING_METRIC: &str = "tidings_gateway_lagging_total";

/// Runs the scenario.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let quiet_rooms = scale.sizes.rooms.unwrap_or(scale.choose(200, 10));
    let sizes = NoiseSizes {
        crowd: scale.sizes.clients.unwrap_or(scale.choose(10_000, 100)),
        polled_rooms: scale.choose(20, 4),
        hot_rate: scale.sizes.rate.unwrap_or(5),
        searches: scale.sizes.searches.unwrap_or(scale.choose(80, 8)),
        searched_rooms: scale.choose(500, 10),
    };
    // The figures of a quick run do not count, and on a busy machine a process with the lowest priority may get no CPU
    // time.
    let niceness = scale.choose(NICENESS.into(), 0);
    let time = Duration::from_secs(scale.sizes.seconds.unwrap_or(scale.choose(15, 3)).into());
    let mut scenario = Scenario {
        name: "neighbours".into(),
        title: "Quiet rooms beside noisy neighbours".into(),
        method: format!(
            "{quiet_rooms} rooms of two over {NODES} gateways, with the default limits of users. One member of each \
             sends one message per second, and both receive it, for {} s; then the same beside a noisy neighbour, in \
             rooms of its own. {} Latencies count from the moment when a message was due; ratios are made within a \
             sample. The noise is made by a process of its own with niceness {niceness} on the same machine; the quiet \
             rooms are measured by a process with normal priority. The CPU times are those of the part with the noise. \
             Pollers begin with that part, so it contains the arrival of all of them. The readiness of persistence is \
             asked for every {} ms, and an answer after {} ms is late.",
            time.as_secs(),
            sizes.description(),
            readiness::CHECK_INTERVAL.as_millis(),
            readiness::PROBE_TIMEOUT.as_millis()
        ),
        ..Scenario::default()
    };
    eprintln!("neighbours: {quiet_rooms} quiet rooms");
    let mut members = quiet::quiet_room_members(quiet_rooms);
    let noises = noise::create_all(&sizes, &mut members);
    let started =
        tidings::start_with_default_limits(&ServerRequirements { nodes: NODES, stored: true }).await?;
    let mut world = World::from_tidings(started, &members).await?;
    let stack = world.stack.clone().context("Tidings has a stack")?;
    noise::fill_searched(&mut world, &noises)?;
    wait_until_connected_at_most(&stack, 0).await?;
    let mut quiet = QuietRooms::connect(&world, quiet_rooms)?;
    let processes = world.running.processes.clone();
    // Warms up.
    quiet.send_during(sleep(CLEANUP_PAUSE)).await?;
    for _ in 0..scale.samples {
        for noise in &noises {
            eprintln!("neighbours: {}", noise.name());
            let making = NoiseProcess::start(NoiseOrder::new(*noise, &world, &stack), niceness);
            measure(&mut scenario, &stack, &mut quiet, &processes, (noise.name(), making), time).await?;
        }
    }
    for noise in &noises {
        let median_of = |figure: &str| scenario.median(SUBJECT, noise.name(), figure);
        let (ratio, closed, late) =
            (median_of(P99_RATIO), median_of(CONNECTIONS_CLOSED), median_of(NOT_READY_PERCENT));
        let name = noise.name();
        scenario.add_target(&format!("{name}: {P99_RATIO}"), ratio, Bound::AtMost, 2.0);
        scenario.add_target(&format!("{name}: {CONNECTIONS_CLOSED}"), closed, Bound::AtMost, 0.0);
        scenario.add_target(&format!("{name}: {NOT_READY_PERCENT}"), late, Bound::AtMost, 0.0);
    }
    Ok(scenario)
}

async fn measure(
    scenario: &mut Scenario,
    stack: &Stack,
    quiet: &mut QuietRooms,
    processes: &[Process],
    (name, making): (&str, impl Future<Output = Result<NoiseProcess>>),
    time: Duration,
) -> Result<()> {
    let ((), alone) = quiet.send_during(sleep(time)).await?;
    let lagged_before = sum_of_gateways(stack, LAGGING_METRIC).await?;
    let (making, entering) = quiet.send_during(making).await?;
    let readiness = ReadinessWatch::start(stack);
    let processes = [processes, &[making.process()?]].concat();
    let (cpu, beside) = quiet.send_during(cpu_shares::measure_during(&processes, time)).await?;
    let readiness = readiness.finish().await?;
    let (report, ending) = quiet.send_during(making.stop()).await?;
    let NoiseReport { answers, deliveries_per_second } = report;
    let lagged = sum_of_gateways(stack, LAGGING_METRIC).await? - lagged_before;
    let connections = quiet.connections;
    quiet.send_during(wait_until_connected_at_most(stack, connections)).await?;
    quiet.send_during(sleep(CLEANUP_PAUSE)).await?;

    let (before, during) = (alone.delivery_ms(0.99), beside.delivery_ms(0.99));
    let sum = |of: fn(&Tally) -> u64| [&entering, &beside, &ending].into_iter().map(of).sum::<u64>() as f64;
    let mut add = |figure: &str, value: f64| scenario.add(SUBJECT, name, figure, value);
    add(P99_WITHOUT_NOISE, before);
    add(P99_WITH_NOISE, during);
    add(P99_RATIO, during / before);
    add(CONNECTIONS_CLOSED, sum(Tally::closed_count));
    add(DELIVERIES_MISSING, sum(|tally| tally.expected.abs_diff(tally.delivered)));
    add(NOT_READY_PERCENT, readiness.not_ready_percent());
    add(LONGEST_READINESS_ANSWER, readiness.longest.as_secs_f64() * 1000.0);
    add(NOISE_DELIVERIES, deliveries_per_second);
    add(NOISE_REPLAYS, lagged as f64);
    for (process, percent) in &cpu.processes {
        add(&format!("{process}: CPU, % of a core"), *percent);
    }
    add("the machine: CPU, % of all cores", cpu.machine);
    let counts: Vec<String> = answers.iter().map(|(answer, count)| format!("{answer}: {count}")).collect();
    scenario.notes.push(format!(
        "{name} was answered {}; {deliveries_per_second:.0} deliveries or answers per second; {lagged} subscriptions \
         lagged and were replayed",
        counts.join(", ")
    ));
    scenario.note_if_generator_bound(SUBJECT, name, &beside);
    Ok(())
}

async fn sleep(time: Duration) -> Result<()> {
    tokio::time::sleep(time).await;
    Ok(())
}
