//! Some clients in a room do not read. Measures how this affects the other clients, and how much the server buffers.

use std::time::{Duration, Instant};

use anyhow::Result;
use tidings_harness::Stack;

use super::Scale;
use super::subject::Subject;
use super::world::{Phase, World};
use crate::load::{Work, fixed_rate_work};
use crate::peers::ServerRequirements;
use crate::processes::MemoryWatch;
use crate::results::{Bound, Plot, Scenario};

/// Characters of a message, which is the longest that Tidings accepts.
const MESSAGE_CHARS: u16 = 1000;
const MESSAGES_PER_SECOND: f64 = 50.0;
const RECEIVE_BUFFER_BYTES: usize = 4096;
/// The limit of a gateway's outbox per connection.
const OUTBOX_BYTES: f64 = 256.0 * 1024.0;
const SOCKET_BUFFER_BYTES: f64 = 64.0 * 1024.0;
/// Bytes of memory that the server may use in addition to outboxes and socket buffers.
const OTHER_MEMORY_BYTES: f64 = 32.0 * 1024.0 * 1024.0;
const MIB: f64 = 1024.0 * 1024.0;
const SLOW_CLIENT_CLOSE_CODE: &str = "4413";
const CALM_TIME: Duration = Duration::from_secs(4);
const STALLED_TIME: Duration = Duration::from_secs(8);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);

const P99_CALM: &str = "p99 with everybody reading (ms)";
const P99_STALLED: &str = "p99 with 1 % stalled (ms)";
const P99_CHANGE: &str = "p99, change in %";
const MEMORY_GROWTH: &str = "growth of memory with 1 % stalled (MiB)";
const STALLED_CLOSED_PERCENT: &str = "stalled connections that were closed, %";

/// Runs the scenario.
///
/// # Errors
/// When a server does not start, or Tidings loses messages.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let people: u32 = scale.choose(1000, 200);
    let slow = people / 100;
    let setting = format!("{people} in a room, {slow} more stalled");
    let mut scenario = Scenario {
        name: "slow".into(),
        title: "Slow receivers among fast ones".into(),
        method: format!(
            "{people} people are in one room on one node; one of them sends {MESSAGES_PER_SECOND} messages per second \
             of {MESSAGE_CHARS} characters. First everybody reads, for {} s; then {slow} more come, with receive \
             buffers of {RECEIVE_BUFFER_BYTES} bytes and segments as on Ethernet, and do not read once they have \
             joined, and it goes on so for {} s: for each of them twice what a gateway keeps for a connection ({} \
             KiB). Each sample has other slow ones. Latencies are those of the others; memory is that of the process \
             that holds the connections, its most in the second part less its most in the first. Closed are those whom \
             the gateway has counted as closed with {SLOW_CLIENT_CLOSE_CODE}. Socket.IO and ws keep what is not read; \
             Centrifuge closes a connection when a write takes more than a second. These are measured three times at \
             most.",
            CALM_TIME.as_secs(),
            STALLED_TIME.as_secs(),
            OUTBOX_BYTES / 1024.0
        ),
        plots: [("p99", P99_STALLED), ("memory", MEMORY_GROWTH)]
            .map(|(name, figure)| Plot {
                name: name.into(),
                title: figure.into(),
                figure: figure.into(),
                logarithmic: false,
            })
            .into(),
        ..Scenario::default()
    };
    let mut subjects = Subject::available_chat_servers(&mut scenario).await?;
    subjects.push(Subject::ws());
    for subject in subjects {
        eprintln!("slow: {}", subject.name());
        measure(&mut scenario, scale, &subject, (people, slow), &setting).await?;
    }
    let ours = |figure: &str| scenario.median(Subject::Tidings.name(), &setting, figure);
    let (change, growth, closed) = (ours(P99_CHANGE), ours(MEMORY_GROWTH), ours(STALLED_CLOSED_PERCENT));
    let bound = (f64::from(slow) * (OUTBOX_BYTES + SOCKET_BUFFER_BYTES) + OTHER_MEMORY_BYTES) / MIB;
    scenario.add_target("change of the others' p99, %", change, Bound::AtMost, 20.0);
    scenario.add_target("growth of the gateway's memory (MiB)", growth, Bound::AtMost, bound);
    scenario.add_target("stalled connections that were closed, %", closed, Bound::AtLeast, 100.0);
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
    let alone = ServerRequirements { nodes: 1, stored: false };
    let mut world = World::start(subject, &alone, &[(0..people + slow).collect()], &[]).await?;
    let everybody = (0..people).map(|number| world.client_spec(number, 0, vec![0])).collect();
    world.connect_all(everybody)?;
    let sending = |time| fixed_rate_work(&[(0, 0)], MESSAGE_CHARS, MESSAGES_PER_SECOND, time);
    // Warms up.
    world.run(&sending(CALM_TIME))?;
    let stack = world.stack.clone();
    let samples = if *subject == Subject::Tidings { scale.samples } else { scale.few_samples() };
    for _ in 0..samples {
        let closed_before = match &stack {
            Some(stack) => slow_close_count(stack).await?,
            None => 0.0,
        };
        let (calm, calm_most) = run_watching_memory(&mut world, &sending(CALM_TIME))?;
        // Each sample has new clients, because the kernel enlarges the send buffer of clients that have read for a
        // while.
        connect_slow(&mut world, people..people + slow)?;
        world.load.set_stalled(people..people + slow, true);
        let (stalled, most) = run_watching_memory(&mut world, &sending(STALLED_TIME))?;
        if let Some(stack) = &stack {
            let closed = wait_until_closed(stack, closed_before, slow).await?;
            scenario.add(name, setting, STALLED_CLOSED_PERCENT, closed * 100.0 / f64::from(slow));
        }
        world.load.reset_from(people);
        let counts = calm.accept_or_note(scenario, subject, setting)?
            && stalled.accept_or_note(scenario, subject, setting)?;
        // Waits until the server has removed the closed connections.
        tokio::time::sleep(Duration::from_millis(500)).await;
        if !counts {
            continue;
        }
        let (before, after) = (calm.tally.delivery_ms(0.99), stalled.tally.delivery_ms(0.99));
        scenario.add(name, setting, P99_CALM, before);
        scenario.add(name, setting, P99_STALLED, after);
        scenario.add(name, setting, P99_CHANGE, (after / before - 1.0) * 100.0);
        scenario.add(name, setting, MEMORY_GROWTH, (most as f64 - calm_most as f64) / MIB);
        scenario.note_if_generator_bound(name, setting, &stalled.tally);
    }
    Ok(())
}

