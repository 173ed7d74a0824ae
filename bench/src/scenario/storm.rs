//! All clients are disconnected and reconnect at once, ten messages behind: how long it takes until all have them,
//! whether each has them once, and whether PostgreSQL gets queries for it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::http::MessagesPage;
use tidings_harness::{Cursor, Http, Stack};
use tokio::task::JoinSet;

use super::Scale;
use super::subject::Subject;
use super::world::World;
use crate::peers::Setting;
use crate::results::{Bound, Plot, Scenario};

mod statements;

const NODES: usize = 2;
const ROOMS: u32 = 100;
const BEFORE: u32 = 5;
const MISSED: u32 = 10;
/// Concurrent handshakes.
const AT_ONCE: usize = 1000;
const NOTICED: Duration = Duration::from_secs(60);
/// How long statements are counted at rest before the first storm.
const LONG_REST: Duration = Duration::from_secs(30);
/// How long they are counted before each further storm.
const REST: Duration = Duration::from_secs(2);

const SUBJECT: &str = "Tidings";
const TIME: &str = "until the last has caught up (s)";
const MISSING: &str = "messages missing, doubled or out of order";
const STATEMENTS: &str = "statements to PostgreSQL beyond those at rest";
const AT_REST: &str = "statements to PostgreSQL of those at rest";

/// See the module.
///
/// # Errors
/// When something does not start, or a client is refused.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let people: u32 = scale.or(10_000, 500);
    let setting = format!("{people} clients");
    let mut scenario = Scenario {
        name: "storm".into(),
        title: "Everybody reconnects".into(),
        method: format!(
            "{people} people in {ROOMS} rooms, each in one, over {NODES} gateways. All connections end by RST; when the \
             gateways have noticed, {MISSED} messages are sent to each room and stored. Then all connect anew, {AT_ONCE} \
             handshakes under way at a time, and join with the cursor from before. The time runs from the first \
             connect until the last `room:caught_up`. Each must be delivered exactly the {MISSED} messages, in order. \
             Statements are those that pg_stat_statements counts in the storm. Those that also run when nobody is \
             connected (leases, and looking for work, listened to for {} s before the first storm and {} s before each) are \
             told apart: what there is of them does not count, unless it is more than the time allows. \
             The load generator runs on the same machine.",
            LONG_REST.as_secs(),
            REST.as_secs()
        ),
        plots: vec![Plot {
            name: "time".into(),
            title: TIME.into(),
            figure: TIME.into(),
            logarithmic: false,
        }],
        ..Scenario::default()
    };
    eprintln!("storm: {people} people");
    let members: Vec<Vec<u32>> =
        (0..ROOMS).map(|room| (0..people).filter(|number| number % ROOMS == room).collect()).collect();
    let mut world =
        World::raise(&Subject::Tidings, &Setting { nodes: NODES, stored: true }, &members, &[]).await?;
    let stack = world.stack.clone().context("Tidings has a stack")?;
    statements::prepare(stack.database()).await?;
    world.load.check_order();
    send_to_all(&stack, &world.rooms, BEFORE).await?;
    let everybody =
        (0..people).map(|number| world.person(number, node_of(number), vec![number % ROOMS])).collect();
    world.enter_at_once(everybody, AT_ONCE)?;
    let mut at_rest = statements::Statements::default();
    for sample in 0..scale.samples {
        let cursors = cursors(&stack, &world.rooms).await?;
        world.load.cut();
        until_nobody_is_connected(&stack).await?;
        send_to_all(&stack, &world.rooms, MISSED).await?;
        let rest = if sample == 0 { scale.or(LONG_REST, REST * 5) } else { REST };
        let resting = async {
            tokio::time::sleep(rest).await;
            Ok(())
        };
        at_rest.add(statements::during(stack.database(), resting).await?.1);
        let mut coming = Vec::new();
        for number in 0..people {
            let room = number % ROOMS;
            let mut person = world.person(number, node_of(number), vec![room]);
            let after = &cursors[room as usize];
            let join = json!({
                "type": "room:join", "ref": "join", "room": world.rooms[room as usize],
                "after": { "epoch": after.epoch, "seq": after.seq }
            });
            person.joins = Some(vec![join.to_string()]);
            coming.push(person);
        }
        let storm = statements::during(stack.database(), async { world.enter_at_once(coming, AT_ONCE) });
        let (phase, in_storm) = storm.await?;
        let tally = &phase.tally;
        ensure!(tally.refused == 0, "somebody was refused: {:?}", tally.refusal);
        let wrong: u64 = world.load.received().map(|count| count.abs_diff(u64::from(MISSED))).sum();
        let more = in_storm.beyond(&at_rest);
        let name = SUBJECT;
        scenario.add(name, &setting, TIME, tally.wall.as_secs_f64());
        scenario.add(name, &setting, MISSING, (wrong + tally.disordered) as f64);
        let beyond: u64 = more.values().sum();
        scenario.add(name, &setting, STATEMENTS, beyond as f64);
        scenario.add(name, &setting, AT_REST, (in_storm.count() - beyond) as f64);
        scenario.add(
            name,
            &setting,
            "frames besides messages, per client",
            tally.others as f64 / f64::from(people),
        );
        for (process, seconds) in &phase.cpu.0 {
            scenario.add(name, &setting, &format!("{process}: CPU s"), *seconds);
        }
        for (text, calls) in more {
            let note = format!("In a storm, {calls} times beyond what there is at rest: `{text}`");
            scenario.notes.push(note);
        }
        scenario.note_if_limited(name, &setting, tally);
    }
    let worst = |figure: &str| worst(&scenario, figure);
    let (time, missing, statements) =
        (scenario.median(SUBJECT, &setting, TIME), worst(MISSING), worst(STATEMENTS));
    scenario.target("until the last has caught up (s)", time, Bound::AtMost, 5.0);
    scenario.target("messages missing, doubled or out of order, in all storms", missing, Bound::AtMost, 0.0);
    scenario.target("statements to PostgreSQL, in the worst storm", statements, Bound::AtMost, 0.0);
    Ok(scenario)
}

