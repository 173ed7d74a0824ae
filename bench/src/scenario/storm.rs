//! All clients reconnect at once, after they missed ten messages. Measures the time until all clients have received
//! these messages exactly once, and the statements of PostgreSQL in this time. First the clients speak the protocol of
//! Tidings, then Socket.IO.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidings_harness::http::MessagesPage;
use tidings_harness::{Cursor, Http, Stack};
use tokio::task::JoinSet;

use super::Scale;
use super::subject::Subject;
use super::world::World;
use crate::dialect::{Dialect, fill_template};
use crate::load::ClientSpec;
use crate::peers::ServerRequirements;
use crate::results::{Bound, Plot, Scenario};

mod socketio_server;
pub(super) mod statements;
pub mod tails;

const NODES: usize = 2;
const ROOMS: u32 = 100;
const MESSAGES_BEFORE: u32 = 5;
const MISSED_MESSAGES: u32 = 10;
const MAX_CONCURRENT_HANDSHAKES: usize = 1000;
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// Time before the first storm in which the statements of the idle system are counted.
const FIRST_REST_PERIOD: Duration = Duration::from_secs(30);
/// Time before each further storm in which the statements of the idle system are counted.
const REST_PERIOD: Duration = Duration::from_secs(2);

const SECONDS_TO_CATCH_UP: &str = "until the last has caught up (s)";
const MESSAGES_MISSING: &str = "messages missing, doubled or out of order";
/// The field of a join frame after which the cursor is inserted.
const JOIN_ROOM_FIELD: &str = r#""room":"{room}""#;
const EXTRA_STATEMENTS: &str = "statements to PostgreSQL beyond those at rest";
const STATEMENTS_AT_REST: &str = "statements to PostgreSQL of those at rest";

/// Runs the scenario.
///
/// # Errors
/// When a process does not start, or a client is refused.
pub async fn run(scale: &Scale) -> Result<Scenario> {
    let people: u32 = scale.choose(10_000, 500);
    let setting = format!("{people} clients");
    let mut scenario = Scenario {
        name: "storm".into(),
        title: "Everybody reconnects".into(),
        method: format!(
            "{people} people in {ROOMS} rooms, each in one, over {NODES} gateways. All connections end by RST; when \
             the gateways have noticed, {MISSED_MESSAGES} messages are sent to each room and stored. Then all connect \
             anew, {MAX_CONCURRENT_HANDSHAKES} handshakes under way at a time, and join with the cursor from before. \
             The time runs from the first connect until the last `room:caught_up`. Each must be delivered exactly the \
             {MISSED_MESSAGES} messages, in order. Statements are those that pg_stat_statements counts in the storm. \
             Those that also run when nobody is connected (leases, and looking for work, listened to for {} s before \
             the first storm and {} s before each) are told apart: what there is of them does not count, unless it is \
             more than the time allows. The clients of Tidings (Socket.IO) do the same, but speak Socket.IO over \
             WebSocket to the gateways. Socket.IO's own server keeps nothing for clients that are away, so its clients \
             miss nothing here: the time runs until the last has joined its room, {} s after all connections ended. \
             It is measured three times at most. The load generator runs on the same machine.",
            FIRST_REST_PERIOD.as_secs(),
            REST_PERIOD.as_secs(),
            socketio_server::DISCONNECT_TIME.as_secs()
        ),
        plots: vec![Plot {
            name: "time".into(),
            title: SECONDS_TO_CATCH_UP.into(),
            figure: SECONDS_TO_CATCH_UP.into(),
            logarithmic: false,
        }],
        ..Scenario::default()
    };
    for subject in [Subject::Tidings, Subject::TidingsSocketIo] {
        measure(&mut scenario, scale, &subject, people, &setting).await?;
    }
    socketio_server::measure(&mut scenario, scale, people, &setting).await?;
    Ok(scenario)
}

