//! The latency from a send on one node to the delivery on the other, at shares of the peer's capacity.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Scale;
use super::subject::Subject;
use super::world::{Phase, World};
use crate::load::{Gate, Work, paced};
use crate::peers::Setting;
use crate::results::{Bound, Figure, Plot, Scenario};

const CHARACTERS: u16 = 64;
/// Rooms, each with a sender and a receiver.
const ROOMS: u32 = 200;
/// Unfinished messages for the first estimate of the capacity.
const WINDOW: usize = 256;
/// The search for the capacity begins at this share of the estimate, in steps of `STEP`.
const FROM: f64 = 0.5;
const STEP: f64 = 1.1;
/// Above this latency a server is over its capacity.
const TOO_LATE_MS: f64 = 500.0;
const SHARES: [u32; 4] = [25, 50, 75, 90];

const P99: &str = "p99 (ms)";
/// Pause before each sample.
const BETWEEN: Duration = Duration::from_secs(1);
const CAPACITY: &str = "capacity (messages per second)";

/// See the module.
///
/// # Errors
/// When a server does not come up, or ours loses something.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let peer = Subject::socket_io();
    let time = Duration::from_secs(scale.or(3, 1));
    let mut scenario = Scenario {
        name: "latency".into(),
        title: "From a send to its delivery on another node".into(),
        method: format!(
            "{ROOMS} rooms of two: senders on one node, receivers on the other, messages of {CHARACTERS} characters, \
             stored by both servers. The capacity of {peer} is looked for once: rates go up by {:.0} % each, {} s long, \
             until the p99 is over {TOO_LATE_MS} ms or something is not delivered; the last rate before that counts. \
             Then both servers are given the same shares of it in turn, in an open loop: latencies count from the moment \
             a message was due, whatever became of those before. Ratios are medians of the ratios within a sample.",
            (STEP - 1.0) * 100.0,
            time.as_secs(),
            peer = peer.name(),
        ),
        plots: vec![Plot { name: "p99".into(), title: P99.into(), figure: P99.into(), logarithmic: true }],
        ..Scenario::default()
    };
    eprintln!("latency: {} alone, for its capacity", peer.name());
    let mut theirs = raise(&peer).await?;
    enter(&mut theirs)?;
    // Started now, so that the peer has the same conditions as in the comparison.
    let mut ours = raise(&Subject::Tidings).await?;
    let capacity = capacity(&mut theirs, time)?;
    scenario.add(peer.name(), "alone", CAPACITY, capacity);
    // Clients connect only now, because nobody would have answered pings before.
    enter(&mut ours)?;
    ours.work(&pace(capacity / 2.0, time))?;
    for share in SHARES {
        let setting = format!("{share} % of the capacity of {}", peer.name());
        eprintln!("latency: {setting}");
        let work = pace(capacity * f64::from(share) / 100.0, time);
        let mut ratios = Figure::default();
        for number in 0..scale.samples {
            // The order alternates, because background work of the first may disturb the second.
            let mut of_peer = None;
            let mut of_us = None;
            for ours_now in [number % 2 == 0, number % 2 == 1] {
                let (world, subject, of) = if ours_now {
                    (&mut ours, &Subject::Tidings, &mut of_us)
                } else {
                    (&mut theirs, &peer, &mut of_peer)
                };
                world.work(&Work::Listen(BETWEEN))?;
                *of = sample(&mut scenario, subject, &setting, &world.work(&work)?)?;
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
        scenario.target(
            &format!("p99 at {share} %, times that of Socket.IO"),
            ratios.median(),
            Bound::AtMost,
            limit,
        );
    }
    Ok(scenario)
}

async fn raise(subject: &Subject) -> Result<World> {
    let members: Vec<Vec<u32>> = (0..ROOMS).map(|room| vec![room * 2, room * 2 + 1]).collect();
    World::raise(subject, &Setting { nodes: 2, stored: true }, &members, &[]).await
}

fn enter(world: &mut World) -> Result<()> {
    let mut people = Vec::new();
    for number in 0..ROOMS * 2 {
        let node = number as usize % 2;
        let mut person = world.person(number, node, vec![number / 2]);
        person.timed = node == 1;
        people.push(person);
    }
    world.enter(people)?;
    Ok(())
}

fn pace(per_second: f64, time: Duration) -> Work {
    paced(&senders(), CHARACTERS, per_second, time)
}

fn senders() -> Vec<(u32, u32)> {
    (0..ROOMS).map(|room| (room * 2, room)).collect()
}

/// The highest rate of messages per second with an acceptable p99.
fn capacity(world: &mut World, time: Duration) -> Result<f64> {
    let closed = Work::Closed {
        senders: senders(),
        characters: CHARACTERS,
        window: WINDOW,
        gate: Gate::Delivered,
        time,
    };
    // Warms up, including JIT compilers.
    world.work(&closed)?;
    world.work(&closed)?;
    let phase = world.work(&closed)?;
    let mut rate = FROM * phase.tally.sent as f64 / phase.tally.wall.as_secs_f64();
    let mut carried = None;
    loop {
        let phase = world.work(&pace(rate, time))?;
        let p99 = phase.tally.delivery_ms(0.99);
        eprintln!("  {rate:.0} messages per second: p99 {p99:.1} ms");
        if phase.whole("").is_err() || p99 > TOO_LATE_MS {
            ensure!(carried.is_some(), "it does not even carry {rate:.0} messages per second");
            return Ok(carried.unwrap_or_default());
        }
        carried = Some(rate);
        rate *= STEP;
    }
}

/// Adds the figures; returns the p99, if they are valid.
fn sample(scenario: &mut Scenario, subject: &Subject, setting: &str, phase: &Phase) -> Result<Option<f64>> {
    if !phase.counts(scenario, subject, setting)? {
        return Ok(None);
    }
    let (name, tally) = (subject.name(), &phase.tally);
    for (figure, quantile) in [("p50 (ms)", 0.5), (P99, 0.99), ("p99.9 (ms)", 0.999)] {
        scenario.add(name, setting, figure, tally.delivery_ms(quantile));
    }
    scenario.add(name, setting, "CPU µs per message", phase.cpu.total() * 1e6 / tally.sent as f64);
    scenario.note_if_limited(name, setting, tally);
    Ok(Some(tally.delivery_ms(0.99)))
}