/// Connects the clients that will stall.
fn connect_slow(world: &mut World, numbers: std::ops::Range<u32>) -> Result<()> {
    let mut people = Vec::new();
    for number in numbers {
        let mut person = world.client_spec(number, 0, vec![0]);
        person.timed = false;
        person.receive_buffer = Some(RECEIVE_BUFFER_BYTES);
        people.push(person);
    }
    world.connect_all(people)?;
    Ok(())
}

/// Does the work. Returns its phase and the maximum memory of the server's front processes, in bytes.
fn run_watching_memory(world: &mut World, work: &Work) -> Result<(Phase, u64)> {
    let watch = MemoryWatch::start(world.frontend_processes());
    let phase = world.run(work);
    let max_resident = watch.finish();
    // Stalled clients should be disconnected, so disconnected clients do not make the figures invalid.
    Ok((Phase { disconnected: 0, ..phase? }, max_resident))
}

/// Waits until this many more connections than `before` are closed, but at most [`CLOSE_TIMEOUT`]. Returns how many
/// more are closed.
async fn wait_until_closed(stack: &Stack, before: f64, wanted: u32) -> Result<f64> {
    let begun = Instant::now();
    loop {
        let now = slow_close_count(stack).await? - before;
        if now >= f64::from(wanted) || begun.elapsed() > CLOSE_TIMEOUT {
            return Ok(now);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Number of connections that the gateway has closed because they read too slowly.
async fn slow_close_count(stack: &Stack) -> Result<f64> {
    let metrics = stack.gateway(0).metrics().await?;
    let name = format!("tidings_gateway_closes_total{{code=\"{SLOW_CLIENT_CLOSE_CODE}\"}} ");
    let count = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
    // Before the first close there is no such line.
    Ok(count.unwrap_or_default())
}