async fn measure(
    scenario: &mut Scenario,
    scale: &Scale,
    subject: &Subject,
    people: u32,
    setting: &str,
) -> Result<()> {
    let name = subject.name();
    eprintln!("storm: {name}, {people} people");
    let requirements = ServerRequirements { nodes: NODES, stored: true };
    let mut world = World::start(subject, &requirements, &members(people), &[]).await?;
    let stack = world.stack.clone().context("Tidings has a stack")?;
    statements::create_extension(stack.database()).await?;
    world.load.check_order();
    send_to_rooms(&stack, &world.rooms, MESSAGES_BEFORE).await?;
    world.connect_all_limited(everybody(&world, people), MAX_CONCURRENT_HANDSHAKES)?;
    let mut at_rest = statements::StatementCounts::default();
    for sample in 0..scale.samples {
        let cursors = room_heads(&stack, &world.rooms).await?;
        world.load.reset_all();
        wait_until_all_disconnected(&stack).await?;
        send_to_rooms(&stack, &world.rooms, MISSED_MESSAGES).await?;
        let rest = if sample == 0 { scale.choose(FIRST_REST_PERIOD, REST_PERIOD * 5) } else { REST_PERIOD };
        let resting = async {
            tokio::time::sleep(rest).await;
            Ok(())
        };
        at_rest.add(statements::count_during(stack.database(), resting).await?.1);
        let joins: Vec<String> = world
            .rooms
            .iter()
            .zip(&cursors)
            .map(|(room, after)| join_after(&world.running.dialect, room, after))
            .collect::<Result<_>>()?;
        let mut coming = everybody(&world, people);
        for person in &mut coming {
            person.joins = Some(vec![joins[person.rooms[0] as usize].clone()]);
        }
        let storm = statements::count_during(stack.database(), async {
            world.connect_all_limited(coming, MAX_CONCURRENT_HANDSHAKES)
        });
        let (phase, in_storm) = storm.await?;
        let tally = &phase.tally;
        ensure!(tally.refused == 0, "somebody was refused: {:?}", tally.refusal);
        let wrong: u64 =
            world.load.received_counts().map(|count| count.abs_diff(u64::from(MISSED_MESSAGES))).sum();
        let extra_calls = in_storm.calls_beyond(&at_rest);
        scenario.add(name, setting, SECONDS_TO_CATCH_UP, tally.wall.as_secs_f64());
        scenario.add(name, setting, MESSAGES_MISSING, (wrong + tally.out_of_order) as f64);
        let beyond: u64 = extra_calls.values().sum();
        scenario.add(name, setting, EXTRA_STATEMENTS, beyond as f64);
        scenario.add(name, setting, STATEMENTS_AT_REST, (in_storm.total_calls() - beyond) as f64);
        scenario.add(
            name,
            setting,
            "frames besides messages, per client",
            tally.other_frames as f64 / f64::from(people),
        );
        for (process, seconds) in &phase.cpu.0 {
            scenario.add(name, setting, &format!("{process}: CPU s"), *seconds);
        }
        for (text, calls) in extra_calls {
            let note = format!("In a storm, {calls} times beyond what there is at rest: `{text}`");
            scenario.notes.push(note);
        }
        scenario.note_if_generator_bound(name, setting, tally);
    }
    add_targets(scenario, subject, setting);
    Ok(())
}

fn add_targets(scenario: &mut Scenario, subject: &Subject, setting: &str) {
    let name = subject.name();
    let (time, missing, statements) = (
        scenario.median(name, setting, SECONDS_TO_CATCH_UP),
        max_sample(scenario, name, MESSAGES_MISSING),
        max_sample(scenario, name, EXTRA_STATEMENTS),
    );
    let clients = if *subject == Subject::TidingsSocketIo { "Socket.IO clients: " } else { "" };
    let mut add = |what: &str, value: f64, limit: f64| {
        scenario.add_target(&format!("{clients}{what}"), value, Bound::AtMost, limit);
    };
    add("until the last has caught up (s)", time, 5.0);
    add("messages missing, doubled or out of order, in all storms", missing, 0.0);
    add("statements to PostgreSQL, in the worst storm", statements, 0.0);
}

