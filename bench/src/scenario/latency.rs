//! The latency from a send on one node to the delivery on another node. Tidings and Socket.IO, the peer, get the same
//! rates, which are shares of the peer's capacity.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Scale;
use super::subject::Subject;
use super::world::{Phase, World};
use crate::load::{Completion, Work, fixed_rate_work};
use crate::peers::ServerRequirements;
use crate::results::{Bound, Figure, Plot, Scenario};

const MESSAGE_CHARS: u16 = 64;
/// Number of rooms. Each has a sender and a receiver.
const ROOMS: u32 = 200;
/// Number of unfinished messages while the capacity is estimated.
const WINDOW_MESSAGES: usize = 256;
/// The search for the capacity begins at this share of the estimate. Each further rate is [`RATE_STEP`] times the rate
/// before.
const CAPACITY_SEARCH_START: f64 = 0.5;
const RATE_STEP: f64 = 1.1;
/// A rate is above the server's capacity if its p99 latency is higher than this.
const MAX_P99_MS: f64 = 500.0;
const CAPACITY_PERCENTS: [u32; 4] = [25, 50, 75, 90];

const P99: &str = "p99 (ms)";
/// Pause before each sample.
const SAMPLE_PAUSE: Duration = Duration::from_secs(1);
const CAPACITY: &str = "capacity (messages per second)";

/// Runs the scenario.
///
/// # Errors
/// When a server does not start, or Tidings loses messages.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let peer = Subject::socket_io();
    let time = Duration::from_secs(scale.choose(3, 1));
    let mut scenario = Scenario {
        name: "latency".into(),
        title: "From a send to its delivery on another node".into(),
        method: format!(
            "{ROOMS} rooms of two: senders on one node, receivers on the other, messages of {MESSAGE_CHARS} characters, \
             stored by both servers. The capacity of {peer} is looked for once: rates go up by {:.0} % each, {} s long, \
             until the p99 is over {MAX_P99_MS} ms or something is not delivered; the last rate before that counts. \
             Then both servers are given the same shares of it in turn, in an open loop: latencies count from the moment \
             a message was due, whatever became of those before. Ratios are medians of the ratios within a sample.",
            (RATE_STEP - 1.0) * 100.0,
            time.as_secs(),
            peer = peer.name(),
        ),
        plots: vec![Plot { name: "p99".into(), title: P99.into(), figure: P99.into(), logarithmic: true }],
        ..Scenario::default()
    };
    eprintln!("latency: {} alone, for its capacity", peer.name());
    let mut theirs = start_world(&peer).await?;
    connect_clients(&mut theirs)?;
    // Tidings runs idle while the peer's capacity is measured, because both servers run during the comparison too.
    let mut ours = start_world(&Subject::Tidings).await?;
    let capacity = find_capacity(&mut theirs, time)?;
    scenario.add(peer.name(), "alone", CAPACITY, capacity);
    // Tidings' clients connect only now, because nothing would have answered their pings while the peer was measured.
    connect_clients(&mut ours)?;
    ours.run(&fixed_rate(capacity / 2.0, time))?;
    for share in CAPACITY_PERCENTS {
        let setting = format!("{share} % of the capacity of {}", peer.name());
        eprintln!("latency: {setting}");
        let work = fixed_rate(capacity * f64::from(share) / 100.0, time);
        let mut ratios = Figure::default();
        for number in 0..scale.samples {
            // The order alternates, because background work of the first server may disturb the second one.
            let mut of_peer = None;
            let mut of_us = None;
            for ours_now in [number % 2 == 0, number % 2 == 1] {
                let (world, subject, of) = if ours_now {
                    (&mut ours, &Subject::Tidings, &mut of_us)
                } else {
                    (&mut theirs, &peer, &mut of_peer)
                };
                world.run(&Work::Listen(SAMPLE_PAUSE))?;
                *of = add_figures(&mut scenario, subject, &setting, &world.run(&work)?)?;
            }
            if let (Some(of_us), Some(of_peer)) = (of_us, of_peer) {
                ratios.samples.push(of_us / of_peer);
            }
        }
        let limit = match share {
            50 => 1.0,
            90 => 1.0 / 3.0,
            _ => continue,
        };
        scenario.add_target(
            &format!("p99 at {share} %, times that of Socket.IO"),
            ratios.median(),
            Bound::AtMost,
            limit,
        );
    }
    Ok(scenario)
}

async fn start_world(subject: &Subject) -> Result<World> {
    let members: Vec<Vec<u32>> = (0..ROOMS).map(|room| vec![room * 2, room * 2 + 1]).collect();
    World::start(subject, &ServerRequirements { nodes: 2, stored: true }, &members, &[]).await
}

fn connect_clients(world: &mut World) -> Result<()> {
    let mut people = Vec::new();
    for number in 0..ROOMS * 2 {
        let node = number as usize % 2;
        let mut person = world.client_spec(number, node, vec![number / 2]);
        person.timed = node == 1;
        people.push(person);
    }
    world.connect_all(people)?;
    Ok(())
}

fn fixed_rate(per_second: f64, time: Duration) -> Work {
    fixed_rate_work(&senders(), MESSAGE_CHARS, per_second, time)
}

fn senders() -> Vec<(u32, u32)> {
    (0..ROOMS).map(|room| (room * 2, room)).collect()
}

/// Searches the highest rate, in messages per second, with a p99 of at most [`MAX_P99_MS`] and no lost message.
fn find_capacity(world: &mut World, time: Duration) -> Result<f64> {
    let closed = Work::Closed {
        senders: senders(),
        characters: MESSAGE_CHARS,
        window: WINDOW_MESSAGES,
        completion: Completion::Delivered,
        time,
    };
    // Two warm-up runs, also for the JIT compiler of Node.js.
    world.run(&closed)?;
    world.run(&closed)?;
    let phase = world.run(&closed)?;
    let mut rate = CAPACITY_SEARCH_START * phase.tally.sent as f64 / phase.tally.wall.as_secs_f64();
    let mut sustained = None;
    loop {
        let phase = world.run(&fixed_rate(rate, time))?;
        let p99 = phase.tally.delivery_ms(0.99);
        eprintln!("  {rate:.0} messages per second: p99 {p99:.1} ms");
        if phase.ensure_valid("").is_err() || p99 > MAX_P99_MS {
            ensure!(sustained.is_some(), "it does not even carry {rate:.0} messages per second");
            return Ok(sustained.unwrap_or_default());
        }
        sustained = Some(rate);
        rate *= RATE_STEP;
    }
}

/// Adds the figures of a phase to the scenario. Returns the p99 latency in ms, or `None` if the figures are not valid.
fn add_figures(
    scenario: &mut Scenario,
    subject: &Subject,
    setting: &str,
    phase: &Phase,
) -> Result<Option<f64>> {
    if !phase.accept_or_note(scenario, subject, setting)? {
        return Ok(None);
    }
    let (name, tally) = (subject.name(), &phase.tally);
    for (figure, quantile) in [("p50 (ms)", 0.5), (P99, 0.99), ("p99.9 (ms)", 0.999)] {
        scenario.add(name, setting, figure, tally.delivery_ms(quantile));
    }
    scenario.add(name, setting, "CPU µs per message", phase.cpu.total() * 1e6 / tally.sent as f64);
    scenario.note_if_generator_bound(name, setting, tally);
    Ok(Some(tally.delivery_ms(0.99)))
}
