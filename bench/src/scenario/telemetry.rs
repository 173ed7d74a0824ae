//! The cost of traces and metrics: compares a system that exports traces and whose metrics are scraped with one without
//! both. The two get the same load in turn.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidings_harness::{Sink, Stack};
use tokio::task::JoinHandle;

use super::Scale;
use super::storm::wait_until_all_disconnected;
use super::subject::Subject;
use super::world::{Phase, World};
use crate::load::{Completion, Work, fixed_rate_work};
use crate::peers::ServerRequirements;
use crate::results::{Bound, Figure, Scenario};

const MESSAGE_CHARS: u16 = 64;
const NODES: usize = 2;
/// The default share of traced messages.
const TRACE_RATIO: f64 = 0.01;
/// The interval at which the metrics are scraped: that of the Prometheus in `deploy/`.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(15);
/// Deliveries per second when messages come one by one.
const SINGLE_DELIVERIES_PER_SECOND: f64 = 25_000.0;
const SATURATED_WINDOW: usize = 32;
const STORED_WINDOW: usize = 1024;
const SENDERS: u32 = 16;
const MAX_CONCURRENT_HANDSHAKES: usize = 128;
/// Limit of the cost with telemetry, as a multiple of the cost without it.
const MAX_RELATIVE_COST: f64 = 1.05;

const WITHOUT_TELEMETRY: &str = "without";
const WITH_TELEMETRY: &str = "with traces and metrics read";
const RELATIVE_COST: &str = "cost, times that without";

/// Runs the scenario.
///
/// # Errors
/// When a process does not start, or messages are lost.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let people = scale.choose(1000, 100);
    let mut scenario = Scenario {
        name: "telemetry".into(),
        title: "What being watched costs".into(),
        method: format!(
            "Two systems of {NODES} gateways, persistence, Redis and PostgreSQL; one of them tells a collector of \
             {TRACE_RATIO} of its messages by OTLP, and its numbers are read every {} s. Both are given the same load \
             in turn, sample by sample, and each sample of the one is held against that of the other beside it. \
             {people} people are in one room: single frames ({SINGLE_DELIVERIES_PER_SECOND} deliveries a second) and \
             as much as goes; then {STORED_WINDOW} messages under way in rooms of two, acknowledged when stored; then \
             all connect anew. CPU time is that of the gateways for deliveries and handshakes, and that of everything \
             for stored messages.",
            SCRAPE_INTERVAL.as_secs()
        ),
        ..Scenario::default()
    };
    let members: Vec<Vec<u32>> = std::iter::once((0..people).collect())
        .chain((0..people / 2).map(|room| vec![room * 2, room * 2 + 1]))
        .collect();
    let mut off = start_world(&members, &[]).await?;
    let sink = Sink::start().await?;
    let telemetry_settings =
        [("TIDINGS_OTLP_ENDPOINT", sink.endpoint()), ("TIDINGS_TRACE_RATIO", TRACE_RATIO.to_string())];
    let mut on = start_world(&members, &telemetry_settings).await?;
    let _reader = MetricsScraper::start(on.stack.clone().context("Tidings has a stack")?);

    connect_users(&mut off, people)?;
    connect_users(&mut on, people)?;
    for (setting, figure, work, cost) in measured_work(scale, people) {
        eprintln!("telemetry: {setting}");
        // Warms up.
        off.run(&work)?;
        on.run(&work)?;
        for sample in 0..scale.samples {
            // The order alternates, because the first run of a pair may disturb the second.
            let pair = if sample % 2 == 0 {
                let without = off.run(&work)?;
                (without, on.run(&work)?)
            } else {
                let with = on.run(&work)?;
                (off.run(&work)?, with)
            };
            for phase in [&pair.0, &pair.1] {
                phase.ensure_valid(setting)?;
            }
            add_figures(&mut scenario, setting, figure, cost(&pair.0), cost(&pair.1));
        }
    }
    let setting = "handshakes";
    eprintln!("telemetry: {setting}");
    for _ in 0..scale.samples {
        let without = reconnect_all(&mut off, people).await? * 1e6;
        let with = reconnect_all(&mut on, people).await? * 1e6;
        add_figures(&mut scenario, setting, "gateway: CPU µs per handshake", without, with);
    }
    ensure!(!sink.spans().is_empty(), "no span was exported: nothing was measured");
    add_targets(&mut scenario);
    Ok(scenario)
}

