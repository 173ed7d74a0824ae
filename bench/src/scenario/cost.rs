//! The cost of one message and one delivery in Tidings: CPU time of each process, time and WAL bytes of PostgreSQL by
//! purpose, and memory of Redis per active room and per recent message.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidings_harness::Stack;

use super::Scale;
use super::subject::Subject;
use super::world::World;
use crate::load::fixed_rate_work;
use crate::peers::ServerRequirements;
use crate::results::Scenario;

const MESSAGE_CHARS: u16 = 64;
const SUBJECT: &str = "Tidings";
/// Texts that statements of PostgreSQL contain, with the purpose of these statements. The first match decides.
const STATEMENT_PURPOSES: &[(&str, &str)] = &[
    ("INSERT INTO messages ", "messages, heads and progress"),
    ("search", "search index"),
    ("messages m", "search index"),
    ("messages n", "search index"),
    ("partitions", "progress and fencing"),
    ("rooms", "heads of rooms"),
    ("members", "members and marks"),
    ("COMMIT", "begin and commit"),
    ("BEGIN", "begin and commit"),
];

/// Runs the scenario.
///
/// # Errors
/// When the system does not start, or loses messages.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let mut scenario = Scenario {
        name: "cost".into(),
        title: "What a message and a delivery cost".into(),
        method: "Two gateways, one persistence node. Messages at a fixed rate to rooms of two, stored and acknowledged: \
                 CPU time of each process by the number of messages. The same messages to a room of 500: what comes \
                 on top is by the number of deliveries. PostgreSQL's time is that of its own statistics, by what a \
                 statement is for. Redis's memory is read before and after rooms become active, and again when each has \
                 had 50 messages."
            .into(),
        ..Scenario::default()
    };
    let (pairs, crowd) = scale.choose((200_u32, 500_u32), (20, 50));
    let mut members: Vec<Vec<u32>> = (0..pairs).map(|room| vec![room * 2, room * 2 + 1]).collect();
    members.push((pairs * 2..pairs * 2 + crowd).collect());
    let mut world =
        World::start(&Subject::Tidings, &ServerRequirements { nodes: 2, stored: true }, &members, &[])
            .await?;
    let stack = world.stack.clone().context("Tidings has a stack")?;
    stack.database().query("CREATE EXTENSION IF NOT EXISTS pg_stat_statements").await?;
    let people = (0..pairs * 2).map(|number| world.client_spec(number, number as usize, vec![number / 2]));
    let listeners =
        (pairs * 2..pairs * 2 + crowd).map(|number| world.client_spec(number, number as usize, vec![pairs]));
    let everybody = people.chain(listeners).collect();
    world.connect_all(everybody)?;
    let (per_second, time) = (scale.choose(1000.0, 200.0), Duration::from_secs(scale.choose(6, 1)));
    let senders: Vec<(u32, u32)> = (0..pairs).map(|room| (room * 2, room)).collect();
    let to_pairs = fixed_rate_work(&senders, MESSAGE_CHARS, per_second, time);
    let to_crowd = fixed_rate_work(&[(pairs * 2, pairs)], MESSAGE_CHARS, per_second / 20.0, time);
    world.run(&to_pairs)?;
    for _ in 0..scale.samples {
        let idle_phase = world.run(&crate::load::Work::Listen(time))?;
        stack.database().query("SELECT pg_stat_statements_reset()").await?;
        let phase = world.run(&to_pairs)?;
        phase.ensure_valid("messages to pairs")?;
        let messages = phase.tally.sent as f64;
        for (process, seconds) in &phase.cpu.0 {
            let idle = idle_phase.cpu.0.get(process).copied().unwrap_or_default();
            let figure = format!("{process}: CPU µs");
            scenario.add(
                SUBJECT,
                "a message to a room of two",
                &figure,
                (seconds - idle).max(0.0) * 1e6 / messages,
            );
        }
        for (purpose, micros, wal) in statement_costs(&stack).await? {
            scenario.add(
                SUBJECT,
                "a message in PostgreSQL",
                &format!("{purpose}: time (µs)"),
                micros / messages,
            );
            scenario.add(
                SUBJECT,
                "a message in PostgreSQL",
                &format!("{purpose}: WAL (bytes)"),
                wal / messages,
            );
        }
        let crowded = world.run(&to_crowd)?;
        crowded.ensure_valid("messages to a crowd")?;
        let gateway = |phase: &super::world::Phase| phase.cpu.0.get("gateway").copied().unwrap_or_default();
        let sends = gateway(&phase) / messages * crowded.tally.sent as f64;
        let deliveries = crowded.tally.delivered as f64;
        let more = (gateway(&crowded) - gateway(&idle_phase) - sends).max(0.0) * 1e6 / deliveries;
        scenario.add(SUBJECT, "a delivery of a single frame", "gateway: CPU µs", more);
    }
    drop(world);
    measure_redis_memory(&mut scenario, scale).await?;
    Ok(scenario)
}