/// The members of each room.
fn members(people: u32) -> Vec<Vec<u32>> {
    (0..ROOMS).map(|room| (0..people).filter(|number| number % ROOMS == room).collect()).collect()
}

/// The clients of all users, each in one room.
fn everybody(world: &World, people: u32) -> Vec<ClientSpec> {
    (0..people)
        .map(|number| world.client_spec(number, node_of_person(number), vec![number % ROOMS]))
        .collect()
}

/// The frame with which this dialect joins a room at a cursor.
fn join_after(dialect: &Dialect, room: &str, after: &Cursor) -> Result<String> {
    let template = dialect.join.as_ref().and_then(|join| join.send.as_deref());
    let template = template.context("the dialect of Tidings has no join frame")?;
    ensure!(template.contains(JOIN_ROOM_FIELD), "the join frame has no field `room`: {template}");
    let after = json!({ "epoch": after.epoch, "seq": after.seq });
    let template = template.replace(JOIN_ROOM_FIELD, &format!(r#"{JOIN_ROOM_FIELD},"after":{after}"#));
    Ok(fill_template(&template, &[("room", room), ("ref", "0")]))
}

/// The maximum of a subject's figure over all samples. NaN if it was not measured.
fn max_sample(scenario: &Scenario, subject: &str, figure: &str) -> f64 {
    let rows = scenario.rows.iter().filter(|row| row.subject == subject);
    let figures = rows.filter_map(|row| row.figures.get(figure));
    figures.map(|figure| figure.range().1).fold(f64::NAN, f64::max)
}

/// The number of the node of a person. The members of each room are on all nodes.
fn node_of_person(number: u32) -> usize {
    (number / ROOMS) as usize
}

/// Sends this many messages to each room as the room's creator. Returns when all messages are stored.
async fn send_to_rooms(stack: &Stack, rooms: &[String], messages: u32) -> Result<()> {
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

async fn room_heads(stack: &Stack, rooms: &[String]) -> Result<Vec<Cursor>> {
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

pub(super) async fn wait_until_all_disconnected(stack: &Stack) -> Result<()> {
    wait_until_connected_at_most(stack, 0).await
}

/// The sum of a metric without labels over all gateways.
pub(super) async fn sum_of_gateways(stack: &Stack, metric: &str) -> Result<u64> {
    let mut sum = 0;
    for gateway in stack.gateways() {
        let metrics = gateway.metrics().await?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
        sum += value.with_context(|| format!("the gateways have no metric {metric}"))?.parse::<u64>()?;
    }
    Ok(sum)
}

/// Waits until the gateways hold at most this many connections.
pub(super) async fn wait_until_connected_at_most(stack: &Stack, most: u32) -> Result<()> {
    let begun = Instant::now();
    loop {
        let connected = sum_of_gateways(stack, "tidings_gateway_connections").await?;
        if connected <= u64::from(most) {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < DISCONNECT_TIMEOUT,
            "the gateways still hold {connected} connections that were cut"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::tidings;

    #[test]
    fn join_frame_of_each_dialect_has_the_cursor() {
        let after = Cursor { epoch: "7".into(), seq: 41 };
        let join = |dialect: &Dialect| join_after(dialect, "a", &after).unwrap();
        let fields = r#""room":"a","after":{"epoch":"7","seq":41}"#;
        let of_tidings = join(&tidings::dialect());
        assert!(of_tidings.contains(fields) && of_tidings.contains(r#""type":"room:join""#), "{of_tidings}");
        let of_socket_io = join(&tidings::socket_io_dialect().unwrap());
        assert_eq!(of_socket_io, format!(r#"420["room:join",{{{fields}}}]"#));
    }
}