/// Computes the cost of one unit of work in CPU µs from a phase.
type CostFunction = fn(&Phase) -> f64;

fn measured_work(scale: &Scale, people: u32) -> [(&'static str, &'static str, Work, CostFunction); 3] {
    let time = Duration::from_secs(scale.choose(5, 1));
    let per_second = (SINGLE_DELIVERIES_PER_SECOND / f64::from(people)).min(500.0);
    let in_one_room = (0..SENDERS).map(|number| (number, 0)).collect();
    let in_pairs = (0..people).map(|number| (number, 1 + number / 2)).collect();
    let closed = |senders, window, completion| Work::Closed {
        senders,
        characters: MESSAGE_CHARS,
        window,
        completion,
        time,
    };
    let per_delivery: CostFunction = |phase| phase.front_cpu() * 1e6 / phase.tally.delivered as f64;
    let per_message: CostFunction = |phase| phase.cpu.total() * 1e6 / phase.tally.acked as f64;
    let delivery = "gateways: CPU µs per delivery";
    [
        (
            "single frames",
            delivery,
            fixed_rate_work(&[(0, 0)], MESSAGE_CHARS, per_second, time),
            per_delivery,
        ),
        (
            "saturated fan-out",
            delivery,
            closed(in_one_room, SATURATED_WINDOW, Completion::Delivered),
            per_delivery,
        ),
        (
            "stored sends",
            "all processes: CPU µs per message",
            closed(in_pairs, STORED_WINDOW, Completion::Acked),
            per_message,
        ),
    ]
}

fn add_figures(scenario: &mut Scenario, setting: &str, figure: &str, without: f64, with: f64) {
    scenario.add(WITHOUT_TELEMETRY, setting, figure, without);
    scenario.add(WITH_TELEMETRY, setting, figure, with);
    scenario.add(WITH_TELEMETRY, setting, RELATIVE_COST, with / without);
}

fn add_targets(scenario: &mut Scenario) {
    let rows = scenario.rows.iter();
    let times: Vec<(String, f64)> = rows
        .filter_map(|row| Some((row.setting.clone(), row.figures.get(RELATIVE_COST).map(Figure::median)?)))
        .collect();
    for (setting, times) in times {
        scenario.add_target(&format!("{setting}: {RELATIVE_COST}"), times, Bound::AtMost, MAX_RELATIVE_COST);
    }
}

async fn start_world(members: &[Vec<u32>], settings: &[(&str, String)]) -> Result<World> {
    World::start(&Subject::Tidings, &ServerRequirements { nodes: NODES, stored: true }, members, settings)
        .await
}

fn connect_users(world: &mut World, people: u32) -> Result<Phase> {
    let person = |number: u32| world.client_spec(number, number as usize, vec![0, 1 + number / 2]);
    let everybody = (0..people).map(person).collect();
    world.connect_all_limited(everybody, MAX_CONCURRENT_HANDSHAKES)
}

/// Disconnects all users and connects them again. Returns the CPU seconds of the gateways per connection.
async fn reconnect_all(world: &mut World, people: u32) -> Result<f64> {
    let stack = world.stack.clone().context("Tidings has a stack")?;
    world.load.reset_all();
    wait_until_all_disconnected(&stack).await?;
    Ok(connect_users(world, people)?.front_cpu() / f64::from(people))
}

/// Scrapes the metrics of all nodes at the interval of a Prometheus, until the value is dropped.
struct MetricsScraper(JoinHandle<()>);

impl MetricsScraper {
    fn start(stack: Arc<Stack>) -> Self {
        MetricsScraper(tokio::spawn(async move {
            loop {
                for node in stack.gateways().iter().chain(stack.persistence_nodes()) {
                    if let Err(error) = node.metrics().await {
                        eprintln!("telemetry: numbers cannot be read: {error:#}");
                    }
                }
                tokio::time::sleep(SCRAPE_INTERVAL).await;
            }
        }))
    }
}

impl Drop for MetricsScraper {
    fn drop(&mut self) {
        self.0.abort();
    }
}