/// PostgreSQL's time in microseconds and its WAL bytes since the last reset, by purpose.
async fn statement_costs(stack: &Arc<Stack>) -> Result<Vec<(&'static str, f64, f64)>> {
    let rows = stack
        .database()
        .query("SELECT query, total_exec_time * 1000, wal_bytes FROM pg_stat_statements")
        .await?;
    let mut costs: Vec<(&'static str, f64, f64)> = Vec::new();
    for row in rows {
        let [query, micros, wal] = &row[..] else { continue };
        let purpose = STATEMENT_PURPOSES
            .iter()
            .find(|(word, _)| query.contains(word))
            .map_or("all else", |(_, purpose)| purpose);
        let (micros, wal): (f64, f64) = (micros.parse()?, wal.parse()?);
        match costs.iter_mut().find(|(known, ..)| *known == purpose) {
            Some(sum) => (sum.1, sum.2) = (sum.1 + micros, sum.2 + wal),
            None => costs.push((purpose, micros, wal)),
        }
    }
    Ok(costs)
}

/// Measures the memory of Redis per active room and per recent message, in bytes.
async fn measure_redis_memory(scenario: &mut Scenario, scale: &Scale) -> Result<()> {
    let rooms = scale.choose(2000_u32, 50);
    let each = 50_u32;
    let members: Vec<Vec<u32>> = (0..rooms).map(|room| vec![room % 100]).collect();
    let mut world =
        World::start(&Subject::Tidings, &ServerRequirements { nodes: 1, stored: true }, &members, &[])
            .await?;
    let stack = world.stack.clone().context("Tidings has a stack")?;
    let rooms_of = |person: u32| (0..rooms).filter(|room| room % 100 == person).collect::<Vec<u32>>();
    let people: Vec<_> =
        (0..rooms.min(100)).map(|number| world.client_spec(number, 0, rooms_of(number))).collect();
    let before = used_memory(&stack)?;
    world.connect_all(people)?;
    let joined = used_memory(&stack)?;
    let senders: Vec<(u32, u32)> = (0..rooms).map(|room| (room % 100, room)).collect();
    let per_second = scale.choose(3000.0, 500.0);
    let one = fixed_rate_work(
        &senders,
        MESSAGE_CHARS,
        per_second,
        Duration::from_secs_f64(f64::from(rooms) / per_second),
    );
    world.run(&one)?.ensure_valid("the first message of each room")?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let active = used_memory(&stack)?;
    let time = Duration::from_secs_f64(f64::from(rooms * each) / per_second);
    world.run(&fixed_rate_work(&senders, MESSAGE_CHARS, per_second, time))?.ensure_valid("more messages")?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let busy = used_memory(&stack)?;
    let setting = "Redis memory";
    scenario.add(SUBJECT, setting, "a room that is joined (bytes)", (joined - before) / f64::from(rooms));
    scenario.add(
        SUBJECT,
        setting,
        "its first message, tail begun (bytes)",
        (active - joined) / f64::from(rooms),
    );
    let messages = f64::from(rooms * each);
    scenario.add(
        SUBJECT,
        setting,
        "a recent message, tail and client id (bytes)",
        (busy - active) / messages,
    );
    Ok(())
}

fn used_memory(stack: &Stack) -> Result<f64> {
    let mut socket = TcpStream::connect(("127.0.0.1", stack.redis().port()))?;
    socket.write_all(b"INFO memory\r\nQUIT\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let line = answer.lines().find_map(|line| line.strip_prefix("used_memory:"));
    let used: f64 = line.context("Redis does not tell its memory")?.trim().parse()?;
    ensure!(used > 0.0, "Redis tells no memory");
    Ok(used)
}
