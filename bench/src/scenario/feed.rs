//! The feed: what it costs a stored message, how long after its send a consumer has a message, and how fast a consumer
//! reads what was stored before.

mod consumer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidings_harness::stack::set_feed;
use tidings_harness::{Http, Stack, Token};
use tokio::task::JoinSet;

use self::consumer::{Consumer, read_all};
use super::Scale;
use super::stored::{MESSAGE_CHARS, connect_members, room_members, saturating_work};
use super::subject::Subject;
use super::world::{Phase, World};
use crate::load::{Work, fixed_rate_work};
use crate::peers::ServerRequirements;
use crate::processes::{Process, cpu_times};
use crate::results::{Bound, Scenario};

const MESSAGES_PER_SECOND: f64 = 1_000.0;
/// Events that are read again from the start.
const STORED_EVENTS: u64 = 100_000;
/// Limit of the cost of a stored message with the feed and a consumer, as a multiple of the cost without both.
const MAX_RELATIVE_COST: f64 = 1.25;
/// A consumer should read this many times as many events as the saturated system stores.
const MIN_READ_RATE: f64 = 2.0;

const SATURATED: &str = "saturated";
const FIXED_RATE: &str = "1,000 per second";
const WITHOUT_FEED: &str = "feed off";
const WITH_FEED: &str = "feed on, one consumer";
const READING: &str = "reading stored events";
const CPU_PER_MESSAGE: &str = "all processes: CPU µs per message";
const RELATIVE_COST: &str = "cost, times that without";
const WAL_PER_MESSAGE: &str = "WAL bytes per message";
const STORED_PER_SECOND: &str = "stored per second";
const EVENTS_PER_SECOND: &str = "events per second";

/// Runs the scenario.
///
/// # Errors
/// When a process does not start, messages are lost, or the consumer does not get all events.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let mut scenario = Scenario {
        name: "feed".into(),
        title: "The feed for other servers".into(),
        method: format!(
            "Two systems of two gateways, persistence, Redis and PostgreSQL. In one of them the feed is on, and one \
             consumer reads all partitions. Both get the same load in turn: messages to 100 and to 10,000 rooms of two, as \
             many as are stored, then {MESSAGES_PER_SECOND} per second. CPU time is that of all processes, and contains \
             the answers to the consumer. The age of an event is the time from when it got its seq until the consumer has \
             its page. Then the load stops, and consumers read all events from the start."
        ),
        ..Scenario::default()
    };
    let (mut last, mut settings) = (None, Vec::new());
    for rooms in scale.choose([100, 10_000], [20, 100]) {
        last = Some(measure(&mut scenario, scale, rooms, &mut settings).await?);
    }
    let (stack, stored) = last.context("there is a load")?;
    read_stored(&mut scenario, scale, &stack, stored).await?;
    add_targets(&mut scenario, &settings);
    Ok(scenario)
}

/// Measures both systems with this number of rooms. Returns the system with the feed, and the number of its events.
async fn measure(
    scenario: &mut Scenario,
    scale: &Scale,
    rooms: u32,
    settings: &mut Vec<String>,
) -> Result<(Arc<Stack>, u64)> {
    let members = room_members(rooms);
    let mut off = start_world(&members).await?;
    let mut on = start_world(&members).await?;
    let stack = on.stack.clone().context("Tidings has a stack")?;
    set_feed(stack.database().url(), true).await?;
    let senders = connect_members(&mut off, &members)?;
    connect_members(&mut on, &members)?;
    let consumer = Consumer::start(consumer_at(&stack));
    let (per_second, time) =
        (scale.choose(MESSAGES_PER_SECOND, 200.0), Duration::from_secs(scale.choose(6, 1)));
    let at_fixed_rate = fixed_rate_work(&senders, MESSAGE_CHARS, per_second, time);
    for (load, work) in [(SATURATED, saturating_work(scale, senders)), (FIXED_RATE, at_fixed_rate)] {
        let setting = format!("{rooms} rooms, {load}");
        eprintln!("feed: {setting}");
        settings.push(setting.clone());
        // Warms up.
        off.run(&work)?;
        on.run(&work)?;
        for sample in 0..scale.samples {
            consumer.forget_ages();
            // The order alternates, because the first run of a pair may disturb the second.
            let (without, with) = if sample % 2 == 0 {
                let without = run_counting_wal(&mut off, &work, &setting).await?;
                (without, run_counting_wal(&mut on, &work, &setting).await?)
            } else {
                let with = run_counting_wal(&mut on, &work, &setting).await?;
                (run_counting_wal(&mut off, &work, &setting).await?, with)
            };
            for (subject, (phase, wal)) in [(WITHOUT_FEED, &without), (WITH_FEED, &with)] {
                let stored = phase.tally.acked as f64;
                scenario.add(subject, &setting, CPU_PER_MESSAGE, cost(phase));
                scenario.add(subject, &setting, WAL_PER_MESSAGE, wal / stored);
                let in_time = phase.tally.in_time.acked as f64;
                scenario.add(subject, &setting, STORED_PER_SECOND, in_time / phase.tally.wall.as_secs_f64());
            }
            scenario.add(WITH_FEED, &setting, RELATIVE_COST, cost(&with.0) / cost(&without.0));
            let ages = consumer.ages_of(with.0.tally.acked).await?;
            for (figure, quantile) in [("p50 age (ms)", 0.5), ("p99 age (ms)", 0.99), ("oldest (ms)", 1.0)] {
                scenario.add(WITH_FEED, &setting, figure, ages.value_at_quantile(quantile) as f64);
            }
        }
    }
    let stored = consumer.finish().await?;
    Ok((stack, stored))
}

