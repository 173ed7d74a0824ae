//! A restart of Redis with its append-only file, while many people are joined to many rooms. Measures the time until
//! every room delivers again, and the statements of PostgreSQL and the requests to persistence that the recovery needs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Scale;
use super::blocks::Blocks;
use super::storm::statements::{self, StatementCounts};
use super::world::{Phase, World};
use crate::load::Work;
use crate::peers::{ServerRequirements, tidings};
use crate::results::{Bound, Scenario};

const NODES: usize = 2;
const MEMBERS_PER_ROOM: u32 = 10;
const MESSAGE_CHARS: u16 = 64;
const MAX_CONCURRENT_HANDSHAKES: usize = 1000;
const ROUND_TIMEOUT: Duration = Duration::from_secs(120);
/// Time after the last delivery in which statements and requests still count, because the recovery may go on.
const RECOVERY_TIME: Duration = Duration::from_secs(5);
/// Limit of the statements that the notes list.
const MAX_LISTED_STATEMENTS: usize = 10;

const SUBJECT: &str = "Tidings";
const AT_REST: &str = "at rest";
const AFTER_RESTART: &str = "after a restart of Redis";
const SECONDS_TO_DELIVER: &str = "until every room has delivered (s)";
const EXTRA_SECONDS: &str = "longer than at rest (s)";
const DELIVERIES_MISSING: &str = "deliveries missing or doubled";
const CONNECTIONS_CLOSED: &str = "connections closed";
const STATEMENTS: &str = "statements to PostgreSQL";
const REQUESTS: &str = "HTTP requests from gateways to persistence";

/// Runs the scenario.
///
/// # Errors
/// When a process does not start, or a client is refused.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let blocks = Blocks {
        first_person: 0,
        first_room: 0,
        people: scale.sizes.clients.unwrap_or(scale.choose(10_000, 100)),
        members: MEMBERS_PER_ROOM,
        rooms_per_block: scale.sizes.rooms.unwrap_or(scale.choose(20, 4)),
    };
    let (senders, members) = (blocks.senders(), blocks.members());
    let (people, each, count) = (blocks.people, blocks.rooms_per_block, senders.len());
    let mut scenario = Scenario {
        name: "restart".into(),
        title: "Redis restarts under joined rooms".into(),
        method: format!(
            "{people} people over {NODES} gateways, each in {each} rooms of {MEMBERS_PER_ROOM}: {count} rooms, with \
             members on all gateways. In a round one message is sent in each room, all as fast as the generator can, \
             and delivered to all its members; a message that is refused, or not answered for 5 s, is repeated with \
             the same client id. First a round at rest. Then Redis is stopped by SIGTERM and started with its \
             append-only file, and when it answers, a second round begins. The times run from the beginning of a round \
             to its last delivery. Statements are those that pg_stat_statements counts, and requests those that a \
             proxy before persistence counts: from the stop of Redis, or the beginning of the round, to {} s after the \
             last delivery. CPU time is that of the round.",
            RECOVERY_TIME.as_secs()
        ),
        ..Scenario::default()
    };
    eprintln!("restart: {people} people, {count} rooms");
    let started =
        tidings::start_with_request_counts(&ServerRequirements { nodes: NODES, stored: true }).await?;
    let mut world = World::from_tidings(started, &members).await?;
    let stack = world.stack.clone().context("Tidings has a stack")?;
    statements::create_extension(stack.database()).await?;
    let everybody = blocks.everybody();
    let everybody =
        everybody.map(|number| world.client_spec(number, number as usize, blocks.rooms_of(number)));
    let everybody = everybody.collect();
    world.connect_all_limited(everybody, MAX_CONCURRENT_HANDSHAKES)?;
    // Warms up.
    world.run_round(&senders, MESSAGE_CHARS, ROUND_TIMEOUT)?;
    world.run(&Work::Listen(RECOVERY_TIME))?;
    for _ in 0..scale.samples {
        let before = stack.internal_requests();
        let (calm, at_rest) =
            statements::count_during(stack.database(), run_round(&mut world, &senders)).await?;
        let between = stack.internal_requests();
        let restarting = async {
            let begun = Instant::now();
            world.restart_redis().await?;
            let downtime = begun.elapsed();
            anyhow::Ok((downtime, run_round(&mut world, &senders).await?))
        };
        let ((downtime, restarted), after_restart) =
            statements::count_during(stack.database(), restarting).await?;
        let requests = nonzero_increases(stack.internal_requests(), &between);
        scenario.add(SUBJECT, AFTER_RESTART, "Redis away (s)", downtime.as_secs_f64());
        let extra_seconds = restarted.tally.wall.as_secs_f64() - calm.tally.wall.as_secs_f64();
        scenario.add(SUBJECT, AFTER_RESTART, EXTRA_SECONDS, extra_seconds);
        add_figures(&mut scenario, AT_REST, &calm, &at_rest, &nonzero_increases(between, &before));
        add_figures(&mut scenario, AFTER_RESTART, &restarted, &after_restart, &requests);
        let mut beyond: Vec<(String, u64)> = after_restart.calls_beyond(&at_rest).into_iter().collect();
        beyond.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
        for (text, calls) in beyond.into_iter().take(MAX_LISTED_STATEMENTS) {
            scenario
                .notes
                .push(format!("In a restart, {calls} times beyond those of a round at rest: `{text}`"));
        }
        for (path, count) in requests {
            scenario.notes.push(format!("In a restart, {count} requests to `{path}`"));
        }
    }
    let median_of = |figure: &str| scenario.median(SUBJECT, AFTER_RESTART, figure);
    let (until, missing) = (median_of(SECONDS_TO_DELIVER), median_of(DELIVERIES_MISSING));
    scenario.add_target("until every room has delivered (s)", until, Bound::AtMost, 3.0);
    scenario.add_target("deliveries missing or doubled", missing, Bound::AtMost, 0.0);
    Ok(scenario)
}

async fn run_round(world: &mut World, senders: &[(u32, u32)]) -> Result<Phase> {
    let phase = world.run_round(senders, MESSAGE_CHARS, ROUND_TIMEOUT)?;
    world.run(&Work::Listen(RECOVERY_TIME))?;
    Ok(phase)
}

fn add_figures(
    scenario: &mut Scenario,
    setting: &str,
    phase: &Phase,
    statements: &StatementCounts,
    requests: &BTreeMap<String, u64>,
) {
    let tally = &phase.tally;
    let mut add = |figure: &str, value: f64| scenario.add(SUBJECT, setting, figure, value);
    add(SECONDS_TO_DELIVER, tally.wall.as_secs_f64());
    add(DELIVERIES_MISSING, tally.expected.abs_diff(tally.delivered) as f64);
    add(CONNECTIONS_CLOSED, phase.disconnected as f64);
    add("sends repeated", tally.repeated as f64);
    add("sends not stored", tally.failed() as f64);
    add(STATEMENTS, statements.total_calls() as f64);
    add(REQUESTS, requests.values().sum::<u64>() as f64);
    for (process, seconds) in &phase.cpu.0 {
        add(&format!("{process}: CPU s"), *seconds);
    }
    scenario.note_if_generator_bound(SUBJECT, setting, tally);
}

/// The counts since an earlier reading, without those that are 0.
fn nonzero_increases(now: BTreeMap<String, u64>, earlier: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let before = |path: &str| earlier.get(path).copied().unwrap_or_default();
    let since = now.into_iter().map(|(path, count)| (count - before(&path), path));
    since.filter(|(count, _)| *count > 0).map(|(count, path)| (path, count)).collect()
}
