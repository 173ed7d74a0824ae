//! Some clients in a room do not read: how it affects the others, and how much the server buffers.

use std::time::{Duration, Instant};

use anyhow::Result;
use tidings_harness::Stack;

use super::Scale;
use super::subject::Subject;
use super::world::{Phase, World};
use crate::load::{Work, paced};
use crate::peers::Setting;
use crate::processes::Watch;
use crate::results::{Bound, Plot, Scenario};

/// Characters of a message; the longest that Tidings accepts.
const CHARACTERS: u16 = 1000;
const PER_SECOND: f64 = 50.0;
const RECEIVE_BUFFER: usize = 4096;
/// The limit of a gateway's outbox per connection.
const OUTBOX: f64 = 256.0 * 1024.0;
const BESIDE: f64 = 64.0 * 1024.0;
/// Additional memory that the server may use.
const SLACK: f64 = 32.0 * 1024.0 * 1024.0;
const MIB: f64 = 1024.0 * 1024.0;
/// The close code for slow clients.
const TOO_SLOW: &str = "4413";
const CALM_TIME: Duration = Duration::from_secs(4);
const STALLED_TIME: Duration = Duration::from_secs(8);
const NOTICED: Duration = Duration::from_secs(10);

const CALM: &str = "p99 with everybody reading (ms)";
const STALLED: &str = "p99 with 1 % stalled (ms)";
const CHANGE: &str = "p99, change in %";
const GROWTH: &str = "growth of memory with 1 % stalled (MiB)";
const CLOSED: &str = "stalled connections that were closed, %";

/// See the module.
///
/// # Errors
/// When a server does not come up, or ours loses something.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let people: u32 = scale.or(1000, 200);
    let slow = people / 100;
    let setting = format!("{people} in a room, {slow} more stalled");
    let mut scenario = Scenario {
        name: "slow".into(),
        title: "Slow receivers among fast ones".into(),
        method: format!(
            "{people} people are in one room on one node; one of them sends {PER_SECOND} messages per second of \
             {CHARACTERS} characters. First everybody reads, for {} s; then {slow} more come, with receive buffers of \
             {RECEIVE_BUFFER} bytes and segments as on Ethernet, and do not read once they have joined, and it goes on so \
             for {} s: for each of them twice what a gateway keeps for a connection ({} KiB). Each sample has other slow \
             ones. Latencies are those of the others; memory is that of the process that holds the connections, its most \
             in the second part less its most in the first. Closed are those whom the gateway has counted as closed with \
             {TOO_SLOW}. Socket.IO and ws keep what is not read; Centrifuge closes a connection when a write takes more \
             than a second. These are measured three times at most.",
            CALM_TIME.as_secs(),
            STALLED_TIME.as_secs(),
            OUTBOX / 1024.0
        ),
        plots: [("p99", STALLED), ("memory", GROWTH)]
            .map(|(name, figure)| Plot {
                name: name.into(),
                title: figure.into(),
                figure: figure.into(),
                logarithmic: false,
            })
            .into(),
        ..Scenario::default()
    };
    let mut subjects = Subject::chats(&mut scenario).await?;
    subjects.push(Subject::ws());
    for subject in subjects {
        eprintln!("slow: {}", subject.name());
        measure(&mut scenario, scale, &subject, (people, slow), &setting).await?;
    }
    let ours = |figure: &str| scenario.median(Subject::Tidings.name(), &setting, figure);
    let (change, growth, closed) = (ours(CHANGE), ours(GROWTH), ours(CLOSED));
    let bound = (f64::from(slow) * (OUTBOX + BESIDE) + SLACK) / MIB;
    scenario.target("change of the others' p99, %", change, Bound::AtMost, 20.0);
    scenario.target("growth of the gateway's memory (MiB)", growth, Bound::AtMost, bound);
    scenario.target("stalled connections that were closed, %", closed, Bound::AtLeast, 100.0);
    Ok(scenario)
}

async fn measure(
    scenario: &mut Scenario,
    scale: &Scale,
    subject: &Subject,
    (people, slow): (u32, u32),
    setting: &str,
) -> Result<()> {
    let name = subject.name();
    let alone = Setting { nodes: 1, stored: false };
    let mut world = World::raise(subject, &alone, &[(0..people + slow).collect()], &[]).await?;
    let everybody = (0..people).map(|number| world.person(number, 0, vec![0])).collect();
    world.enter(everybody)?;
    let sending = |time| paced(&[(0, 0)], CHARACTERS, PER_SECOND, time);
    // The first messages find everything cold.
    world.work(&sending(CALM_TIME))?;
    let stack = world.stack.clone();
    let samples = if *subject == Subject::Tidings { scale.samples } else { scale.few() };
    for _ in 0..samples {
        let closed_before = match &stack {
            Some(stack) => closed(stack).await?,
            None => 0.0,
        };
        let (calm, calm_most) = watched(&mut world, &sending(CALM_TIME))?;
        // New clients are used, because the kernel enlarges the send buffer of clients that have read for a while.
        enter_slow(&mut world, people..people + slow)?;
        world.load.stall(people..people + slow, true);
        let (stalled, most) = watched(&mut world, &sending(STALLED_TIME))?;
        if let Some(stack) = &stack {
            let closed = until_closed(stack, closed_before, slow).await?;
            scenario.add(name, setting, CLOSED, closed * 100.0 / f64::from(slow));
        }
        world.load.cut_from(people);
        let counts =
            calm.counts(scenario, subject, setting)? && stalled.counts(scenario, subject, setting)?;
        // Waits until the server has removed the closed connections.
        tokio::time::sleep(Duration::from_millis(500)).await;
        if !counts {
            continue;
        }
        let (before, after) = (calm.tally.delivery_ms(0.99), stalled.tally.delivery_ms(0.99));
        scenario.add(name, setting, CALM, before);
        scenario.add(name, setting, STALLED, after);
        scenario.add(name, setting, CHANGE, (after / before - 1.0) * 100.0);
        scenario.add(name, setting, GROWTH, (most as f64 - calm_most as f64) / MIB);
        scenario.note_if_limited(name, setting, &stalled.tally);
    }
    Ok(())
}

/// Connects the clients that will stall.
fn enter_slow(world: &mut World, numbers: std::ops::Range<u32>) -> Result<()> {
    let mut people = Vec::new();
    for number in numbers {
        let mut person = world.person(number, 0, vec![0]);
        person.timed = false;
        person.receive_buffer = Some(RECEIVE_BUFFER);
        people.push(person);
    }
    world.enter(people)?;
    Ok(())
}

/// Does the work, and measures the maximum memory of the server.
fn watched(world: &mut World, work: &Work) -> Result<(Phase, u64)> {
    let watch = Watch::begin(world.front());
    let phase = world.work(work);
    let most = watch.most();
    // Stalled clients must be closed, so their end is not an error.
    Ok((Phase { gone: 0, ..phase? }, most))
}

/// Waits for a limited time until this many more connections are closed; returns their number.
async fn until_closed(stack: &Stack, before: f64, wanted: u32) -> Result<f64> {
    let begun = Instant::now();
    loop {
        let now = closed(stack).await? - before;
        if now >= f64::from(wanted) || begun.elapsed() > NOTICED {
            return Ok(now);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Connections that the gateway closed because they were too slow.
async fn closed(stack: &Stack) -> Result<f64> {
    let metrics = stack.gateway(0).metrics().await?;
    let name = format!("tidings_gateway_closes_total{{code=\"{TOO_SLOW}\"}} ");
    let count = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
    // Before the first close there is no such line.
    Ok(count.unwrap_or_default())
}