fn worst(scenario: &Scenario, figure: &str) -> f64 {
    let figures = scenario.rows.iter().filter_map(|row| row.figures.get(figure));
    figures.map(|figure| figure.range().1).fold(f64::NAN, f64::max)
}

/// The members of each room are on all nodes.
fn node_of(number: u32) -> usize {
    (number / ROOMS) as usize
}

/// Sends this many messages to each room, by its creator; returns when all are stored.
async fn send_to_all(stack: &Stack, rooms: &[String], messages: u32) -> Result<()> {
    let mut sending = JoinSet::new();
    let host =
        Http::sharing(tidings_harness::http::client(), &stack.persistence(0).url(), &stack.token("host"));
    for room in rooms {
        let (host, room) = (host.clone(), room.clone());
        sending.spawn(async move {
            for number in 0..messages {
                let id = uuid::Uuid::now_v7().to_string();
                let answer =
                    host.send(&room, &id, &format!("message {number} to everybody who is away")).await?;
                ensure!(answer.status == 201, "send: {} {}", answer.status, answer.body);
            }
            Ok(())
        });
    }
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    Ok(())
}

async fn cursors(stack: &Stack, rooms: &[String]) -> Result<Vec<Cursor>> {
    let host =
        Http::sharing(tidings_harness::http::client(), &stack.persistence(0).url(), &stack.token("host"));
    let mut cursors = Vec::with_capacity(rooms.len());
    for room in rooms {
        let answer = host.messages(room, "limit=1").await?;
        ensure!(answer.status == 200, "messages: {} {}", answer.status, answer.body);
        cursors.push(answer.parse::<MessagesPage>()?.head);
    }
    Ok(cursors)
}

pub(super) async fn until_nobody_is_connected(stack: &Stack) -> Result<()> {
    let begun = Instant::now();
    loop {
        let mut connected = 0;
        for gateway in stack.gateways() {
            let metrics = gateway.metrics().await?;
            let count = metrics.lines().find_map(|line| line.strip_prefix("tidings_gateway_connections "));
            connected += count.context("gateways tell how many are connected")?.parse::<u32>()?;
        }
        if connected == 0 {
            return Ok(());
        }
        ensure!(begun.elapsed() < NOTICED, "the gateways still hold {connected} connections that were cut");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