/// Measures how fast one and four consumers read the events of the system from the start.
async fn read_stored(scenario: &mut Scenario, scale: &Scale, stack: &Arc<Stack>, stored: u64) -> Result<()> {
    let events = stored.min(STORED_EVENTS);
    let persistence = vec![
        process("persistence", stack.persistence(0).pid())?,
        process("postgres", stack.database().server().pid())?,
    ];
    for consumers in [1_u32, 4] {
        let setting = reading_setting(consumers);
        eprintln!("feed: {setting}");
        for _ in 0..scale.few_samples() {
            let (before, begun) = (cpu_times(&persistence)?, Instant::now());
            let share = 64 / consumers;
            let ranges = (0..consumers).map(|number| (number * share, (number + 1) * share - 1));
            let reading = ranges.map(|partitions| read_all(consumer_at(stack), partitions, events));
            let read: u64 = sum_of(reading).await?;
            let (elapsed, cpu) = (begun.elapsed(), cpu_times(&persistence)?.since(&before));
            ensure!(read >= events, "{read} of {events} events came");
            scenario.add(WITH_FEED, &setting, EVENTS_PER_SECOND, read as f64 / elapsed.as_secs_f64());
            for (process, seconds) in &cpu.0 {
                let figure = format!("{process}: CPU µs per event");
                scenario.add(WITH_FEED, &setting, &figure, seconds * 1e6 / read as f64);
            }
        }
    }
    Ok(())
}

fn reading_setting(consumers: u32) -> String {
    format!("{READING}, {consumers} at a time")
}

/// Runs several reads at once. Returns the sum of their counts.
async fn sum_of(
    reads: impl Iterator<Item = impl Future<Output = Result<u64>> + Send + 'static>,
) -> Result<u64> {
    let (mut reading, mut sum) = (JoinSet::from_iter(reads), 0);
    while let Some(read) = reading.join_next().await {
        sum += read??;
    }
    Ok(sum)
}

async fn start_world(members: &[Vec<u32>]) -> Result<World> {
    World::start(&Subject::Tidings, &ServerRequirements { nodes: 2, stored: true }, members, &[]).await
}

fn consumer_at(stack: &Stack) -> Http {
    let token = Token::of("indexer").scope("tidings.feed").ttl_s(24 * 3600).sign(stack.jwt_secret());
    Http::new(&stack.persistence(0).url(), &token)
}

fn process(name: &str, pid: Option<u32>) -> Result<Process> {
    Ok(Process { name: name.to_owned(), pid: pid.with_context(|| format!("{name} is gone"))? })
}

/// The CPU time per stored message, in microseconds.
fn cost(phase: &Phase) -> f64 {
    phase.cpu.total() * 1e6 / phase.tally.acked as f64
}

/// Does the work. Also returns the bytes of WAL that PostgreSQL wrote meanwhile.
async fn run_counting_wal(world: &mut World, work: &Work, setting: &str) -> Result<(Phase, f64)> {
    let stack = world.stack.clone().context("Tidings has a stack")?;
    let before = wal_bytes(&stack).await?;
    let phase = world.run(work)?;
    phase.ensure_valid(setting)?;
    Ok((phase, wal_bytes(&stack).await? - before))
}

/// All bytes of WAL that PostgreSQL has written.
async fn wal_bytes(stack: &Stack) -> Result<f64> {
    let rows = stack.database().query("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')").await?;
    Ok(rows
        .first()
        .and_then(|row| row.first())
        .context("PostgreSQL tells no position of the WAL")?
        .parse()?)
}

fn add_targets(scenario: &mut Scenario, settings: &[String]) {
    for setting in settings {
        let times = scenario.median(WITH_FEED, setting, RELATIVE_COST);
        let what = format!("{setting}: {RELATIVE_COST}");
        scenario.add_target(&what, times, Bound::AtMost, MAX_RELATIVE_COST);
    }
    let median = |setting: &str, figure| scenario.median(WITH_FEED, setting, figure);
    if let Some(saturated) = settings.iter().rfind(|setting| setting.ends_with(SATURATED)) {
        let read = median(&reading_setting(1), EVENTS_PER_SECOND);
        let times = read / median(saturated, STORED_PER_SECOND);
        let what = format!("events per second of one consumer, times stored per second, {saturated}");
        scenario.add_target(&what, times, Bound::AtLeast, MIN_READ_RATE);
    }
}
