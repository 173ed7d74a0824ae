//! The cost of traces and metrics: the same system with and without them, with the same load in turn.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidings_harness::{Sink, Stack};
use tokio::task::JoinHandle;

use super::Scale;
use super::storm::until_nobody_is_connected;
use super::subject::Subject;
use super::world::{Phase, World};
use crate::load::{Gate, Work, paced};
use crate::peers::Setting;
use crate::results::{Bound, Figure, Scenario};

const CHARACTERS: u16 = 64;
const NODES: usize = 2;
/// The default share of traced messages.
const RATIO: f64 = 0.01;
/// How often the metrics are scraped, as by the Prometheus of `deploy/`.
const READ_EVERY: Duration = Duration::from_secs(15);
/// Deliveries per second of single frames.
const SINGLE_PER_SECOND: f64 = 25_000.0;
const SATURATED_WINDOW: usize = 32;
const STORED_WINDOW: usize = 1024;
const SENDERS: u32 = 16;
const ENTERING_AT_ONCE: usize = 128;
/// Limit of the relative cost.
const MOST: f64 = 1.05;

const OFF: &str = "without";
const ON: &str = "with traces and metrics read";
const TIMES: &str = "cost, times that without";

/// See the module.
///
/// # Errors
/// When something does not start, or messages are lost.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let people = scale.or(1000, 100);
    let mut scenario = Scenario {
        name: "telemetry".into(),
        title: "What being watched costs".into(),
        method: format!(
            "Two systems of {NODES} gateways, persistence, Redis and PostgreSQL; one of them tells a collector of \
             {RATIO} of its messages by OTLP, and its numbers are read every {} s. Both are given the same load in \
             turn, sample by sample, and each sample of the one is held against that of the other beside it. {people} \
             people are in one room: single frames ({SINGLE_PER_SECOND} deliveries a second) and as much as goes; \
             then {STORED_WINDOW} messages under way in rooms of two, acknowledged when stored; then all connect anew. \
             CPU time is that of the gateways for deliveries and handshakes, and that of everything for stored \
             messages.",
            READ_EVERY.as_secs()
        ),
        ..Scenario::default()
    };
    let members: Vec<Vec<u32>> = std::iter::once((0..people).collect())
        .chain((0..people / 2).map(|room| vec![room * 2, room * 2 + 1]))
        .collect();
    let mut off = raise(&members, &[]).await?;
    let sink = Sink::start().await?;
    let told = [("TIDINGS_OTLP_ENDPOINT", sink.endpoint()), ("TIDINGS_TRACE_RATIO", RATIO.to_string())];
    let mut on = raise(&members, &told).await?;
    let _reader = Reader::of(on.stack.clone().context("Tidings has a stack")?);

    enter(&mut off, people)?;
    enter(&mut on, people)?;
    for (setting, figure, work, cost) in loads(scale, people) {
        eprintln!("telemetry: {setting}");
        // The first messages find everything cold.
        off.work(&work)?;
        on.work(&work)?;
        for sample in 0..scale.samples {
            // The order alternates.
            let pair = if sample % 2 == 0 {
                let without = off.work(&work)?;
                (without, on.work(&work)?)
            } else {
                let with = on.work(&work)?;
                (off.work(&work)?, with)
            };
            for phase in [&pair.0, &pair.1] {
                phase.whole(setting)?;
            }
            add(&mut scenario, setting, figure, cost(&pair.0), cost(&pair.1));
        }
    }
    let setting = "handshakes";
    eprintln!("telemetry: {setting}");
    for _ in 0..scale.samples {
        let without = enter_anew(&mut off, people).await? * 1e6;
        let with = enter_anew(&mut on, people).await? * 1e6;
        add(&mut scenario, setting, "gateway: CPU µs per handshake", without, with);
    }
    ensure!(!sink.spans().is_empty(), "no span was exported: nothing was measured");
    judge(&mut scenario);
    Ok(scenario)
}

/// The cost of one unit of work.
type Cost = fn(&Phase) -> f64;

fn loads(scale: &Scale, people: u32) -> [(&'static str, &'static str, Work, Cost); 3] {
    let time = Duration::from_secs(scale.or(5, 1));
    let per_second = (SINGLE_PER_SECOND / f64::from(people)).min(500.0);
    let in_one_room = (0..SENDERS).map(|number| (number, 0)).collect();
    let in_pairs = (0..people).map(|number| (number, 1 + number / 2)).collect();
    let closed = |senders, window, gate| Work::Closed { senders, characters: CHARACTERS, window, gate, time };
    let per_delivery: Cost = |phase| phase.front_cpu() * 1e6 / phase.tally.delivered as f64;
    let per_message: Cost = |phase| phase.cpu.total() * 1e6 / phase.tally.acked as f64;
    let delivery = "gateways: CPU µs per delivery";
    [
        ("single frames", delivery, paced(&[(0, 0)], CHARACTERS, per_second, time), per_delivery),
        ("saturated fan-out", delivery, closed(in_one_room, SATURATED_WINDOW, Gate::Delivered), per_delivery),
        (
            "stored sends",
            "all processes: CPU µs per message",
            closed(in_pairs, STORED_WINDOW, Gate::Acked),
            per_message,
        ),
    ]
}

fn add(scenario: &mut Scenario, setting: &str, figure: &str, without: f64, with: f64) {
    scenario.add(OFF, setting, figure, without);
    scenario.add(ON, setting, figure, with);
    scenario.add(ON, setting, TIMES, with / without);
}

fn judge(scenario: &mut Scenario) {
    let rows = scenario.rows.iter();
    let times: Vec<(String, f64)> = rows
        .filter_map(|row| Some((row.setting.clone(), row.figures.get(TIMES).map(Figure::median)?)))
        .collect();
    for (setting, times) in times {
        scenario.target(&format!("{setting}: {TIMES}"), times, Bound::AtMost, MOST);
    }
}

async fn raise(members: &[Vec<u32>], settings: &[(&str, String)]) -> Result<World> {
    World::raise(&Subject::Tidings, &Setting { nodes: NODES, stored: true }, members, settings).await
}

fn enter(world: &mut World, people: u32) -> Result<Phase> {
    let person = |number: u32| world.person(number, number as usize, vec![0, 1 + number / 2]);
    let everybody = (0..people).map(person).collect();
    world.enter_at_once(everybody, ENTERING_AT_ONCE)
}

/// Reconnects all users; returns CPU seconds of the gateways per connection.
async fn enter_anew(world: &mut World, people: u32) -> Result<f64> {
    let stack = world.stack.clone().context("Tidings has a stack")?;
    world.load.cut();
    until_nobody_is_connected(&stack).await?;
    Ok(enter(world, people)?.front_cpu() / f64::from(people))
}

/// Scrapes the metrics of all nodes like Prometheus, until it is dropped.
struct Reader(JoinHandle<()>);

impl Reader {
    fn of(stack: Arc<Stack>) -> Self {
        Reader(tokio::spawn(async move {
            loop {
                for node in stack.gateways().iter().chain(stack.persistence_nodes()) {
                    if let Err(error) = node.metrics().await {
                        eprintln!("telemetry: numbers cannot be read: {error:#}");
                    }
                }
                tokio::time::sleep(READ_EVERY).await;
            }
        }))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}
